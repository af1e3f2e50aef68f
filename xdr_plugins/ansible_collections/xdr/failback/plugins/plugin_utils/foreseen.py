# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What an action would do from here, as far as the controller can tell: its steps, its gates, and the hash that an approval binds to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ansible_collections.xdr.failback.plugins.plugin_utils import approval, gate, gates, step_items, steps
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import View


@dataclasses.dataclass(frozen=True)
class Foreseen:
    """``bound``: the parts of the approval's hash (approval.parts)."""

    steps: list[dict[str, Any]]
    gates: list[gates.Gate]
    bound: dict[str, Any]
    four_eyes: bool

    def to_json(self) -> dict[str, Any]:
        bound = {"hash": approval.hash_of(self.bound), "parts": self.bound, "four_eyes": self.four_eyes}
        return {"steps": self.steps, "gates": [each.to_json() for each in self.gates], "approval": bound}


def foresee(action: str, plan: Mapping[str, Any], view: View, reads: Mapping[str, Any], options: Mapping[str, Any], undo: str) -> Foreseen:
    """``options`` and ``undo`` as xdr_gate has them; an action that is refused is foreseen as if it were not."""
    skip = tuple(options.get("skip") or ())
    point, keep = str(options.get("recovery_point") or ""), str(options.get("keep") or "")
    hooks = tuple(options.get("skip_hooks") or ())
    course = step_items.Course(plan, action, view, gate.entry(action, view), undo, keep, skip, point, hooks)
    foreseen, tried = steps.steps(course), gates.gates(action, plan, view, reads, options)
    choices = {"recovery_point": point, "keep": keep, "skip": list(skip), "skip_hooks": list(hooks)}
    bound = approval.parts(action, plan, view.owner, view.epoch, choices, foreseen, tried)
    return Foreseen(foreseen, tried, bound, approval.four_eyes(plan, action))
