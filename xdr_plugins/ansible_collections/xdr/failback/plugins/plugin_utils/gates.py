# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The gates of an action as a preview shows them: each tried by itself, so that a person sees all that are closed, not only the first.

The gate (gate.py) decides by the same rules; what it lets through has all of these open.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils import foretold, gate, recovery_points
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import Lag, View
from ansible_collections.xdr.failback.plugins.plugin_utils.window import Window

Plan = Mapping[str, Any]
Reads = Mapping[str, Mapping[str, Any]]
WINDOW = "window"  # the one that binds a run to the clock

STATES = {
    "failback": "READY or REVERSING, or a failback that has begun",
    "rollback": "a failback that has begun and has not moved the traffic",
    "failover": "ACTIVE with the primary site up, or a primary site that is proven to be off",
    "reverse_replication": "FAILED_OVER",
    "reprotect": "FAILED_BACK or UNPROTECTED, at home",
    "replicate": "ACTIVE, REPROTECTING, REVERSING or READY",
    "start": "a site that owns the plan, or a new plan",
    "resolve": "SPLIT_BRAIN",
    "vouch": "a mute witness",
    "verify_primary": "any",
    "lower_ttl": "owned, and no move under way, of a plan with DNS records",
    "restore_ttl": "owned, and no move under way, of a plan with DNS records",
}


@dataclasses.dataclass(frozen=True)
class Gate:
    """``wanted`` is the definition, which depends on the plan alone; ``found`` is what is so now."""

    name: str
    wanted: str
    found: str
    open: bool

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def gates(action: str, plan: Plan, view: View, reads: Reads, options: Mapping[str, Any]) -> list[Gate]:
    """All that lets the action through or not, by what the hosts answered; what a later step looks at is not among them."""
    return [_tried(*one) for one in _all(action, plan, view, reads, options)]


def _tried(name: str, wanted: str, test: Callable[[], str | None]) -> Gate:
    try:
        return Gate(name, wanted, test() or "as wanted", True)
    except XdrError as error:
        return Gate(name, wanted, error.what, False)


def _all(
    action: str, plan: Plan, view: View, reads: Reads, options: Mapping[str, Any]
) -> Iterator[tuple[str, str, Callable[[], str | None]]]:
    needed = gate.needed(action, plan, view)
    yield "hosts", f"{', '.join(sorted(needed))} answer", lambda: gate.reached(plan, needed, view, reads)
    yield "plan", "no run of another version of the plan is open, and no resource has left it", lambda: gate.same_plan(plan, view, reads)
    yield "witness", f"{plan['witness']} is believed, or both sites vouch for it", lambda: gate.witness_speaks(action, plan, view)
    yield "state", STATES[action], lambda: _state(action, plan, view, options)
    if action == "failback" and view.state in gate.REVERSED:
        ready = plan["replication"]["ready_below"]
        yield "lag", f"replication_lag of at most {foretold.size(ready)} (ready_below)", lambda: _lag(plan, view)
        yield "sizes", "each volume has one size at both sites, or may grow", lambda: gate.same_sizes(plan, reads)
        if options.get("window"):
            yield WINDOW, "its end, less a rollback, has not passed", lambda: _window(options)
    if action == "failover" and not gate.leases_have_run_out(plan, view, options):
        yield "primary", "its hosts let the controller in, or are off: then no sshd answers", lambda: gate.not_locked_out(plan, reads)
    if action == "failover" and options.get("recovery_point"):
        yield "recovery point", "a volume at the DR site has it", lambda: _point(plan, reads, str(options["recovery_point"]))


def _state(action: str, plan: Plan, view: View, options: Mapping[str, Any]) -> str:
    """The rule of the action, as if the lag and the clock, which have gates of their own, allowed it."""
    calm = dataclasses.replace(view, lag=Lag(0, 0.0))
    _, reason = gate.RULES[action](plan, calm, {name: value for name, value in options.items() if name != "window"})
    return f"{view.state}{': ' + reason if reason else ''}"


def _lag(plan: Plan, view: View) -> str:
    gate.lag_gate(plan, view)
    return foretold.size(view.lag.bytes)


def _window(options: Mapping[str, Any]) -> str:
    window = Window.from_json(options["window"])
    window.check_open(options["now"])
    return window.told


def _point(plan: Plan, reads: Reads, point: str) -> str:
    rows = [row for host in plan["sites"]["dr"]["hosts"] for row in reads[host].get("replication") or []]
    recovery_points.check(plan, rows, point)
    return point
