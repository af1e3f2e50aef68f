# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What may be done with a plan from here: each action with one sentence of what it would do, or the reason why not now.

Pure: it looks at what was last seen of the plan and at its active run. The run's own gate reads the hosts again and has the last word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.approval import four_eyes
from ansible_collections.xdr.failback.plugins.plugin_utils.gate import Decision, decide
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import State, View
from ansible_collections.xdr.failback.plugins.plugin_utils.witness import vouched_for

from . import units
from .actions import ACTIONS
from .plan_view import site_names
from .store.accounts import Role
from .store.runs import STOP, Run

Plan = Mapping[str, Any]

TITLES = {
    "reverse-replication": "Reverse Replication",
    "failback": "Failback",
    "rollback": "Rollback",
    "reprotect": "Reprotect",
    "start": "Start",
    "verify-primary": "Verify primary",
    "replicate": "Replicate now",
    "lower-ttl": "Lower the TTL",
    "restore-ttl": "Put the TTL back",
    "failover": "Failover",
    "resolve": "Resolve the split brain",
    "vouch": "Vouch for the witness",
}
WAY_HOME = ("reverse-replication", "failback", "rollback", "reprotect")
NEEDS = {action: Role.dr_admin if action in ("failover", "resolve", "vouch") else Role.operator for action in TITLES}
INTERRUPTS = ("failback", "failover", "rollback")  # services stop or move: a person is asked once more
PLIGHTS: Mapping[str, Callable[[View], bool]] = {
    "resolve": lambda view: bool(view.split) or (view.run is not None and view.run["action"] == "resolve"),
    "vouch": lambda view: bool(view.mute),
}
OF_DNS = ("lower-ttl", "restore-ttl")  # only of a plan with DNS records
UNSEEN = "Nothing is known of the plan yet: the worker has not been able to look at it"
FIRST = ("start", "verify-primary")  # what needs no knowledge of the plan


@dataclass(frozen=True)
class Choice:
    """``refused`` is empty when the action may begin; ``message_to`` is the active run that gets it as a message instead."""

    action: str
    told: str
    refused: str = ""
    check_refused: str = ""  # the same for a run that only checks
    warning: str = ""
    message_to: str = ""
    attest: bool = False  # it needs a person's word that the primary site is off
    reason: bool = False  # it needs a person's reason
    keeps: tuple[str, ...] = ()  # the sides of which a person chooses one
    leased: bool = False  # or that the site's ownership leases have run out
    second: bool = False  # a second person must have approved it

    @property
    def title(self) -> str:
        return TITLES[self.action]

    @property
    def types_name(self) -> bool:
        """Services stop and move: a person types the plan's name. A rollback brings them back, in haste, and asks only once more."""
        return self.action in ("failback", "failover") and not self.message_to

    @property
    def asks(self) -> bool:
        return self.action in INTERRUPTS and not self.types_name

    @property
    def main(self) -> bool:
        return self.action in WAY_HOME


@dataclass(frozen=True)
class Active:
    """The plan's exclusive run, and whether traffic may have moved in it: from then on there is no way back."""

    run: Run
    moved: bool = False

    @property
    def can_go_back(self) -> bool:
        return self.run.action == "failback" and not self.run.check and not self.moved


@dataclass(frozen=True)
class Situation:
    plan: Plan
    view: View | None
    reads: Mapping[str, Mapping[str, Any]]
    active: Active | None
    role: Role

    def name(self, site: str) -> str:
        return site_names(self.plan)[site]

    @property
    def primary_is_silent(self) -> bool:
        return self.view is not None and set(self.plan["sites"]["primary"]["hosts"]) <= set(self.view.unreachable)


def seen(document: Mapping[str, Any] | None) -> View | None:
    """The view in a plan's observation (portal/status.py); None where no state could be read."""
    return View.from_json(document) if document and document.get("state") in State.__members__ else None


def choices(plan: Plan, document: Mapping[str, Any] | None, active: Active | None, role: Role) -> list[Choice]:
    """Every action on the plan, in the order of the page; what only a plight or DNS records ask for, only with them."""
    now = Situation(plan, seen(document), _reads(plan, document or {}), active, role)
    return [_choice(action, now) for action in TITLES if _has_a_place(action, now)]


def _has_a_place(action: str, now: Situation) -> bool:
    if action in OF_DNS:
        return bool(now.plan["traffic"]["dns"])
    return action not in PLIGHTS or (now.view is not None and PLIGHTS[action](now.view))


