# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The ownership record of a plan on one host, and its transitions: pure, and the only way it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from . import seal, witness
from .durable import write_json
from .errors import Refused, XdrError
from .site import load_plan, plan_dir

Request = dict[str, Any]
SITES = ("primary", "dr")
WITNESS = "witness"
ACCEPTED_BY = ("handover", "attested", "confirmed_stop", "lease_expired", "resolved")
BY_A_PERSON = ("attested", "resolved")
DECIDED_BY = ("epoch", "owner", "standing", "to", "draining", "declined", "offer", "status")  # what a gate's decision rests on
CYCLE = "replicate"  # the action that changes none of it


@dataclass(frozen=True)
class Record:
    """The fields of ownership.json, see docs/internals.md section 2.

    ``declined`` is the newest epoch that this host has refused for good (0: none). ``serial`` counts the writes of the witness's
    record, ``heard`` is the newest of them that this host was told of. ``mute`` is why the witness gives no answers, empty when it does.
    """

    plan: str
    site: str
    host: str
    epoch: int = 0
    owner: str | None = None
    standing: str = "none"
    to: str | None = None
    draining: bool = False
    declined: int = 0
    attempt: tuple[int, int] = (0, 0)
    status: str | None = None
    status_since: float = 0.0
    offer: dict[str, Any] | None = None
    run: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    serial: int = 0
    heard: int = 0
    mute: str = ""
    version: int = 1

    @property
    def owns(self) -> bool:
        return self.standing == "accepted" and self.owner == self.site

    @property
    def offer_is_open(self) -> bool:
        return self.offer is not None and not self.offer["decided"]

    @property
    def next_epoch(self) -> int:
        """The lowest epoch that the witness may offer.

        The epoch after a declined or an open offer stays free: the site that released may continue with it.
        """
        reserved = self.declined + 1 if self.declined else 0
        if self.offer is not None:
            reserved = max(reserved, self.offer["epoch"] + (0 if self.offer["decided"] else 1))
        return max(self.epoch, reserved) + 1

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "attempt": list(self.attempt)}


def path_of(state_dir: Path, plan: str) -> Path:
    return plan_dir(state_dir, plan) / "ownership.json"


def load(state_dir: Path, plan: str) -> Record:
    """The record on this host; where there is no file, one of epoch 0 and standing ``none``. A witness's that is a copy is mute."""
    path = path_of(state_dir, plan)
    document, is_copy = seal.read(path)
    if document is None:
        if not (path.parent / "plan.json").exists():
            return Record(plan=plan, site="", host="")
        here = load_plan(state_dir, plan)
        return Record(plan=plan, site=here.site, host=here.host)
    record = from_json(document, str(path))
    return replace(record, mute=record.mute or seal.RESTORED) if is_copy and record.site == WITNESS else record


def from_json(document: dict[str, Any], where: str = "") -> Record:
    """Raises XdrError for a document that is not a record of this version."""
    try:
        if document["version"] != 1:
            raise ValueError(f"version {document['version']}, this program reads version 1")
        names = {each.name for each in fields(Record)}
        first, second = document["attempt"]
        return Record(**{**{key: value for key, value in document.items() if key in names}, "attempt": (int(first), int(second))})
    except (KeyError, TypeError, ValueError) as error:
        raise XdrError(
            f"not an ownership record ({error!r})", where=where, todo="Restore it from its site's backup; nothing was changed"
        ) from error


def save(state_dir: Path, record: Record) -> Record:
    """Write the record durably, and return it as it was written; the caller holds the plan's lock."""
    path = path_of(state_dir, record.plan)
    if record.site != WITNESS:
        write_json(path, record.to_json())
        return record
    record = replace(record, serial=record.serial + 1)
    seal.write(path, record.to_json())
    return record


def last_owned(record: Record) -> int:
    """The newest epoch in which this site owned the plan, 0 for none."""
    return max((entry["epoch"] for entry in record.history if entry["owner"] == record.site), default=0)


