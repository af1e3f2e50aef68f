# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What comes next in a run, and when a cycle is due: pure functions, by table."""

from __future__ import annotations

from typing import Any

import pytest

from portal.store.runs import Run
from portal.worker.course import Ended, Launch, next_step
from portal.worker.cycles import due


def result(action: str = "failback", exit_code: int = 0, **more: Any) -> dict[str, Any]:
    code = more.pop("code", "")
    return {"action": action, "exit_code": exit_code, "code": code, "error": "It failed" if exit_code else "", "stopped": False, **more}


BETWEEN = result(state="FAILING_BACK", steps=[{"name": "preflight"}, {"name": "stop_services"}])  # the play ended between two steps
GOOD, FAILED, STOPPED, KILLED = result(), result(exit_code=2), result(exit_code=1, stopped=True), result(exit_code=1, killed=True)
UNDONE, CLOSED = result("rollback"), result("rollback", 10, code="gate_refused")
LOST = result(exit_code=4, view={"run": {"phases": {"stop_services/shop": {}, "verify": {}}}})  # a host broke off before the offer
OFFERED = result(exit_code=4, view={"run": {"phases": {"verify": {}, "offer": {}}}})
HELD = result(exit_code=2, view={"run": {"phases": {"offer": {}, "health_checks/shop": {}}}})
OVERTAKEN, LATE = result(exit_code=2, code="changed_since"), result("rollback", 2, code="changed_since")


@pytest.mark.parametrize(
    ("message", "results", "action", "heeds"),
    [
        ("", [], "failback", True),
        ("", [None], "failback", True),  # its worker died
        ("", [STOPPED], "failback", True),  # its worker was asked to end
        ("", [KILLED], "failback", True),
        ("", [KILLED, None, KILLED, STOPPED], "failback", True),
        ("rollback", [STOPPED], "rollback", False),
        ("rollback", [None], "rollback", False),
        ("rollback", [KILLED], "rollback", False),
        ("rollback", [FAILED], "rollback", False),
        ("rollback", [STOPPED, None], "rollback", False),  # the rollback's own worker died
        ("rollback", [STOPPED, CLOSED], "failback", False),  # too late: it has to be finished
        ("rollback", [STOPPED, CLOSED, None], "failback", False),
        ("", [OVERTAKEN], "failback", True),  # what an earlier run had left was still at work
        ("rollback", [STOPPED, LATE], "rollback", False),
        ("", [LOST], "rollback", False),
        ("", [LOST, None], "rollback", False),  # its worker died
        ("", [LOST, CLOSED, None], "failback", False),
        ("", [OFFERED], "failback", True),
        ("", [LOST, CLOSED], "failback", False),
        ("stop_after", [LOST], "rollback", False),  # what is half done is undone all the same
        ("deadline", [BETWEEN], "rollback", False),  # which passed at that moment
        ("deadline", [STOPPED], "rollback", False),
        ("deadline", [None], "rollback", False),
        ("deadline", [FAILED], "rollback", False),
        ("deadline", [LOST], "rollback", False),
        ("deadline", [STOPPED, LATE], "rollback", False),
        ("deadline", [STOPPED, CLOSED], "failback", False),  # it was handed over at that moment
    ],
)
def test_it_is_launched(message: str, results: list[Any], action: str, heeds: bool) -> None:
    step = next_step(Run("r", "shop", "failback", message=message, message_by="alice"), results)
    assert isinstance(step, Launch)
    assert (step.action, step.heeds) == (action, heeds)
    assert bool(step.why) == bool(results)


