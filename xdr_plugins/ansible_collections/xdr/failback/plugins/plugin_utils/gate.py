# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether an action may begin on a plan: the one place where it is decided, for hand-run playbooks, command line and portal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import State, View

Plan = Mapping[str, Any]
Options = Mapping[str, Any]

REVERSED = (State.REVERSING, State.READY)
MOVING = (State.FAILING_BACK, State.ROLLING_BACK, State.HALTED)
ONLY_LOOKS = ("status", "verify_primary")
HOME = (State.FAILED_BACK, State.REPROTECTING, State.ACTIVE)


@dataclasses.dataclass(frozen=True)
class Decision:
    """``proceed`` False: there is nothing to do, and ``reason`` says why. ``enter`` is where a move goes on:
    ``stop``, ``handover`` or ``start``. ``epoch`` and ``attempt`` are the pair that the run is to claim."""

    proceed: bool
    reason: str
    epoch: int
    attempt: int
    enter: str = "stop"
    fresh: bool = True  # a new run, not a resumed one
    claims: bool = True  # False: the action only looks, it takes nothing over from a run that is under way

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def decide(action: str, plan: Plan, view: View, reads: Mapping[str, Mapping[str, Any]], options: Options) -> Decision:
    """Let the action through, find nothing to do, or refuse.

    Raises XdrError with code ``wrong_state`` (the state machine has no such arrow) or ``gate_refused`` (it has, but not now).
    """
    try:
        rule = RULES[action]
    except KeyError:
        raise XdrError(f"unknown action {action!r}", todo=f"It is one of {', '.join(RULES)}") from None
    if action != "status":
        _reached(plan, _needed(action, plan, view), view)
        _same_plan(plan, view, reads)
    proceed, reason = rule(plan, view, options)
    resumed = view.run is not None and view.run["action"] == action
    epoch = max(view.epoch, view.attempt_epoch)
    fresh, claims = not resumed, action not in ONLY_LOOKS
    return Decision(proceed, reason, epoch, view.attempt + 1, _entry(action, view), fresh, claims)


def _needed(action: str, plan: Plan, view: View) -> set[str]:
    """The hosts without which the action cannot be done; a rollback must not wait for a primary site that is dead again."""
    hosts = {site: set(plan["sites"][site]["hosts"]) for site in ("primary", "dr")}
    offered = bool(view.offer and not view.offer["decided"] and view.offer["to"] == "primary")
    if action == "failover" or (action == "rollback" and view.owner != "primary" and not offered):
        return {plan["witness"], *hosts["dr"]}
    return {plan["witness"], *hosts["primary"], *hosts["dr"]}


def _reached(plan: Plan, needed: set[str], view: View) -> None:
    missing = sorted(needed & set(view.unreachable))
    if missing:
        raise XdrError(
            f"{', '.join(missing)} {'does' if len(missing) == 1 else 'do'} not answer",
            where=f"plan {plan['name']}",
            todo="Run the connectivity test (xdr site test) and try again; nothing was changed",
            code="not_reached",
        )


def _same_plan(plan: Plan, view: View, reads: Mapping[str, Mapping[str, Any]]) -> None:
    """A run pins its plan, and a resource leaves a plan only while it is ACTIVE."""
    if view.run and view.run["plan_hash"] != plan["hash"]:
        raise XdrError(
            f"the plan was edited while run {view.run['id']} ({view.run['action']}) had not ended",
            where=str(plan["file"]),
            todo="Put the plan back as it was when the run began, finish or roll back the run, then edit",
            code="gate_refused",
        )
    present = {r["name"] for group in plan["start_order"] for r in group["resources"]}
    registered = {name for read in reads.values() for name in (read.get("registered") or {}).get("instances", {})}
    gone = sorted(registered - present)
    if gone and view.state not in (State.ACTIVE, State.UNPROTECTED):
        raise XdrError(
            f"{', '.join(gone)} left the plan while it is {view.state}",
            where=str(plan["file"]),
            todo="A resource leaves a plan only while it is ACTIVE: put it back and bring the plan home first",
            code="gate_refused",
        )


def _entry(action: str, view: View) -> str:
    to = "dr" if action == "failover" else "primary"
    if view.owner == to:
        return "start"
    if view.offer and not view.offer["decided"] and view.offer["to"] == to and view.offer["epoch"] > 0 and view.owner is None:
        return "handover"
    return "stop"


def _wrong(action: str, view: View, todo: str) -> XdrError:
    detail = f" ({view.why})" if view.why else ""
    return XdrError(f"{action} is not possible in state {view.state}{detail}", todo=todo, code="wrong_state")


