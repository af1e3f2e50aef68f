# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What an approval binds to: a hash of what would be done, and on which ground. Never of the lag or of times, which move."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.gates import WINDOW, Gate

CHANGED = {
    "action": "it is an approval of another action",
    "plan": "the plan was edited",
    "owner": "another site owns the plan",
    "epoch": "the epoch has moved",
    "choices": "other choices were made (recovery point, kept side, or what is left out)",
    "steps": "other steps would be taken",
    "gates": "the gates are others",
}
PREVIEW = "Make a new preview, and let it be approved"


def parts(
    action: str,
    plan: Mapping[str, Any],
    owner: str | None,
    epoch: int,
    choices: Mapping[str, Any],
    steps: Iterable[Mapping[str, Any]],
    gates: Iterable[Gate],
) -> dict[str, Any]:
    """What the hash is of; steps and gates only by digests. ``choices``: what was typed that changes what is done; empty ones count not."""
    return {
        "action": action,
        "plan": plan["hash"],
        "owner": owner,
        "epoch": epoch,
        "choices": {name: value for name, value in choices.items() if value},
        "steps": _digest([_done(step) for step in steps]),
        "gates": _digest([[gate.name, gate.wanted] for gate in gates if gate.name != WINDOW]),
    }


def _done(step: Mapping[str, Any]) -> dict[str, Any]:
    """Of a step what is done, not how it is told."""
    return {"name": step["name"], "items": step["items"], "commit": step["commit"] and step["commit"]["name"]}


def hash_of(bound: Mapping[str, Any]) -> str:
    return _digest(bound)


def _digest(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def changed(approved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Sentences for the parts that are others now; where the plan or the choices explain other steps and gates, only the explanation."""
    differs = [name for name in CHANGED if approved.get(name) != now.get(name)]
    causes = [name for name in differs if name not in ("steps", "gates")]
    return [CHANGED[name] for name in causes or differs]


def four_eyes(plan: Mapping[str, Any], action: str) -> bool:
    """Whether the plan wants a second person for it. ``action``: as on the command line or as a playbook."""
    asked = (plan.get("approval") or {}).get("four_eyes") or []
    return action.replace("_", "-") in asked


def check(plan: Mapping[str, Any], now: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Hold an action that begins against the approval that was given with it.

    ``given``: ``{"hash", "parts"}`` of the approval; or ``{"override": True}`` where a dr-admin does without a second person; or empty.

    Raises XdrError, code ``gate_refused``.
    """
    where, action = f"plan {plan['name']}", str(now["action"])
    if given.get("override"):
        return
    if not given and four_eyes(plan, action):
        name = action.replace("_", "-")
        what = f"{name} of this plan takes an approval by a second person (approval.four_eyes), and none was given"
        todo = (
            f"Make a preview: xdr run preview {name} {plan['name']}; let somebody else approve it: xdr run approve RUN; nothing was changed"
        )
        raise XdrError(what, where=where, todo=todo, code="gate_refused")
    if given and (given.get("hash") != hash_of(now) or hash_of(given.get("parts") or {}) != given.get("hash")):
        why = " and ".join(changed(given.get("parts") or {}, now)) or "it does not say what it approves"
        raise XdrError(
            f"what was approved is not what would be done: {why}", where=where, todo=f"{PREVIEW}; nothing was changed", code="gate_refused"
        )
