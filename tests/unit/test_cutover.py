# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Windows and deadlines: what is typed, what a rollback takes, and until when a failback must have handed over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.window import Window

from portal.cutover import Cutover, begin_by, counting, deadline
from portal.store.runs import Run
from portal.windows import ASSUMED, rollback_time, until

NOW = datetime(2026, 3, 1, 23, 30).timestamp()
WINDOW = Window(NOW + 600, 120, "measured")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("23:45", datetime(2026, 3, 1, 23, 45)),
        ("05:00", datetime(2026, 3, 2, 5)),
        ("23:30", datetime(2026, 3, 2, 23, 30)),  # the next time, not this moment
        ("05:00:30", datetime(2026, 3, 2, 5, 0, 30)),
        ("2026-03-01T05:00", datetime(2026, 3, 1, 5)),
        ("2026-03-04 05:00", datetime(2026, 3, 4, 5)),
    ],
)
def test_when_a_window_ends(text: str, at: datetime) -> None:
    assert until(text, NOW) == at.timestamp()


@pytest.mark.parametrize("text", ["", "five", "25:00", "05:00 pm", "2026-13-01T00:00"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(XdrError, match="expected a time such as 05:00") as refusal:
        until(text, NOW)
    assert refusal.value.code == "usage"


# -- what a rollback takes ---------------------------------------------------------------------------------------


def steps(**spans: tuple[float, float]) -> list[dict[str, Any]]:
    return [{"name": name, "begin": begin, "end": end, "seconds": end - begin, "result": "changed"} for name, (begin, end) in spans.items()]


def ended(action: str, seconds: float, state: str = "REVERSING", code: str = "", exit_code: int = 0, **spans: tuple[float, float]) -> Run:
    result = {"seconds": seconds, "state": state, "steps": steps(**spans)}
    return Run(f"{action}-{seconds:g}", "shop", action, status="ended", code=code, exit_code=exit_code, result=result)


UNDO = {"undo": (10.0, 17.0)}
ASKED, BY_ITSELF = ended("failback", 12, code="rolled_back", **UNDO), ended("failback", 90, exit_code=2, **UNDO)
BROKEN = ended("rollback", 99, state="ROLLING_BACK", exit_code=2, **UNDO)
HOME = ended("failback", 60, state="FAILED_BACK", preflight=(0, 3), start_instances=(40, 50), health_checks=(41, 55))
NOTHING = ended("rollback", 2)


@pytest.mark.parametrize(
    ("found", "seconds", "how"),
    [
        ([ended("rollback", 15, **UNDO)], 15, "measured, by the last rollback"),
        ([ASKED], 12, "measured"),
        ([BY_ITSELF], 7, "measured"),
        ([ASKED, BY_ITSELF, ended("rollback", 15, **UNDO)], 15, "measured, the longest of the last 3 rollbacks"),
        ([*[ASKED] * 5, ended("rollback", 15, **UNDO)], 12, "the last 5 rollbacks"),
        ([BROKEN, NOTHING, HOME], 20, "predicted, by how long the services took to start in run failback-60"),
        ([BROKEN, NOTHING], ASSUMED, "assumed"),
        ([Run("r", "shop", "rollback", status="running")], ASSUMED, "assumed"),
        ([], ASSUMED, "assumed"),
    ],
)
def test_what_a_rollback_takes(found: list[Run], seconds: float, how: str) -> None:
    taken, told = rollback_time(found)
    assert taken == pytest.approx(seconds)
    assert how in told


# -- the deadline ------------------------------------------------------------------------------------------------


def test_a_window_tells_its_arithmetic() -> None:
    assert WINDOW.deadline == NOW + 480
    assert "23:38:00: the window ends at " in WINDOW.told
    assert "23:40:00, less 2 min for a rollback (measured)" in WINDOW.told
    WINDOW.check_open(NOW + 479)
    with pytest.raises(XdrError, match=r"the deadline has passed already, it was .*23:38:00: the window ends.*it is .*23:38:01") as refusal:
        WINDOW.check_open(NOW + 481)
    assert refusal.value.code == "gate_refused"
    assert Window.from_json(WINDOW.to_json()) == WINDOW


def task(step: str, at: float = NOW) -> dict[str, Any]:
    return {"kind": "task", "task": f"{step} | x", "step": step, "at": at}


def begun(action: str = "failback") -> dict[str, Any]:
    return {"kind": "started", "action": action, "at": NOW}


def seen(**view: Any) -> dict[str, Any]:
    return {"kind": "result", "xdr_view": {"owner": "dr", "run": None, **view}, "at": NOW}


def come(*events: dict[str, Any]) -> Cutover:
    cutover = Cutover()
    for event in events:
        cutover.add(event)
    return cutover


STOPPED = [begun(), seen(), task("preflight"), task("stop_services", NOW), task("stop_services", NOW + 9)]


@pytest.mark.parametrize(
    ("events", "settled"),
    [
        ([begun(), task("preflight")], False),
        ([*STOPPED, task("verify")], False),
        ([*STOPPED, task("hand_over")], True),
        ([*STOPPED, task("recover")], True),  # it undoes itself already
        ([*STOPPED, task("recover"), begun()], False),  # and went on, after its worker died
        ([*STOPPED, task("hand_over"), begun()], True),
        ([begun(), seen(owner="primary")], True),
        ([begun(), seen(run={"phases": {"offer": {}}})], True),
        ([begun("rollback"), task("hand_over")], False),
    ],
)
def test_from_the_hand_over_on_no_deadline_counts(events: list[dict[str, Any]], settled: bool) -> None:
    assert come(*events).settled is settled


@pytest.mark.parametrize(
    ("downtime", "window", "events", "at"),
    [
        (60, None, STOPPED, NOW + 60),
        (60, None, [begun()], None),  # no service was to stop yet
        (60, WINDOW, STOPPED, NOW + 60),
        (1200, WINDOW, STOPPED, NOW + 480),
        (1200, WINDOW, [begun()], NOW + 480),
        (None, None, STOPPED, None),
    ],
)
def test_the_earlier_deadline_counts(downtime: float | None, window: Window | None, events: list[dict[str, Any]], at: float | None) -> None:
    found = deadline(downtime, window, come(*events))
    assert (found.at if found else None) == at
    if found:
        assert ("failback.deadline (1 min)" if at == NOW + 60 else "less 2 min for a rollback") in found.told


@pytest.mark.parametrize(
    ("run", "counts"),
    [
        (Run("r", "shop", "failback"), True),
        (Run("r", "shop", "failback", check=True), False),
        (Run("r", "shop", "failback", status="ended"), True),  # it may have ended half way
        (Run("r", "shop", "rollback"), False),
    ],
)
def test_for_which_runs_it_counts(run: Run, counts: bool) -> None:
    assert bool(counting(run, 60, come(*STOPPED))) is counts
    assert counting(run, 60, come(*STOPPED, task("hand_over"))) is None
    assert bool(counting(run, 60, come(*STOPPED, task("recover")))) is run.ended


@pytest.mark.parametrize(
    ("arguments", "step", "limit"),
    [
        ({}, "preflight", None),
        ({"begin_by": "2026-03-01T23:30:00+00:00"}, "preflight", datetime(2026, 3, 1, 23, 30, tzinfo=UTC).timestamp()),
        ({"begin_by": "2026-03-01T23:30:00+00:00"}, "stop_services", None),  # the services are down: it goes on
    ],
)
def test_by_when_what_a_window_began_must_be_at_work(arguments: dict[str, str], step: str, limit: float | None) -> None:
    cutover = Cutover()
    cutover.add({"kind": "started", "action": "failback", "at": NOW})
    cutover.add({"kind": "task", "step": step, "task": "x", "at": NOW})
    assert begin_by(Run("r", "webshop", "failback", arguments=arguments), cutover) == limit
