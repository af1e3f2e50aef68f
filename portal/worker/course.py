# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The course of a run: what comes after what has been launched so far. No reading, no writing: the same answer after any death."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..results import ON_FROM_THERE, UNREACHABLE
from ..store.runs import DEADLINE, ROLLBACK, STOP, STOP_AFTER, Run

KILLED_MOST = 3  # how often ansible-playbook may be killed
OVERTAKEN = "changed_since"  # the claim was refused: nothing was done, and the gate has to look anew
FAILBACK = "failback"
LAUNCHED_MOST = 10  # in all: a run whose worker dies each time is not launched for ever

Result = Mapping[str, Any]  # RunResult.to_json()


@dataclass(frozen=True)
class Launch:
    """``why`` is for the reader of the events; ``heeds``: a message may still end it."""

    action: str
    why: str = ""
    heeds: bool = True


@dataclass(frozen=True)
class Ended:
    result: Result


def next_step(run: Run, results: Sequence[Result | None]) -> Launch | Ended:
    """``results``: one for each launch so far, None where its launcher died before it could say."""
    if not results:
        return Ended(_stopped(run, "before it had begun; nothing was changed")) if run.message else Launch(run.action)
    last = results[-1]
    if last is None or last["stopped"] or last.get("killed"):
        return _broken_off(run, results, last)
    return _ended_by_itself(run, results, last)


def _broken_off(run: Run, results: Sequence[Result | None], last: Result | None) -> Launch | Ended:
    killed = bool(last and last.get("killed"))
    if run.message in (STOP, STOP_AFTER):
        return Ended(_stopped(run, f". {ON_FROM_THERE}", last))
    if last and killed and sum(bool(one and one.get("killed")) for one in results) >= KILLED_MOST:
        return Ended({**last, "action": run.action})
    if len(results) >= LAUNCHED_MOST:
        return Ended(_result(run, "gave_up", f"the run was launched {len(results)} times and broken off each time. {ON_FROM_THERE}", last))
    if run.goes_back and not _refused(results):
        return Launch(ROLLBACK, f"{run.message_by} asked for a rollback", heeds=False)
    if any(one and _left_open(one) and not _offered(one) for one in results) and not _refused(results):
        return Launch(ROLLBACK, "the move is undone, as a host did not answer in the middle", heeds=False)
    why = "ansible-playbook was killed" if killed else "the worker that had the run ended"
    return Launch(run.action, f"{why}; launched again", heeds=not _refused(results))


def _ended_by_itself(run: Run, results: Sequence[Result | None], last: Result) -> Launch | Ended:
    if run.message == STOP_AFTER and _halfway(last):
        return Ended(_stopped(run, f"after the step {last['steps'][-1]['name']}. {ON_FROM_THERE}", last))
    if last["code"] == OVERTAKEN and run.message not in (STOP, STOP_AFTER) and len(results) < LAUNCHED_MOST:
        heeds = last["action"] == run.action and not _refused(results)
        return Launch(last["action"], "another run was still at work when this one began; launched again", heeds=heeds)
    if last["action"] != run.action:  # the rollback that was asked for, or that a host which broke off made necessary
        if _refused([last]):
            return Launch(run.action, f"a rollback is not possible any more, the {run.action} goes on: {last['error']}", heeds=False)
        failed = next((one for one in results if one and _left_open(one)), None)
        return Ended(_undone(failed, last) if failed and not run.goes_back else _rolled_back(run, last))
    if run.goes_back and last["exit_code"] == 0 and not _halfway(last):
        return Ended({**last, "reason": f"the rollback that {run.message_by} asked for came too late"})
    if run.goes_back and not _refused(results) and not (run.message == DEADLINE and _offered(last)):
        return Launch(ROLLBACK, f"{run.message_by} asked for a rollback", heeds=False)
    if _left_open(last) and _heeds_a_lost_host(run, last) and not any(one and _left_open(one) for one in results[:-1]):
        return _after_a_lost_host(last)
    return Ended(last)


def _halfway(result: Result) -> bool:
    """Whether a failback ended well before its end: the play ends between two steps where that was asked for."""
    return bool(
        result["action"] == FAILBACK and result["exit_code"] == 0 and result.get("state") in ("FAILING_BACK", "HALTED") and result["steps"]
    )


def _heeds_a_lost_host(run: Run, last: Result) -> bool:
    """Who wanted it to stop after its step wants a half move undone, too, but no failback that goes on."""
    return not run.message or (run.message == STOP_AFTER and not _offered(last))


def _left_open(result: Result) -> bool:
    """Whether a failback ended half way because a host did not answer. Ansible does not ask such a host again within a run, so that
    one lost connection keeps the run from undoing what it did.
    """
    view = result.get("view") or {}
    return result["action"] == FAILBACK and result["exit_code"] == UNREACHABLE and bool(view.get("run"))


def _after_a_lost_host(last: Result) -> Launch:
    """Once, with a fresh look at all hosts: before the offer of ownership the move is undone, after it the failback goes on."""
    if _offered(last):
        return Launch(FAILBACK, "a host did not answer in the middle; it is asked again, and the failback goes on")
    return Launch(ROLLBACK, "a host did not answer in the middle; it is asked again, and the move is undone", heeds=False)


def _offered(result: Result) -> bool:
    view = result.get("view") or {}
    return "offer" in (view.get("run") or {"phases": ()})["phases"]


def _undone(failed: Result, last: Result) -> Result:
    how = "Then the move was undone: the services run on the DR site again, and no write was lost"
    if last["exit_code"]:
        how = f"The rollback that followed did not end well: {last['error']}"
    lost = next((one["sentence"] for one in failed.get("failures") or [] if one["unreachable"]), failed["error"])
    kept = {name: failed[name] for name in ("action", "exit_code", "code")}
    return {**last, **kept, "error": f"{lost}. {how}"}


def _refused(results: Sequence[Result | None]) -> bool:
    """Whether a rollback found that the way back is closed: the failback has to be finished."""
    return any(one and one["action"] == ROLLBACK and one["code"] in ("gate_refused", "wrong_state") for one in results)


def _rolled_back(run: Run, last: Result) -> Result:
    if last["exit_code"]:
        return {**last, "action": run.action, "error": f"the rollback that {run.message_by} asked for did not end well: {last['error']}"}
    if run.message == DEADLINE:
        rest = "so the failback was rolled back: the services run on the DR site again, and no write was lost"
        error = f"{run.message_by} passed before the hand-over, {rest}"
        return {**last, "action": run.action, "exit_code": 2, "code": "deadline_passed", "error": error}
    reason = f"the failback was rolled back, as {run.message_by} asked: the services run on the DR site"
    return {**last, "action": run.action, "code": "rolled_back", "reason": reason}


def _stopped(run: Run, how: str, last: Result | None = None) -> Result:
    gap = "" if how.startswith(".") else " "
    return {**_result(run, "stopped", f"the run was stopped by {run.message_by}{gap}{how}", last), "stopped": True}


def _result(run: Run, code: str, error: str, last: Result | None = None) -> Result:
    empty = {"stopped": False, "seconds": 0.0, "changed": 0, "steps": [], "failures": [], "results": []}
    own = {"run_id": run.id, "action": run.action, "plan": run.plan, "exit_code": 1, "code": code, "error": error}
    return {**empty, **(last or {}), **own}