def _status(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    return False, view.why


def _verify_primary(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    return True, ""


def _start(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    if view.epoch == 0:
        return True, "the plan has no owner yet: the primary site becomes its first"
    if view.owner and view.state not in MOVING:
        return True, f"{view.owner} owns the plan"
    raise _wrong("start", view, "Finish or roll back the run that has not ended; xdr status names it")


def _reverse_replication(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    if view.state in REVERSED and view.compared:
        return False, "replication is reversed already, and every volume was compared whole"
    if view.state is State.FAILED_OVER or view.state in REVERSED:
        return True, ""
    raise _wrong("reverse_replication", view, "It follows a failover: the plan must run on the DR site")


def _replicate(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    if view.state in MOVING:
        return False, f"a cycle gives way to the move that is under way ({view.state})"
    if view.state in (State.ACTIVE, State.REPROTECTING, *REVERSED):
        return True, ""
    raise _wrong("replicate", view, "Protect the plan first (reprotect), or reverse replication after a failover")


def _failback(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    if view.owner == "primary" and view.state in HOME:
        return False, "the plan is home already: the primary site runs it"
    if view.state is State.FAILING_BACK or (view.state is State.HALTED and view.run):
        return True, "the failback that began goes on where it stopped"
    if view.state not in REVERSED:
        raise _wrong("failback", view, "Reverse replication first, and wait until the plan is READY")
    _lag_gate(plan, view)
    return True, ""


def _lag_gate(plan: Plan, view: View) -> None:
    ready = plan["replication"]["ready_below"]
    if view.lag.bytes is None:
        raise XdrError(
            "replication_lag is unknown",
            where=f"plan {plan['name']}",
            todo="Run a replication cycle (xdr run replicate) so that it can be measured",
            code="gate_refused",
        )
    if view.lag.bytes > ready:
        raise XdrError(
            f"replication_lag is {view.lag.bytes} bytes, more than ready_below ({ready} bytes)",
            where=f"plan {plan['name']}",
            todo="Let replication catch up (xdr run replicate), or raise replication.ready_below in the plan",
            code="gate_refused",
        )


def _rollback(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    if view.state in REVERSED and view.run is None:
        return False, "nothing to roll back: the services run on the DR site"
    if view.state not in (State.FAILING_BACK, State.ROLLING_BACK, State.HALTED):
        raise _wrong("rollback", view, "Only a failback that has begun and not yet moved traffic can be rolled back")
    if view.run and "switch_traffic" in view.run["phases"]:
        raise XdrError(
            "traffic may have moved to the primary site already, clients may have written there",
            where=f"plan {plan['name']}",
            todo="Finish the failback (xdr run failback); going back to DR is then a failover with its own final delta",
            code="gate_refused",
        )
    return True, ""


def _reprotect(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    if view.state is State.ACTIVE and view.run is None:
        return False, "the plan is protected already"
    if view.state in (State.FAILED_BACK, State.UNPROTECTED, State.REPROTECTING) and view.owner == "primary":
        return True, ""
    raise _wrong("reprotect", view, "It protects a plan whose services run on the primary site; for a new plan run start first")


def _failover(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    if view.owner == "dr" and view.run is None:
        return False, "the services run on the DR site already"
    if view.run and view.run["action"] == "failover":
        return True, "the failover that began goes on where it stopped"
    if view.owner != "primary":
        raise _wrong("failover", view, "Roll back or finish the run that has not ended; xdr status names it")
    _attested(plan, view, options)
    return True, ""


def _attested(plan: Plan, view: View, options: Options) -> None:
    host = plan["sites"]["primary"]["record_host"]
    dead = host in view.unreachable
    if dead and not str(options.get("attestation") or "").strip():
        raise XdrError(
            f"{host} does not answer, and that does not prove that its services are stopped",
            where=f"plan {plan['name']}",
            todo="See that the primary site is off, then attest it: --attest-primary-is-off 'who saw what'",
            code="gate_refused",
        )
    if not dead and options.get("attestation"):
        raise XdrError(
            f"{host} answers, so the primary site is not off as was attested",
            where=f"plan {plan['name']}",
            todo="Leave the attestation out for a planned move, or switch the site off",
            code="gate_refused",
        )


RULES: Mapping[str, Callable[[Plan, View, Options], tuple[bool, str]]] = {
    "status": _status,
    "verify_primary": _verify_primary,
    "start": _start,
    "reverse_replication": _reverse_replication,
    "replicate": _replicate,
    "failback": _failback,
    "rollback": _rollback,
    "reprotect": _reprotect,
    "failover": _failover,
}