def transition(record: Record, request: Request, now: float) -> Record:
    """The record after the request, or Refused. ``now`` is in seconds since 1970.

    ``request["request"]`` names the transition; the other keys are ``attempt``, ``epoch``, ``owner``, ``to``, ``how``, ``by``,
    ``text``, ``status``, ``outcome``, ``run_id``, ``action``, ``plan_hash``, ``fresh``, ``no_offer``, ``declined_by_other``, ``seen``,
    ``heard``, ``records``.
    A request for what is already so returns the same record.
    """
    name = request["request"]
    if name not in _TRANSITIONS:
        raise XdrError(f"unknown request {name!r}", todo=f"Use one of {', '.join(_TRANSITIONS)}")
    return _TRANSITIONS[name](record, request, now)


# -- becoming and ceasing to be the owner ---------------------------------------------------------------------


def _founded(record: Record, request: Request, now: float) -> Record:
    """Epoch 1 is the primary's, always: two sites can then never found the same plan each for itself."""
    if (request.get("owner") or "primary") != "primary":
        raise _refused(record, "a plan is founded at its primary site", "Found it with owner primary, then fail over")
    if record.epoch == 1 and record.owner == "primary" and not record.draining:
        return record
    if record.epoch:
        raise _refused(record, f"epoch {record.epoch} is known already, only a plan without an epoch is founded", "Nothing needs founding")
    standing = {"primary": "accepted", "dr": "superseded"}.get(record.site, "none")
    return _owned(replace(record, standing=standing), 1, "primary", "founded", request, now)


def _draining(record: Record, request: Request, now: float) -> Record:
    _site_only(record, "draining")
    if not record.owns:
        raise _refused(record, f"{record.site} does not own the plan ({_standing(record)}), so it has nothing to drain", _ASK)
    return record if record.draining else replace(record, draining=True)


def _released(record: Record, request: Request, now: float) -> Record:
    _site_only(record, "released")
    to = request.get("to") or _other(record.site)
    if to != _other(record.site):
        raise _refused(record, f"{record.site} cannot release to {to!r}", f"Release to {_other(record.site)}", "bad_request")
    if record.standing == "released" and record.to == to:
        return record
    if not record.owns:
        raise _refused(record, f"{record.site} does not own the plan ({_standing(record)}), so it cannot release it", _ASK)
    if not record.draining:
        raise _refused(record, "the plan is not draining: its start guard would still start instances", "Stop the services first")
    return _owned(replace(record, standing="released", to=to), record.epoch, None, "released", request, now)


def _accepted(record: Record, request: Request, now: float) -> Record:
    _site_only(record, "accepted")
    epoch, how = _epoch(request), request.get("how") or "handover"
    if record.owns and record.epoch == epoch:
        return record
    if how not in ACCEPTED_BY:
        raise _refused(record, f"{how!r} is not a way to accept an epoch", f"Use one of {', '.join(ACCEPTED_BY)}", "bad_request")
    _attestation(record, request)
    if epoch <= record.declined:
        raise _refused(record, f"{record.site} has declined epoch {record.declined} for good", "Offer a newer epoch", "declined")
    if epoch <= record.epoch:
        raise _refused(record, f"epoch {epoch} is not newer than epoch {record.epoch} of {record.owner or 'no owner'}", _ASK, "older_epoch")
    fresh = replace(record, standing="accepted", to=None, draining=False)
    return _owned(fresh, epoch, record.site, how, request, now)


def _declined(record: Record, request: Request, now: float) -> Record:
    """At a site: never accept this epoch. At the witness: the offered site has declined, the offer is closed."""
    epoch = _epoch(request)
    if any(entry["epoch"] == epoch and entry["owner"] == record.site for entry in record.history):
        raise _refused(record, f"{record.site} has accepted epoch {epoch}", "Go forward with its ownership", "accepted_already")
    if record.site == WITNESS:
        return _offer_declined(record, epoch)
    if epoch <= record.declined:
        return record
    keeps = record.owns or record.standing == "released" or epoch <= record.epoch
    return replace(record, declined=epoch, standing=record.standing if keeps else "declined")


