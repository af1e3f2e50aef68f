# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The states of a plan, how one leads to another, and how they are read from the sites' records."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils import record as records
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils import split_brain
from ansible_collections.xdr.failback.plugins.plugin_utils.witness import believe


class State(StrEnum):
    ACTIVE = "ACTIVE"
    FAILED_OVER = "FAILED_OVER"
    REVERSING = "REVERSING"
    READY = "READY"
    FAILING_BACK = "FAILING_BACK"
    FAILED_BACK = "FAILED_BACK"
    REPROTECTING = "REPROTECTING"
    ROLLING_BACK = "ROLLING_BACK"
    HALTED = "HALTED"
    UNPROTECTED = "UNPROTECTED"
    SPLIT_BRAIN = "SPLIT_BRAIN"
    NO_OWNER = "NO_OWNER"


class Event(StrEnum):
    """What moves a plan from one state to another; runs write the new state into the sites' records."""

    FAILOVER = "failover"
    REVERSE = "reverse_replication"
    CAUGHT_UP = "caught_up"
    FELL_BEHIND = "fell_behind"
    FAILBACK = "failback"
    MOVED = "moved"
    UNDO = "undo"
    UNDONE = "undone"
    HOLD = "hold"
    START = "start"
    REPROTECT = "reprotect"
    PROTECTED = "protected"
    NOT_PROTECTED = "not_protected"


_TABLE: dict[tuple[State, Event], State] = {
    (State.FAILED_OVER, Event.REVERSE): State.REVERSING,
    (State.REVERSING, Event.REVERSE): State.REVERSING,
    (State.READY, Event.REVERSE): State.REVERSING,
    (State.REVERSING, Event.CAUGHT_UP): State.READY,
    (State.READY, Event.FELL_BEHIND): State.REVERSING,
    (State.REVERSING, Event.FAILBACK): State.FAILING_BACK,
    (State.READY, Event.FAILBACK): State.FAILING_BACK,
    (State.FAILING_BACK, Event.FAILBACK): State.FAILING_BACK,
    (State.HALTED, Event.FAILBACK): State.FAILING_BACK,
    (State.FAILING_BACK, Event.MOVED): State.FAILED_BACK,
    (State.FAILING_BACK, Event.UNDO): State.ROLLING_BACK,
    (State.HALTED, Event.UNDO): State.ROLLING_BACK,
    (State.ROLLING_BACK, Event.UNDO): State.ROLLING_BACK,
    (State.ROLLING_BACK, Event.UNDONE): State.REVERSING,
    (State.FAILING_BACK, Event.HOLD): State.HALTED,
    (State.ROLLING_BACK, Event.HOLD): State.HALTED,
    (State.FAILED_BACK, Event.REPROTECT): State.REPROTECTING,
    (State.UNPROTECTED, Event.REPROTECT): State.REPROTECTING,
    (State.REPROTECTING, Event.REPROTECT): State.REPROTECTING,
    (State.REPROTECTING, Event.PROTECTED): State.ACTIVE,
    (State.REPROTECTING, Event.NOT_PROTECTED): State.UNPROTECTED,
    (State.UNPROTECTED, Event.START): State.UNPROTECTED,
}
_NEVER_FAILED_OVER = (State.SPLIT_BRAIN, State.NO_OWNER)


def next_state(state: State, event: Event) -> State:
    """The state that the event leads to.

    Raises XdrError, code ``wrong_state``, where the machine has no such arrow.
    """
    if event is Event.FAILOVER and state not in _NEVER_FAILED_OVER:
        return State.FAILED_OVER
    try:
        return _TABLE[state, event]
    except KeyError:
        raise XdrError(f"{event} is not possible in state {state}", code="wrong_state") from None


@dataclasses.dataclass(frozen=True)
class Lag:
    """Bytes still to be transferred and the age in seconds of the last consistent point; None is unknown, never 0."""

    bytes: int | None = None
    age: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "replication_lag": "unknown" if self.bytes is None else self.bytes,
            "replication_lag_age": "unknown" if self.age is None else round(self.age, 3),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Lag:
        known = (document[name] if document[name] != "unknown" else None for name in ("replication_lag", "replication_lag_age"))
        return cls(*known)