@pytest.mark.parametrize(
    ("message", "results", "exit_code", "code", "says"),
    [
        ("", [GOOD], 0, "", ""),
        ("", [FAILED], 2, "", "It failed"),
        ("", [None, GOOD], 0, "", ""),
        ("stop", [], 1, "stopped", "stopped by alice before it had begun"),
        ("rollback", [], 1, "stopped", "stopped by alice before it had begun"),
        ("stop", [STOPPED], 1, "stopped", "stopped by alice. What it had finished"),
        ("stop", [None], 1, "stopped", "stopped by alice. "),
        ("stop", [GOOD], 0, "", ""),
        ("stop_after", [], 1, "stopped", "stopped by alice before it had begun"),
        ("stop_after", [BETWEEN], 1, "stopped", "stopped by alice after the step stop_services. What it had finished"),
        ("stop_after", [GOOD], 0, "", ""),  # no step came after
        ("stop_after", [FAILED], 2, "", "It failed"),
        ("stop_after", [None], 1, "stopped", "stopped by alice. "),
        ("stop_after", [OFFERED], 4, "", "It failed"),  # a failback is not gone on with
        ("stop", [FAILED], 2, "", "It failed"),
        ("", [LOST, UNDONE], 4, "", "It failed. Then the move was undone: the services run on the DR site again"),
        ("", [LOST, result("rollback", 4)], 4, "", "It failed. The rollback that followed did not end well: It failed"),
        ("", [OFFERED, GOOD], 0, "", ""),
        ("", [OFFERED, OFFERED], 4, "", "It failed"),
        ("", [result(exit_code=4, view={"run": None})], 4, "", "It failed"),  # a gate that was refused: nothing was begun
        ("", [result(exit_code=4)], 4, "", "It failed"),
        ("stop", [LOST], 4, "", "It failed"),
        ("stop", [OVERTAKEN], 2, "changed_since", "It failed"),
        ("", [OVERTAKEN] * 10, 2, "changed_since", "It failed"),
        ("", [KILLED, KILLED, KILLED], 1, "", "It failed"),
        ("", [None] * 10, 1, "gave_up", "launched 10 times"),
        ("rollback", [STOPPED, UNDONE], 0, "rolled_back", "rolled back, as alice asked"),
        ("rollback", [STOPPED, result("rollback", 2)], 2, "", "the rollback that alice asked for did not end well: It failed"),
        ("rollback", [GOOD], 0, "", "came too late"),
        ("rollback", [STOPPED, CLOSED, GOOD], 0, "", "came too late"),
        ("rollback", [STOPPED, CLOSED, FAILED], 2, "", "It failed"),
        ("deadline", [STOPPED, UNDONE], 2, "deadline_passed", "alice passed before the hand-over, so the failback was rolled back"),
        ("deadline", [STOPPED, result("rollback", 2)], 2, "", "the rollback that alice asked for did not end well: It failed"),
        ("deadline", [STOPPED, CLOSED, GOOD], 0, "", "came too late"),
        ("deadline", [STOPPED, CLOSED, FAILED], 2, "", "It failed"),
        ("deadline", [GOOD], 0, "", "came too late"),
        ("deadline", [HELD], 2, "", "It failed"),  # after the hand-over it halts
    ],
)
def test_it_has_ended(message: str, results: list[Any], exit_code: int, code: str, says: str) -> None:
    step = next_step(Run("r", "shop", "failback", message=message, message_by="alice"), results)
    assert isinstance(step, Ended)
    assert (step.result["action"], step.result["exit_code"], step.result["code"]) == ("failback", exit_code, code)
    assert says in step.result["error"] + step.result.get("reason", "")
    assert bool(step.result["error"]) == bool(exit_code)


CYCLE = Run("c", "shop", "replicate", exclusive=False, origin="schedule")
MOVE, LOOK = Run("m", "shop", "failback"), Run("l", "shop", "verify-primary", exclusive=False)


@pytest.mark.parametrize(
    ("state", "active", "began", "expected"),
    [
        ("ACTIVE", [], None, True),
        ("READY", [], 70.0, True),
        ("REVERSING", [LOOK], 69.0, True),
        ("ACTIVE", [], 70.1, False),
        ("ACTIVE", [CYCLE], 10.0, False),
        ("ACTIVE", [MOVE], 10.0, False),
        ("FAILED_OVER", [], None, False),
        ("HALTED", [], 10.0, False),
        ("", [], None, False),  # nobody has looked yet
    ],
)
def test_a_cycle_is_due(state: str, active: list[Run], began: float | None, expected: bool) -> None:
    assert due(30.0, state, active, began, 100.0) is expected