def _offer_declined(record: Record, epoch: int) -> Record:
    witness.refuse_mute(record)
    if record.declined >= epoch:
        return record
    if record.epoch >= epoch:
        raise _refused(record, f"epoch {epoch} is decided already", _ASK, "older_epoch")
    ours = record.offer is not None and record.offer["epoch"] == epoch
    return replace(record, declined=epoch, offer=None if ours else record.offer)


def _retaken(record: Record, request: Request, now: float) -> Record:
    """Take a release back; legal only when the other site cannot have accepted, which the request must say."""
    _site_only(record, "retaken")
    if record.owns:
        return replace(record, draining=False) if record.draining else record
    if record.standing != "released":
        raise _refused(record, f"{record.site} has no release to take back ({_standing(record)})", _ASK)
    if request.get("declined_by_other"):
        epoch = (request.get("epoch") or record.epoch + 1) + 1
    elif request.get("no_offer"):
        epoch = record.epoch
    else:
        raise _refused(
            record,
            f"the release of epoch {record.epoch} stands until it is known that {record.to} has not accepted it",
            "Read the witness (no offer) or let the other site decline, under this attempt",
            "offer_unknown",
        )
    fresh = replace(record, standing="accepted", to=None, draining=False)
    return _owned(fresh, epoch, record.site, "retaken", request, now)


def _known(record: Record, request: Request, now: float) -> Record:
    """Learn of an epoch. It may only forbid: what says that this very site owns a newer epoch does not make it the owner."""
    epoch, owner = _epoch(request), request.get("owner")
    if owner is not None and owner not in SITES:
        raise _refused(record, f"{owner!r} is not a site", "Give primary or dr as owner", "bad_request")
    if epoch < record.epoch:
        return record
    if epoch == record.epoch:
        mine = record.site if record.standing == "released" else record.owner
        if owner is not None and mine is not None and owner != mine:
            raise _split_brain(record, epoch, owner)
        return record if mine or owner is None else _owned(record, epoch, owner, "taken_over", request, now)
    if record.offer_is_open and record.offer and record.offer["epoch"] == epoch:
        if owner not in (None, record.offer["to"]):
            raise _split_brain(replace(record, owner=record.offer["to"]), epoch, owner)
        owner = record.offer["to"]  # none: it has accepted, and released again
        record = replace(record, offer={**record.offer, "decided": True})
    elif record.offer_is_open and record.offer and record.offer["epoch"] < epoch:
        record = replace(record, offer=None)
    standing = "superseded" if record.site in SITES and owner != record.site else "none"
    fresh = replace(record, standing=standing, to=None, draining=False)
    return _owned(fresh, epoch, owner, "taken_over", request, now)


# -- the witness ----------------------------------------------------------------------------------------------


def _offered(record: Record, request: Request, now: float) -> Record:
    _witness_only(record, "offered")
    witness.refuse_mute(record)
    epoch, to = _epoch(request), request.get("to")
    if to not in SITES:
        raise _refused(record, f"{to!r} is not a site", "Offer to primary or dr", "bad_request")
    if record.offer and (record.offer["epoch"], record.offer["to"]) == (epoch, to):
        return record
    how = request.get("how") or "handover"
    _attestation(record, request)
    if record.offer_is_open and record.offer and how == "handover":
        raise _refused(
            record,
            f"the offer of epoch {record.offer['epoch']} to {record.offer['to']} is undecided",
            f"Ask {record.offer['to']} to accept or decline it, or attest that it is off",
            "offer_open",
        )
    if epoch < record.next_epoch:
        raise _refused(record, f"epoch {epoch} cannot be offered", f"The lowest free epoch is {record.next_epoch}", "older_epoch")
    offer = {"epoch": epoch, "to": to, "decided": False, "at": now, "how": how}
    return replace(record, offer=offer)


