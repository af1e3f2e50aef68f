# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether a split brain may be resolved as a person says, and with which epoch: the gate's rule for the action resolve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.split_brain import RESOLVE, SITES
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import State, View

Plan = Mapping[str, Any]


def rule(plan: Plan, view: View, options: Mapping[str, Any]) -> tuple[bool, str]:
    keep = str(options.get("keep") or "")
    if keep not in SITES:
        raise _refused(plan, "which side is kept was not said", "Say it: --keep primary or --keep dr")
    name = plan["sites"][keep]["name"]
    if view.state is not State.SPLIT_BRAIN:
        if view.owner == keep and view.run and view.run["action"] == RESOLVE:
            return True, f"{name} owns the plan, and the run that resolves the split brain goes on to its end"
        if view.owner == keep:
            return False, f"there is no split brain: {name} owns the plan"
        raise XdrError(
            f"resolve is not possible in state {view.state}: there is no split brain",
            where=f"plan {plan['name']}",
            todo="A plan with one owner is moved by failover or failback",
            code="wrong_state",
        )
    if view.split and view.split["given_up"] == keep:
        other = "dr" if keep == "primary" else "primary"
        raise _refused(plan, f"{name} has been given up already", f"Finish with --keep {other}; then the plan can be moved")
    if not str(options.get("reason") or "").strip():
        raise _refused(plan, "giving a side up needs a reason", "Say why (--reason): it is kept in the plan's history")
    return True, f"{name} is kept"


def owner_epoch(plan: Plan, view: View, reads: Mapping[str, Mapping[str, Any]], keep: str) -> int:
    """The epoch that the kept site accepts: above both, and the one of an earlier try at this very resolution where it got that far."""
    other = plan["sites"]["dr" if keep == "primary" else "primary"]["record_host"]
    lost, witness = (reads[host].get("record") for host in (other, plan["witness"]))
    offer: Mapping[str, Any] = (witness or {}).get("offer") or {}
    ours = offer and not view.mute and offer["to"] == keep and offer["how"] == "resolved"
    if not lost or not ours or offer["epoch"] < view.epoch or (lost["epoch"] == offer["epoch"] and lost["owner"] != keep):
        return view.next_epoch
    return int(offer["epoch"])


def _refused(plan: Plan, what: str, todo: str) -> XdrError:
    return XdrError(what, where=f"plan {plan['name']}", todo=f"{todo}; nothing was changed", code="gate_refused")
