# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A request to the ownership record of this host (module xdr_ownership)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from . import record as records
from .attempt import Holding, Pair, held
from .errors import Refused
from .lease_grants import check_run_out
from .openfiles import scan
from .record import Record, Request, transition
from .running import alive
from .site import PlanOnHost, load_plan


@dataclass(frozen=True)
class Change:
    """``unreadable``: processes of other accounts that the scan before a release could not look into."""

    before: Record
    after: Record
    changed: bool
    unreadable: int = 0


def perform(state_dir: Path, plan: str, pair: Pair, request: Request, *, run_id: str = "", phase: str = "") -> Change:
    """Make the transition durable, under the plan's lock and for the newest attempt.

    Raises Refused: by the record, and before ``released`` when a process of the plan still runs or holds a volume.
    """
    if request["request"] == "claimed":
        return _claim(state_dir, plan, pair, {**request, "attempt": pair, "run_id": run_id})
    seen = records.load(state_dir, plan)
    with held(state_dir, plan, pair, run_id=run_id, phase=phase) as holding:
        before = holding.record
        unreadable = 0
        if request["request"] == "released" and before.owns:
            unreadable = check_fenced(state_dir, load_plan(state_dir, plan))
        after = transition(before, request, time.time())
        if request["request"] == "offered" and request.get("how") == "lease_expired" and after != before:
            check_run_out(state_dir, plan)  # the offer bars the lease from being renewed, under this same lock
        after = holding.save(after)
    new_mark = request["request"] == "marked" and _is_done(holding.record, phase) and not _is_done(seen, phase)
    return Change(before, after, after != before or new_mark, unreadable)


def predict(record: Record, pair: Pair, request: Request, now: float, *, run_id: str = "") -> Record:
    """What ``perform`` would make of the record in a run of which the earlier phases were only predicted, too.

    Refuses as ``perform`` does, but for what an earlier phase would have brought about.
    """
    pair = _past_a_cycle(record, pair)
    records.check_attempt(record, pair)
    request = {**request, "attempt": pair, "run_id": run_id}
    try:
        return transition(record, request, now)
    except Refused as error:
        if error.code not in ("wrong_state", "offer_unknown", "witness_mute"):
            raise
        return _predict_without_predecessors(record, request, now)


def _past_a_cycle(record: Record, pair: Pair) -> Pair:
    """A replication cycle that came since the gate read the record has taken a number, and changed nothing that a prediction is made of."""
    epoch, number = record.attempt
    came = record.run is not None and record.run["action"] == "replicate" and pair <= (epoch, number)
    return (epoch, number + 1) if came else pair


def _predict_without_predecessors(record: Record, request: Request, now: float) -> Record:
    name = request["request"]
    if record.mute:
        return transition(replace(record, mute="", offer=None), request, now)
    if name == "released" and record.owns:
        return transition(replace(record, draining=True), request, now)
    if name == "retaken" and record.standing == "released":
        return transition(record, {**request, "no_offer": True}, now)
    if name == "decided":
        to = request.get("to") or request.get("owner") or records.SITES[record.owner == "primary"]
        offer = {"epoch": request["epoch"], "to": to, "decided": False, "at": now}
        return transition(replace(record, offer=offer), request, now)
    if name in ("ended", "marked"):
        claimed = transition(record, {**request, "request": "claimed", "fresh": True}, now)
        return transition(claimed, request, now)
    return record


def check_fenced(state_dir: Path, plan: PlanOnHost) -> int:
    """No instance of the plan runs on this host and no process holds a volume of it; returns how many processes could not be seen.

    Raises Refused, code ``still_open``, naming process, command and file.
    """
    for one in alive(state_dir, plan.plan, plan.instances):
        raise _still_open(plan, f"instance {one.name} still runs: {one.what}")
    found = scan([volume.path for volume in plan.volumes.values()])
    for holder in found.holders:
        raise _still_open(plan, f"process {holder.pid} ({holder.command}) still holds {holder.path}")
    return found.unreadable


def _still_open(plan: PlanOnHost, what: str) -> Refused:
    return Refused(what, where=f"{plan.host}, plan {plan.plan}", todo="End that process, then run this step again", code="still_open")


def _claim(state_dir: Path, plan: str, pair: Pair, request: Request) -> Change:
    load_plan(state_dir, plan)
    holding = Holding(state_dir, plan, pair, 30.0)
    with holding.locked():
        before = holding.record
        after = holding.save(transition(before, request, time.time()))
    return Change(before, after, after != before)


def _is_done(record: Record, phase: str) -> bool:
    mark = (record.run or {"phases": {}})["phases"].get(phase)
    return mark is not None and mark["done"] is not None