def _decided(record: Record, request: Request, now: float) -> Record:
    _witness_only(record, "decided")
    witness.refuse_mute(record)
    epoch, offer = _epoch(request), record.offer
    if offer is None or offer["epoch"] != epoch:
        if record.epoch == epoch and record.owner:
            return record
        raise _refused(record, f"epoch {epoch} was not offered, or the offer is closed", "Offer it first")
    if offer["decided"]:
        return record
    fresh = replace(record, offer={**offer, "decided": True})
    return _owned(fresh, epoch, offer["to"], offer.get("how", "handover"), request, now)


def _vouched(record: Record, request: Request, now: float) -> Record:
    _witness_only(record, "vouched")
    return witness.vouched(record, request, now)


# -- runs -----------------------------------------------------------------------------------------------------


def check_attempt(record: Record, pair: tuple[int, int]) -> None:
    """Raises Refused, code ``stale_attempt``, for a pair older than the newest this host has seen."""
    if tuple(pair) < tuple(record.attempt):
        raise _refused(
            record,
            f"attempt {pair[1]} of epoch {pair[0]} is older than attempt {record.attempt[1]} of epoch {record.attempt[0]}",
            "Another run has taken over; start a new one if it is to go on",
            "stale_attempt",
        )


def _claimed(record: Record, request: Request, now: float) -> Record:
    """A newer attempt of the same action goes on in the unfinished run: it keeps the run's phases and its start."""
    pair = _pair(request)
    check_attempt(record, pair)
    run, run_id, action = record.run, str(request.get("run_id") or ""), str(request.get("action") or "")
    if run is not None and run["attempt"] == pair[1] and tuple(record.attempt) == pair:
        if run["id"] == run_id:
            return record
        raise _refused(record, f"attempt {pair[1]} belongs to run {run['id']}", "Start a new run; it gets a new number", "run_active")
    _check_seen(record, request.get("seen"))
    record = witness.told(record, int(request.get("heard") or 0))
    plan_hash = str(request.get("plan_hash") or "")
    if run is not None and run["ended"] is None and run["action"] == action and not request.get("fresh"):
        pinned = run["plan_hash"] or plan_hash
        if plan_hash and plan_hash != pinned:
            raise _refused(
                record,
                f"the unfinished run {run['id']} pins plan {pinned}, not {plan_hash}",
                "Finish it with that plan, or roll it back",
                "plan_changed",
            )
        return replace(record, attempt=pair, run={**run, "id": run_id, "attempt": pair[1], "plan_hash": pinned})
    begun = {"id": run_id, "action": action, "attempt": pair[1], "plan_hash": plan_hash, "started": now, "ended": None, "outcome": None}
    return replace(record, attempt=pair, run={**begun, "phases": {}})


def _check_seen(record: Record, seen: dict[str, Any] | None) -> None:
    """Raises Refused when the record is no longer what the gate decided by: another run was at work between its look and this claim."""
    if seen is None:
        return
    now = record.to_json()
    changed = [name for name in DECIDED_BY if now[name] != seen[name]]
    if record.run and record.run["action"] != CYCLE and _reached(record.run) != _reached(seen["run"]):
        changed.append("run")
    if changed:
        what = f"another run was at work here since the gate looked ({', '.join(changed)} changed)"
        raise _refused(record, what, "Run it again, it looks anew", "changed_since")


def _reached(run: dict[str, Any] | None) -> tuple[bool, bool]:
    """Whether the run is over, and whether it may have moved the traffic."""
    return (run is None or run["ended"] is not None, run is not None and "switch_traffic" in run["phases"])


def _status(record: Record, request: Request, now: float) -> Record:
    name = request.get("status")
    if not name:
        raise _refused(record, "no status was given", "Give the name of a state", "bad_request")
    return record if record.status == name else replace(record, status=name, status_since=now)


def _ended(record: Record, request: Request, now: float) -> Record:
    outcome = request.get("outcome")
    if not outcome:
        raise _refused(record, "no outcome was given", "Give the outcome of the run", "bad_request")
    if record.run is None:
        raise _refused(record, "there is no run to end", "Claim one first")
    if record.run["ended"] is not None:
        if record.run["outcome"] == outcome:
            return record
        raise _refused(record, f"run {record.run['id']} has ended as {record.run['outcome']} already", "Claim a new run")
    return replace(record, run={**record.run, "ended": now, "outcome": outcome})


