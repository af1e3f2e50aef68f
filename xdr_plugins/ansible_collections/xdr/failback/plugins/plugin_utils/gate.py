# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether an action may begin on a plan: the one place where it is decided, for hand-run playbooks, command line and portal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils import recovery_points, resolution
from ansible_collections.xdr.failback.plugins.plugin_utils.skip import skippable
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import Event, State, View, next_state
from ansible_collections.xdr.failback.plugins.plugin_utils.window import Window
from ansible_collections.xdr.failback.plugins.plugin_utils.witness import vouched_for

Plan = Mapping[str, Any]
Options = Mapping[str, Any]

REVERSED = (State.REVERSING, State.READY)
MOVING = (State.FAILING_BACK, State.ROLLING_BACK, State.HALTED)
SILENT = "does not answer"
MOVES = ("failback", "rollback", "failover")
ONLY_LOOKS = ("status", "verify_primary")
CYCLE = "replicate"  # it gives way to all else, and what it had begun binds nobody
PREFLIGHT = 120.0  # seconds after which a move that has touched nothing is taken for one that was stopped
HOME = (State.FAILED_BACK, State.REPROTECTING, State.ACTIVE)
LETS_GO = (State.ACTIVE, State.UNPROTECTED)  # a resource may leave the plan; a plan that has never run is the latter


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
    skip: tuple[str, ...] = ()  # groups whose health checks are left out
    vouch: bool = False  # the witness is mute: once the attempt is claimed, it learns from the sites' records what is so
    claim_as: str = ""  # the action of the run that is claimed
    owner_epoch: int = 0  # the one that the site which is kept accepts, of a split brain
    how: str = "attested"  # what lets DR accept where the primary site does not answer: that, or ``lease_expired``
    proof: str = ""  # that the leases have run out, for the epoch's history

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
        reached(plan, needed(action, plan, view), view, reads)
        same_plan(plan, view, reads)
        witness_speaks(action, plan, view)
    by_lease = action == "failover" and leases_have_run_out(plan, view, options)
    if action == "failover" and not by_lease:
        not_locked_out(plan, reads)
    proceed, reason = rule(plan, view, options)
    skip = _skipped(action, plan, view, options) if proceed else ()
    _known_hooks(plan, options)
    if proceed and action == "failback" and view.state in REVERSED:
        same_sizes(plan, reads)
    if proceed and action == "failover" and options.get("recovery_point"):
        rows = [row for host in plan["sites"]["dr"]["hosts"] for row in reads[host].get("replication") or []]
        recovery_points.check(plan, rows, str(options["recovery_point"]))
    claim_as = str(view.run["action"]) if action == "vouch" and view.run and view.run["action"] != CYCLE else action
    resumed = view.run is not None and view.run["action"] == claim_as and claim_as != CYCLE
    epoch = max(view.epoch, view.attempt_epoch)
    # a cycle that has read the same and takes its number at the same moment is overtaken
    attempt = view.attempt + (1 if action == CYCLE else 2)
    fresh, claims = not resumed, action not in ONLY_LOOKS
    owned = resolution.owner_epoch(plan, view, reads, options["keep"]) if proceed and action == "resolve" else 0
    vouch = bool(view.mute) and claims and (action == "vouch" or vouched_for(view.vouchers))
    how, proof = ("lease_expired", str(options["lease"]["told"])) if by_lease else ("attested", "")
    return Decision(proceed, reason, epoch, attempt, entry(action, view), fresh, claims, skip, vouch, claim_as, owned, how, proof)


def needed(action: str, plan: Plan, view: View) -> set[str]:
    """The hosts without which the action cannot be done; what brings services up on one site must not wait for the other."""
    hosts = {site: set(plan["sites"][site]["hosts"]) for site in ("primary", "dr")}
    if action == "failover" or (action == "rollback" and view.owner != "primary" and not view.offered_to("primary")):
        return {plan["witness"], *hosts["dr"]}
    if action == "vouch":
        return {plan["witness"]}
    if action in ("lower_ttl", "restore_ttl"):
        return {plan["witness"], *(record["host"] for record in plan["traffic"]["dns"])}
    if action == "start" and view.owner:
        return {plan["witness"], *hosts[view.owner]}
    return {plan["witness"], *hosts["primary"], *hosts["dr"]}


