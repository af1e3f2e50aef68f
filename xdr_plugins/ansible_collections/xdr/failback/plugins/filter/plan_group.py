# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The filter plan_group: the inventory group of a plan's hosts, or a sentence that says which plans there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

PREFIX = "xdr_"
PARTS = ("_primary", "_dr", "_witness", "_balancers")


def plan_group(groups: Mapping[str, Any], plan: str) -> str:
    """``xdr_<plan>``. Raises AnsibleFilterError for no plan or an unknown one, where Ansible would skip the play without an error."""
    known = sorted(name[len(PREFIX) :] for name in groups if name.startswith(PREFIX) and not name.endswith(PARTS))
    wanted = plan.replace("-", "_")
    if wanted not in known:
        what = f"no plan named {plan!r}" if plan else "no plan was named"
        raise AnsibleFilterError(f"{what}. Say which one with -e plan=NAME; the inventory has: {', '.join(known) or 'none'}")
    return PREFIX + wanted


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"plan_group": plan_group}