def _reads(plan: Plan, document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the gate looks at besides the view, as far as the observation has it."""
    hosts = {plan["witness"], *(host for site in plan["sites"].values() for host in site["hosts"])}
    rows = document.get("volumes") or []
    return {host: {"replication": [row for row in rows if row["host"] == host], "why": ""} for host in hosts}


def _choice(action: str, now: Situation) -> Choice:
    back = action == "rollback" and now.active is not None and now.active.can_go_back
    if back and now.active:
        return _message(now.active.run, now)
    state, warning = _state(action, now)
    keeps = _keeps(now) if action == "resolve" else ()
    role = _role(action, now.role)
    return Choice(
        action,
        _told(action, now),
        refused=role or _busy(action, now.active) or state,
        check_refused=role or state,
        warning=warning,
        attest=action == "failover" and now.primary_is_silent and not state,
        keeps=keeps,
        reason=action == "vouch" and now.view is not None and not vouched_for(now.view.vouchers),
        leased=bool(now.plan["ownership"]["lease"]),
        second=four_eyes(now.plan, action),
    )


def _message(run: Run, now: Situation) -> Choice:
    """While a failback runs, a rollback is a message to it."""
    told = f"Ends the failback that runs, and brings the services back up in {now.name('dr')}."
    already = f"The run is being rolled back, as {run.message_by} asked" if run.goes_back else ""
    refused = _role("rollback", now.role) or already
    return Choice("rollback", told, refused, refused or "While the failback runs, a rollback cannot be checked", message_to=run.id)


def _role(action: str, role: Role) -> str:
    return "" if role >= NEEDS[action] else f"It takes the role {NEEDS[action].label}"


def _busy(action: str, active: Active | None) -> str:
    if active is None or not ACTIONS[action].exclusive:
        return ""
    if action == "rollback" and active.moved:
        return "Traffic may have moved already, clients may have written there: the failback goes forward only"
    run = active.run
    return f"Another run is active: {run.action}, asked for by {run.requested_by}"


def _state(action: str, now: Situation) -> tuple[str, str]:
    """Why the plan's state forbids it, and what to know before it is tried."""
    if now.view is None:
        return ("", "") if action in FIRST else (UNSEEN, "")
    try:
        decision = _decision(action, now, now.view)
    except XdrError as error:
        if error.code == "not_reached":  # that was the last look; a new run looks again
            answering = replace(now, view=replace(now.view, unreachable=()))
            refused = _state(action, answering)[0]
            return refused, "" if refused else f"At the last look: {error.what}"
        return _sentence(f"{error.what}. {error.todo}"), ""
    return ("", "") if decision.proceed else (_sentence(f"Nothing to do: {decision.reason.removeprefix('nothing to roll back: ')}"), "")


def _decision(action: str, now: Situation, view: View) -> Decision:
    """Raises XdrError as the gate does."""
    options = {"attestation": "asked for"} if now.primary_is_silent else {}
    options |= {"reason": "asked for", "keep": _keeps(now)[0]} if action in PLIGHTS else {}
    return decide(action.replace("-", "_"), now.plan, view, now.reads, options)


def _keeps(now: Situation) -> tuple[str, ...]:
    """The sides that may be kept: of a resolution that has begun, not the one that was given up."""
    given_up = now.view.split["given_up"] if now.view and now.view.split else None
    settled = now.view.owner if now.view else None
    return (settled,) if settled else tuple(side for side in now.plan["sites"] if side != given_up)


def _sentence(text: str) -> str:
    """From a capital letter to before its full stop."""
    return (text[:1].upper() + text[1:]).rstrip(". ")


def stop_refused(run: Run, role: Role) -> str:
    """Why a run cannot be stopped; empty when it can."""
    if run.ended:
        return "The run has ended"
    if run.goes_back:
        return f"The run is being rolled back, as {run.message_by} asked"
    if run.message == STOP:
        return f"The run is being stopped, as {run.message_by} asked"
    return "" if role >= Role.operator else f"It takes the role {Role.operator.label}"


# -- what each would do from here ------------------------------------------------------------------------------


def _told(action: str, now: Situation) -> str:
    primary, dr = now.name("primary"), now.name("dr")
    match action:
        case "reverse-replication":
            return f"Replicates from {dr} to {primary}; the services go on in {dr}. What {primary} wrote and {dr} never got is kept aside."
        case "failback":
            return _failback(now)
        case "rollback":
            return f"Undoes a failback that has begun: services up in {dr}."
        case "reprotect":
            return f"Replicates from {primary} to {dr} until the lag is within the RPO; the services go on in {primary}."
        case "start":
            return _start(now)
        case "verify-primary":
            return f"Checks that {primary} can take the plan back; changes nothing."
        case "replicate":
            return _replicate(now)
        case "lower-ttl":
            return f"Lets resolvers keep {_records(now)} for a shorter time, so that clients follow the next move sooner."
        case "restore-ttl":
            return f"Lets resolvers keep {_records(now)} for as long as before a move."
        case "resolve":
            return (
                "Stops the services of the other side, keeps its volumes as recovery point split-brain, "
                "gives the kept side an epoch above both and leads the clients to it."
            )
        case "vouch":
            return _vouch(now)
        case _:
            return _failover(now)


def _records(now: Situation) -> str:
    return " and ".join(dict.fromkeys(f"{record['record']} ({record['zone'].rstrip('.')})" for record in now.plan["traffic"]["dns"]))


def _failback(now: Situation) -> str:
    primary, dr = now.name("primary"), now.name("dr")
    if now.view and now.view.state in (State.FAILING_BACK, State.HALTED):
        return f"Goes on with the failback to {primary} where it stopped."
    rest = f"the last {units.size(now.view.lag.bytes)}" if now.view and now.view.lag.bytes is not None else "the rest"
    return f"Downtime: stops the services in {dr}, copies and proves {rest}, starts them in {primary} by priority, moves the traffic."


def _start(now: Situation) -> str:
    if now.view is None or now.view.owner is None:
        return f"For a new plan: {now.name('primary')} becomes its first owner, and its services start there by priority."
    return f"Starts what does not run of the plan's services in {now.name(now.view.owner)}, by priority."


def _replicate(now: Situation) -> str:
    owner = now.view.owner if now.view else None
    if owner is None:
        return "Runs one replication cycle from the site that owns the plan."
    return f"Runs one replication cycle from {now.name(owner)} to {now.name('dr' if owner == 'primary' else 'primary')} now."


def _failover(now: Situation) -> str:
    primary, dr = now.name("primary"), now.name("dr")
    if now.primary_is_silent:
        return f"Starts the services in {dr} from its newest complete recovery point; what {primary} wrote after that is lost to them."
    return f"Downtime: a planned move from {primary} to {dr} with a last sync; nothing is lost."


def _vouch(now: Situation) -> str:
    rest = "no service is stopped or moved."
    if now.view and vouched_for(now.view.vouchers):
        return f"Lets it learn the newest epoch and its owner from both sites, as any run would; {rest}"
    return f"Lets it believe the one site that answers. The other may own a newer epoch: then both may come to run; {rest}"


_NEXT = {
    State.ACTIVE: "The plan runs in {primary} and is protected by {dr}. Nothing to do.",
    State.FAILED_OVER: "The services run in {dr}. When {primary} is back: Reverse Replication.",
    State.REVERSING: "{dr} replicates to {primary}. Wait until the plan is READY, or Replicate now; then Failback.",
    State.READY: "{primary} has nearly everything. Failback when a downtime is allowed.",
    State.FAILING_BACK: "A failback has begun. While it runs: watch it. If no run is active: Failback goes on, Rollback undoes it.",
    State.ROLLING_BACK: "A rollback has begun. If no run is active: Rollback goes on with it.",
    State.FAILED_BACK: "The services run in {primary}, not yet protected. Reprotect now.",
    State.REPROTECTING: "The services run in {primary}. If no run is active: Reprotect goes on.",
    State.UNPROTECTED: "The services are not protected. For a new plan Start, then Reprotect.",
    State.HALTED: "The move has halted, and asks: retry, skip or abort.",
    State.SPLIT_BRAIN: "Both sites went on by themselves. Start nothing: a dr-admin decides which side is kept (Resolve the split brain).",
    State.NO_OWNER: "No site owns the plan, and none may start it. Bring the silent site back, or attest that it is off.",
}


_AT_HOME = (State.ACTIVE, State.FAILED_BACK, State.REPROTECTING, State.UNPROTECTED)


def what_now(plan: Plan, state: str, silent: Iterable[str] = ()) -> str:
    """What an operator does next, in one or two sentences."""
    if state in _AT_HOME and set(plan["sites"]["primary"]["hosts"]) <= set(silent):
        return "{primary} does not answer. See whether it is off; if it is, and stays so: Failover to {dr}.".format(**site_names(plan))
    return _NEXT[State(state)].format(**site_names(plan)) if state in State.__members__ else UNSEEN + "."