def reached(plan: Plan, needed: set[str], view: View, reads: Mapping[str, Mapping[str, Any]]) -> None:
    missing = sorted(needed & set(view.unreachable))
    if missing:
        told = {host: _unreached(str(reads[host].get("why") or "")) for host in missing}
        advice = dict.fromkeys(todo for _, todo in told.values())
        raise XdrError(
            ", ".join(f"{host} {what}" for host, (what, _) in told.items()),
            where=f"plan {plan['name']}",
            todo=f"{'. '.join(advice)}, then try again; nothing was changed",
            code="not_reached",
        )


def witness_speaks(action: str, plan: Plan, view: View) -> None:
    """A mute witness takes no offer: both sites vouch for it in any run that has read them, else a person must."""
    founding = action == "start" and view.epoch <= 1
    if view.mute and action not in ("vouch", *ONLY_LOOKS) and not founding and not vouched_for(view.vouchers):
        known = {voucher["site"] for voucher in view.vouchers}
        silent = [plan["sites"][site]["name"] for site in ("primary", "dr") if site not in known]
        raise XdrError(
            f"the witness is mute ({view.mute}), and {' and '.join(silent)} does not answer to say what is so",
            where=f"{plan['witness']}, plan {plan['name']}",
            todo=f"Bring {' and '.join(silent)} back, or let a dr-admin vouch for it: xdr run vouch {plan['name']} --reason '…'",
            code="witness_mute",
        )


def _unreached(said: str) -> tuple[str, str]:
    """What is wrong with a host and what to do, from what ssh said about it."""
    if "host key" in said.lower():
        return "shows another host key than the pinned one", "Find out why it changed; pin the new one only if it is right"
    if "permission denied" in said.lower():
        return "refuses the login", "See that its authorized_keys has the controller's key, and which key the inventory names"
    return SILENT, "Run the connectivity test (xdr site test)"


def not_locked_out(plan: Plan, reads: Mapping[str, Mapping[str, Any]]) -> None:
    """A host whose sshd answers is not off, whatever is attested: its services may well run."""
    for host in plan["sites"]["primary"]["hosts"]:
        what, todo = _unreached(str(reads[host].get("why") or ""))
        if what == SILENT and reads[host].get("sshd"):
            what, todo = "has an sshd that answers", "Find out why it does not let the controller in"
        if what != SILENT:
            raise XdrError(f"{host} {what}, so it is not off", where=f"plan {plan['name']}", todo=todo, code="gate_refused")


def same_plan(plan: Plan, view: View, reads: Mapping[str, Mapping[str, Any]]) -> None:
    """A run pins its plan, and a resource leaves a plan only while it is ACTIVE."""
    if view.run and view.run["action"] != CYCLE and view.run["plan_hash"] != plan["hash"]:
        raise XdrError(
            f"the plan was edited while run {view.run['id']} ({view.run['action']}) had not ended",
            where=str(plan["file"]),
            todo="Put the plan back as it was when the run began, finish or roll back the run, then edit",
            code="gate_refused",
        )
    present = {r["name"] for group in plan["start_order"] for r in group["resources"]}
    registered = {name for read in reads.values() for name in (read.get("registered") or {}).get("instances", {})}
    gone = sorted(registered - present)
    if gone and view.state not in LETS_GO:
        raise XdrError(
            f"{', '.join(gone)} left the plan while it is {view.state}",
            where=str(plan["file"]),
            todo="A resource leaves a plan only while it is ACTIVE: put it back and bring the plan home first",
            code="gate_refused",
        )