@dataclasses.dataclass(frozen=True)
class View:
    """What the sites' records say of a plan, read at one time."""

    state: State
    owner: str | None  # primary, dr, or None
    epoch: int  # the newest any record knows
    next_epoch: int  # the lowest that the witness may offer
    attempt: int  # the newest number any host has seen
    attempt_epoch: int  # the newest epoch of any pair; its owner may be dead, and a pair of an older one would be refused for good
    since: float  # unix seconds, 0 where unknown
    why: str
    lag: Lag
    compared: bool  # every volume was compared whole within this direction of replication
    standing: Mapping[str, str]  # what each site's record says of it, "unknown" where it does not answer
    run: Mapping[str, Any] | None  # the run that has begun and not ended
    # the witness's offer that it holds neither for decided nor for declined; "declined": the site did decline it
    offer: Mapping[str, Any] | None
    unreachable: tuple[str, ...]  # inventory hosts
    mute: str = ""  # why the witness's record is not believed; with both sites read, the view is as if they had vouched for it
    vouchers: tuple[Mapping[str, Any], ...] = ()  # of the sites' records, what vouches for the witness
    serial: int = 0  # the newest state of the witness's record that it or a site knows of
    split: Mapping[str, Any] | None = None  # of a plan that is SPLIT_BRAIN, what split_brain.Split tells

    def offered_to(self, site: str) -> bool:
        return self.offer is not None and self.offer["to"] == site

    def to_json(self) -> dict[str, Any]:
        document = dataclasses.asdict(self)
        document.pop("lag")
        plain = {"state": str(self.state), "unreachable": list(self.unreachable), "vouchers": list(self.vouchers)}
        return {**document, **plain, **self.lag.to_json()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> View:
        """The view that ``to_json`` wrote, also in an older version; what else the document has is left alone."""
        names = {each.name for each in dataclasses.fields(cls)} - {"state", "lag", "unreachable", "vouchers"}
        return cls(
            state=State(document["state"]),
            lag=Lag.from_json(document),
            unreachable=tuple(document["unreachable"]),
            vouchers=tuple(document.get("vouchers", ())),
            **{name: document[name] for name in names if name in document},
        )


def derive(plan: Mapping[str, Any], reads: Mapping[str, Mapping[str, Any]]) -> View:
    """The plan's state from what its hosts answered.

    ``reads``: inventory host → ``{"reachable": bool, "record": ownership record or None, "replication": [status of a volume…]}``.
    Only the record host of a site speaks for it; the witness breaks no tie, it only remembers offers.
    """
    record = {site: _record(reads, plan["sites"][site]["record_host"]) for site in ("primary", "dr")}
    believed = believe(plan, reads)
    witness = believed.record
    known = [r for r in (*record.values(), witness) if r]
    pairs = [r["attempt"] for r in known] + [believed.attempt]
    epoch = max((r["epoch"] for r in known), default=0)
    split = split_brain.found(plan, reads, record, _open_run(known, None))
    owner, state, why = (None, State.SPLIT_BRAIN, split.why) if split else _owner(record, witness, epoch)
    lag, compared = _lag(plan, reads, owner)
    newest = _newest(known, record, owner)
    run = _open_run(known, record[owner] if owner else None)
    if state is None and owner is None and run is None:
        state, why = State.NO_OWNER, "ownership was released and nobody accepted it, and no run is at work on it"
    if state is None and owner and run and run["action"] == split_brain.RESOLVE:
        state, why = State(split_brain.STATUS[owner]), "the split brain is resolved, and the run that does it has not ended"
    if state is None:
        state, why = _status(newest, owner, lag, compared, plan)
    return View(
        state=state,
        owner=owner,
        epoch=epoch,
        next_epoch=max(epoch + 1, records.from_json(dict(witness)).next_epoch if witness else 1),
        attempt=max((pair[1] for pair in pairs), default=0),
        attempt_epoch=max((pair[0] for pair in pairs), default=0),
        since=float(newest["status_since"] or 0) if newest else 0.0,
        why=why,
        lag=lag,
        compared=compared,
        standing={site: str(r["standing"]) if r else "unknown" for site, r in record.items()},
        run=run,
        offer=_offer(record, witness),
        unreachable=tuple(sorted(host for host, read in reads.items() if not read["reachable"])),
        mute=believed.mute,
        vouchers=believed.vouchers,
        serial=believed.serial,
        split=split.to_json() if split else None,
    )


def _record(reads: Mapping[str, Mapping[str, Any]], host: str) -> Mapping[str, Any] | None:
    record = reads.get(host, {}).get("record")
    return record if record and record["epoch"] > 0 else None


def _owner(
    record: Mapping[str, Mapping[str, Any] | None], witness: Mapping[str, Any] | None, epoch: int
) -> tuple[str | None, State | None, str]:
    if epoch == 0:
        return None, State.UNPROTECTED, "no site has owned this plan yet"
    owners = {site: r["epoch"] for site, r in record.items() if r and r["standing"] == "accepted"}
    if owners:
        site = max(owners, key=lambda name: owners[name])
        elsewhere = _decided_elsewhere(witness, owners[site], site)
        return (elsewhere, None, "") if elsewhere else (site, None, "")
    elsewhere = _decided_elsewhere(witness, 0, "")
    if elsewhere and record[elsewhere] is None:
        return elsewhere, None, ""
    offer = _open_offer(witness)
    if offer and record[offer["to"]] is None:
        return None, State.NO_OWNER, f"epoch {offer['epoch']} was offered to {offer['to']}, which does not answer"
    return None, None, ""


def _open_offer(witness: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    offer: Mapping[str, Any] | None = witness.get("offer") if witness else None
    return offer if offer and not offer["decided"] else None


def _offer(record: Mapping[str, Mapping[str, Any] | None], witness: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    offer = _open_offer(witness)
    site = record[offer["to"]] if offer else None
    return offer and {**offer, "declined": site is not None and site["declined"] >= offer["epoch"]}


def _decided_elsewhere(witness: Mapping[str, Any] | None, epoch: int, site: str) -> str | None:
    if witness and witness["epoch"] > epoch and witness["owner"] and witness["owner"] != site:
        return str(witness["owner"])
    return None


def _newest(
    known: Iterable[Mapping[str, Any]], record: Mapping[str, Mapping[str, Any] | None], owner: str | None
) -> Mapping[str, Any] | None:
    mine = record[owner] if owner else None
    return mine or max(known, key=lambda r: (r["epoch"], r["status_since"] or 0), default=None)


def _status(newest: Mapping[str, Any] | None, owner: str | None, lag: Lag, compared: bool, plan: Mapping[str, Any]) -> tuple[State, str]:
    if newest is None or not newest["status"]:
        return State.UNPROTECTED, "no run has finished on this plan yet"
    state = State(newest["status"])
    if owner == "dr" and state in (State.ACTIVE, State.REPROTECTING, State.UNPROTECTED, State.FAILED_BACK):
        return State.FAILED_OVER, "the DR site owns the plan, the failover has not been finished"
    if state is State.REVERSING and lag.bytes is not None and lag.bytes <= plan["replication"]["ready_below"]:
        return State.READY, f"{lag.bytes} bytes behind, ready below {plan['replication']['ready_below']}"
    return state, _reason(state, lag, compared)


def _reason(state: State, lag: Lag, compared: bool) -> str:
    if state is State.REVERSING:
        behind = "an unknown number of" if lag.bytes is None else str(lag.bytes)
        return f"{behind} bytes behind" + ("" if compared else ", not yet compared whole")
    return ""


def _lag(plan: Mapping[str, Any], reads: Mapping[str, Mapping[str, Any]], owner: str | None) -> tuple[Lag, bool]:
    """Sum of bytes and greatest age over the volumes of the owning site; one unknown makes the whole unknown."""
    if owner not in ("primary", "dr"):
        return Lag(), False
    hosts = plan["sites"][owner]["hosts"]
    rows = [row for host in hosts for row in reads.get(host, {}).get("replication") or []]
    wanted = {v["name"] for group in plan["start_order"] for r in group["resources"] for v in r["volumes"]}
    rows = [row for row in rows if row["volume"] in wanted and row["role"] == "source"]
    if {row["volume"] for row in rows} != wanted:
        return Lag(), False
    sizes = [row["lag_bytes"] for row in rows]
    ages = [row["lag_age_s"] for row in rows]
    lag = Lag(
        None if "unknown" in sizes else sum(int(size) for size in sizes),
        None if "unknown" in ages else max((float(age) for age in ages), default=0.0),
    )
    return lag, all(row["compared"] for row in rows)


def _open_run(known: Iterable[Mapping[str, Any]], owner: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The newest run over all hosts, with the phases and hooks that any host has marked, unless it has ended.

    What the owner says of its own run counts more than what others say, and as long as that has not ended: neither an end that only some
    hosts have recorded nor a claim that reached only some may hide that the traffic has moved.
    A host that the run reached without having claimed it does not know its action and plan.
    """
    runs = [r["run"] for r in known if r.get("run")]
    newest = max(runs, key=lambda run: (run["attempt"], bool(run["plan_hash"])), default=None)
    same = [run for run in runs if newest and run["attempt"] == newest["attempt"]]
    owners = [owner["run"]] if owner and owner["run"] and not owner["run"]["ended"] else []
    if newest is None or (any(run["ended"] for run in same) and not (owners and owners[0] in same)):
        return None
    phases: dict[str, Any] = {}
    hooks: dict[str, Any] = {}
    for run in (*owners, *same):
        phases.update(run["phases"])
        hooks.update(run.get("hooks") or {})
    return {**newest, "phases": phases, **({"hooks": hooks} if hooks else {})}