def _marked(record: Record, request: Request, now: float) -> Record:
    run, status, outcome = record.run, request.get("status"), request.get("outcome")
    if status and not outcome and status != record.status and run is not None and run["ended"] is not None:
        raise _refused(record, f"run {run['id']} has ended, {status} comes too late", "Read the records, then start a new run")
    if request.get("status"):
        record = _status(record, request, now)
    return _ended(record, request, now) if request.get("outcome") else record


def mark_intent(record: Record, phase: str, now: float) -> Record:
    """The phase has begun; a mark that stands already keeps its time."""
    if record.run is None or phase in record.run["phases"]:
        return record
    return _phase(record, phase, {"intent": now, "done": None})


def mark_done(record: Record, phase: str, now: float) -> Record:
    mark = (record.run or {"phases": {}})["phases"].get(phase)
    if mark is None or mark["done"] is not None:
        return record
    return _phase(record, phase, {**mark, "done": now})


def _phase(record: Record, phase: str, mark: dict[str, Any]) -> Record:
    run = record.run or {}
    return replace(record, run={**run, "phases": {**run["phases"], phase: mark}})


# -- small parts ----------------------------------------------------------------------------------------------

_ASK = "Read the records of both sites and of the witness"


def _owned(record: Record, epoch: int, owner: str | None, how: str, request: Request, now: float) -> Record:
    entry = {
        "epoch": epoch,
        "owner": owner,
        "how": how,
        "attempt": list(record.attempt),
        "at": now,
        "by": request.get("by") or "",
        "text": request.get("text") or "",
    }
    return replace(record, epoch=epoch, owner=owner, history=[*record.history, entry])


def _attestation(record: Record, request: Request) -> None:
    if request.get("how") in BY_A_PERSON and not (str(request.get("by") or "").strip() and str(request.get("text") or "").strip()):
        raise _refused(
            record, "a person's word needs a name and a text", "Say who it is (by) and what was seen, or why (text)", "attestation_missing"
        )


def _other(site: str) -> str:
    return "dr" if site == "primary" else "primary"


def _standing(record: Record) -> str:
    return f"standing {record.standing}, epoch {record.epoch}, owner {record.owner or 'none'}"


def _epoch(request: Request) -> int:
    epoch = request.get("epoch")
    if not isinstance(epoch, int) or epoch < 1:
        raise XdrError(f"{request['request']} needs an epoch of 1 or more, not {epoch!r}", code="bad_request")
    return epoch


def _pair(request: Request) -> tuple[int, int]:
    first, second = request["attempt"]
    return int(first), int(second)


def _site_only(record: Record, name: str) -> None:
    if record.site not in SITES:
        raise _refused(record, f"{name} is for a site, this is {record.site or 'a host without this plan'}", "Ask a site", "bad_request")


def _witness_only(record: Record, name: str) -> None:
    if record.site != WITNESS:
        raise _refused(record, f"{name} is for the witness, this is {record.site or 'a host without this plan'}", "Ask it", "bad_request")


def _refused(record: Record, what: str, todo: str, code: str = "wrong_state") -> Refused:
    return Refused(what, where=f"{record.host or 'this host'}, plan {record.plan}", todo=todo, code=code)


def _split_brain(record: Record, epoch: int, owner: str | None) -> Refused:
    what = f"both sites claim epoch {epoch}: {record.owner} by this record, {owner} by what it was told"
    return _refused(record, what, "Let dr-admin decide which side is kept: xdr run resolve", "split_brain")


_TRANSITIONS: dict[str, Callable[[Record, Request, float], Record]] = {
    "founded": _founded,
    "claimed": _claimed,
    "draining": _draining,
    "released": _released,
    "offered": _offered,
    "accepted": _accepted,
    "decided": _decided,
    "declined": _declined,
    "vouched": _vouched,
    "retaken": _retaken,
    "known": _known,
    "status": _status,
    "ended": _ended,
    "marked": _marked,
}