def _skipped(action: str, plan: Plan, view: View, options: Options) -> tuple[str, ...]:
    """The groups whose health checks a person wants left out, each of them one that may be."""
    wanted = tuple(options.get("skip") or ())
    if not wanted:
        return ()
    may = skippable(view)
    where = f"plan {plan['name']}"
    if action != ("rollback" if view.state is State.ROLLING_BACK else "failback"):
        raise XdrError(f"{action} has no health checks to skip in state {view.state}", where=where, code="gate_refused")
    if not str(options.get("skip_reason") or "").strip():
        raise XdrError("skipping health checks needs a reason", where=where, todo="Say why they may be left out", code="gate_refused")
    for group in wanted:
        if group not in may.groups:
            may_be = f"only those of {', '.join(may.groups)} failed" if may.groups else may.refused
            raise XdrError(
                f"the health checks of {group} cannot be skipped: {may_be}",
                where=where,
                todo="Run it again, or roll back",
                code="gate_refused",
            )
    return wanted


def _known_hooks(plan: Plan, options: Options) -> None:
    """A person may leave out any hook of the plan, with a reason: it is the plan's own addition to the move."""
    wanted = tuple(options.get("skip_hooks") or ())
    known = [hook["name"] for hook in plan.get("hooks") or ()]
    where = f"plan {plan['name']}"
    if wanted and not str(options.get("skip_reason") or "").strip():
        raise XdrError("leaving out a hook needs a reason", where=where, todo="Say why it may be left out", code="gate_refused")
    for name in wanted:
        if name not in known:
            todo = f"Its hooks are {', '.join(known)}" if known else "It has no hooks"
            raise XdrError(f"the plan has no hook {name!r}", where=where, todo=todo, code="gate_refused")


def same_sizes(plan: Plan, reads: Mapping[str, Mapping[str, Any]]) -> None:
    """The final sync would refuse them during the downtime."""
    sizes = {(host, row["volume"]): row.get("size") for host, read in reads.items() for row in read.get("replication") or []}
    for resource in (resource for group in plan["start_order"] for resource in group["resources"]):
        primary, dr = (resource.get("hosts", {}).get(site, "") for site in ("primary", "dr"))
        for volume in resource["volumes"]:
            there, here = sizes.get((primary, volume["name"])), sizes.get((dr, volume["name"]))
            if there and here and there != here and not volume.get("grows"):
                raise XdrError(
                    f"volume {volume['name']} has {there} bytes on {primary} and {here} bytes on {dr}",
                    where=f"plan {plan['name']}",
                    todo="Make them the same size, or let the volume grow (grows: true); nothing was changed",
                    code="gate_refused",
                )


def entry(action: str, view: View) -> str:
    """An offer that is open is handed over to its end first, also where the site has accepted it: the witness must hear of it.

    Not one that the site has declined for good: it gets another.
    """
    to = "dr" if action == "failover" else "primary"
    if view.offer and view.offered_to(to) and not view.offer["declined"]:
        return "handover"
    return "start" if view.owner == to else "stop"


def _arrow(view: View, event: Event, action: str, todo: str) -> None:
    """Raises XdrError, code ``wrong_state``, where the state machine has no such arrow."""
    try:
        next_state(view.state, event)
    except XdrError as error:
        raise _wrong(action, view, todo) from error


def _unfinished_move(view: View) -> Mapping[str, Any] | None:
    return view.run if view.run and view.run["action"] in MOVES else None


def _wrong(action: str, view: View, todo: str) -> XdrError:
    detail = f" ({view.why})" if view.why else ""
    return XdrError(f"{action.replace('_', ' ')} is not possible in state {view.state}{detail}", todo=todo, code="wrong_state")


def _status(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    return False, view.why


def _verify_primary(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    return True, ""


def _vouch(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    if not view.mute:
        return False, "the witness is not mute"
    if vouched_for(view.vouchers):
        return True, "both sites vouch for the witness"
    if not str(options.get("reason") or "").strip() or not view.vouchers:
        known = {voucher["site"] for voucher in view.vouchers}
        silent = " and ".join(plan["sites"][site]["name"] for site in ("primary", "dr") if site not in known)
        raise XdrError(
            f"{silent} does not answer to vouch for the witness ({view.mute})",
            where=f"plan {plan['name']}",
            todo="Bring it back, or say why the other site's word is enough (--reason): it may own a newer epoch than anybody here knows",
            code="gate_refused",
        )
    return True, "one site and a person vouch for the witness"


def _start(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    if view.epoch == 0:
        return True, "the plan has no owner yet: the primary site becomes its first"
    if view.owner and view.state not in MOVING and not _unfinished_move(view):
        return True, f"{view.owner} owns the plan"
    raise _wrong("start", view, "Finish or roll back the run that has not ended; xdr status names it")


def _reverse_replication(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    if view.state in REVERSED and view.compared:
        return False, "replication is reversed already, and every volume was compared whole"
    if view.owner == "dr" and _unfinished_move(view):
        raise _wrong("reverse_replication", view, f"Finish the {view.run['action'] if view.run else 'run'} first: run it again")
    _arrow(view, Event.REVERSE, "reverse_replication", "It follows a failover: the plan must run on the DR site")
    return True, ""


def _replicate(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    move = _unfinished_move(view)
    if move and not move["phases"] and options.get("now", 0.0) - move["started"] > PREFLIGHT:
        move = None
    if view.state in MOVING or move:
        name = f"{move['action']}, run {move['id']}" if move else f"the move that is under way ({view.state})"
        return False, f"a cycle gives way to {name}"
    if view.owner and view.state in (State.ACTIVE, State.REPROTECTING, *REVERSED):
        return True, ""
    raise _wrong("replicate", view, "Protect the plan first (reprotect), or reverse replication after a failover")


def _failback(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    home, move = view.owner == "primary" and view.state in HOME, _unfinished_move(view)
    if home and not move:
        return False, "the plan is home already: the primary site runs it"
    if home and move and move["action"] != "failover":
        return True, "the plan is home, and the run that has not ended goes on to its end"
    if view.state is State.FAILING_BACK or (view.state is State.HALTED and view.run):
        return True, "the failback that began goes on where it stopped"
    if view.state is State.ROLLING_BACK:
        raise _wrong("failback", view, "Finish the rollback first: xdr run rollback")
    _arrow(view, Event.FAILBACK, "failback", "Reverse replication first, and wait until the plan is READY")
    lag_gate(plan, view)
    if options.get("window"):
        Window.from_json(options["window"]).check_open(options["now"])
    return True, ""


def lag_gate(plan: Plan, view: View) -> None:
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
    if view.state in REVERSED and not _unfinished_move(view):
        return False, "nothing to roll back: the services run on the DR site"
    move = _unfinished_move(view)
    if move and move["action"] == "failover":
        raise _wrong("rollback", view, "A failover has begun and not ended: run failover again, it goes on where it stopped")
    if view.state not in REVERSED:
        _arrow(view, Event.UNDO, "rollback", "Only a failback that has begun and not yet moved traffic can be rolled back")
    if view.run and "switch_traffic" in view.run["phases"]:
        raise XdrError(
            "traffic may have moved to the primary site already, clients may have written there",
            where=f"plan {plan['name']}",
            todo="Finish the failback (xdr run failback); going back to DR is then a failover with its own final delta",
            code="gate_refused",
        )
    if options.get("before_offer") and view.state is not State.ROLLING_BACK and _may_have_moved(view):
        raise XdrError(
            "ownership may have been handed over already, and after that no deadline rolls back",
            where=f"plan {plan['name']}",
            todo="Finish the failback (xdr run failback), or roll back yourself",
            code="gate_refused",
        )
    return True, ""


def _may_have_moved(view: View) -> bool:
    """Whether the primary site owns the plan or was offered it."""
    return view.owner == "primary" or view.offered_to("primary") or "offer" in (view.run or {"phases": {}})["phases"]


def _reprotect(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    if view.state is State.ACTIVE and not _unfinished_move(view):
        return False, "the plan is protected already"
    if view.owner == "primary" and not _unfinished_move(view):
        _arrow(view, Event.REPROTECT, "reprotect", "For a new plan run start first")
        return True, ""
    raise _wrong("reprotect", view, "It protects a plan whose services run on the primary site; for a new plan run start first")


def _failover(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    move = _unfinished_move(view)
    if view.owner == "dr" and not move:
        return False, "the DR site owns the plan already; xdr run start sees that its services run"
    dead = [host for host in plan["sites"]["primary"]["hosts"] if host in view.unreachable]
    by_lease = leases_have_run_out(plan, view, options)
    if not by_lease:
        _attested(plan, dead, options)
    if move and move["action"] == "failover":
        return True, "the failover that began goes on where it stopped"
    if dead and view.run and view.run["action"] == "resolve" and view.owner != "dr":
        return True, "the primary site is attested to be off, in the middle of the resolution of a split brain"
    if view.owner is None and view.offered_to("primary") and dead:
        return True, "the primary site was offered the plan and is off, or its leases have run out"
    if view.owner != "primary":
        raise _wrong("failover", view, "Roll back or finish the run that has not ended; xdr status names it")
    if not dead and (view.state is not State.ACTIVE or move):
        raise _wrong(
            "failover", view, "With the primary site up this is a planned move, which needs a plan that is ACTIVE: run reprotect first"
        )
    return True, str(options["lease"]["told"]) if by_lease else ""


def leases_have_run_out(plan: Plan, view: View, options: Options) -> bool:
    """Whether the primary site is silent as a whole, and the witness holds its leases for run out; an attestation counts before that."""
    silent = set(plan["sites"]["primary"]["hosts"]) <= set(view.unreachable)
    attested = bool(str(options.get("attestation") or "").strip())
    return silent and not attested and bool((options.get("lease") or {}).get("run_out"))


def _attested(plan: Plan, dead: list[str], options: Options) -> None:
    """Hosts of the primary site that do not answer are stopped, or a person says so; one that answers contradicts that."""
    hosts = plan["sites"]["primary"]["hosts"]
    attested = bool(str(options.get("attestation") or "").strip())
    alive = [host for host in hosts if host not in dead]
    if dead and not attested:
        told = (options.get("lease") or {}).get("told")
        raise XdrError(
            f"{', '.join(dead)} {'does' if len(dead) == 1 else 'do'} not answer, and that does not prove that its services are stopped"
            + (f"; {told}" if told else ""),
            where=f"plan {plan['name']}",
            todo=("Run failover again when the leases have run out. Else see" if told else "See")
            + " that the primary site is off, then attest it: --attest-primary-is-off 'who saw what'",
            code="gate_refused",
        )
    if attested and alive:
        raise XdrError(
            f"{', '.join(alive)} {'answers' if len(alive) == 1 else 'answer'}, so the primary site is not off as was attested",
            where=f"plan {plan['name']}",
            todo="Leave the attestation out for a planned move, or switch the whole site off",
            code="gate_refused",
        )


def _ttl(plan: Plan, view: View, options: Options) -> tuple[bool, str]:
    if not plan["traffic"]["dns"]:
        return False, "the plan has no DNS records (traffic.dns)"
    if view.owner and view.state not in MOVING and not _unfinished_move(view):
        return True, ""
    raise _wrong("a change of the TTL", view, "Finish or roll back the run that has not ended; xdr status names it")


RULES: Mapping[str, Callable[[Plan, View, Options], tuple[bool, str]]] = {
    "status": _status,
    "verify_primary": _verify_primary,
    "vouch": _vouch,
    "start": _start,
    "reverse_replication": _reverse_replication,
    "replicate": _replicate,
    "failback": _failback,
    "rollback": _rollback,
    "reprotect": _reprotect,
    "failover": _failover,
    "resolve": resolution.rule,
    "lower_ttl": _ttl,
    "restore_ttl": _ttl,
}
