# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The opening of a window begins the failback, once, in time or not at all: the worker's own look at the calendar."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portal.actions import asked
from portal.booking import Booker
from portal.calendar import Calendar
from portal.store import Store, approvals, audit, observations, runs, windows
from portal.store.runs import Run
from portal.worker.openings import TOLERANCE, Openings
from tests.support import stores
from tests.support.portal import seen
from tests.support.windows import PEOPLE, plan, recurring

HOUR, DAY = 3600.0, 86_400.0


class Clock:
    """The time of day that the worker and the store go by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        own = SimpleNamespace(time=self.now, monotonic=time.monotonic)
        for module in ("portal.worker.openings", "portal.store.windows", "portal.store.invitations"):
            monkeypatch.setattr(f"{module}.time", own)

    def now(self) -> float:
        return time.time() + self.ahead


class Known:
    def __init__(self, plan: Mapping[str, Any]) -> None:
        self.plan = plan

    def known(self) -> dict[str, Any]:
        return {"webshop": self.plan}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr("portal.worker.openings.EVERY", 0.0)
    return Clock(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = stores.opened(tmp_path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def soon(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """Its window opens in an hour, for an hour."""
    return plan(tmp_path_factory.mktemp("soon"), recurring(time.time() + HOUR) + PEOPLE)


def sees(store: Store, state: str = "READY") -> None:
    observations.put(store, observations.of_plan("webshop"), seen(state))


def failbacks(store: Store) -> list[Run]:
    return [run for run in runs.unended(store) if run.action == "failback"]


def outcomes(store: Store) -> list[tuple[str, str]]:
    """Of this week's window; the next one is coming all the time."""
    return [(one.outcome, one.detail) for one in windows.known(store, ["webshop"], 0) if one.begin < time.time() + DAY]


def worker(store: Store, plan: Mapping[str, Any]) -> Openings:
    return Openings(store, Known(plan))  # type: ignore[arg-type]


def test_it_opens_and_the_failback_begins_once(store: Store, clock: Clock, soon: Mapping[str, Any]) -> None:
    sees(store)
    first, second = worker(store, soon), worker(store, soon)
    first.tick()
    assert failbacks(store) == []
    assert outcomes(store) == [("coming", "")]
    clock.ahead = HOUR + 10
    for one in (first, second, first):
        one.tick()
    [run] = failbacks(store)
    [(outcome, detail)] = outcomes(store)
    assert (outcome, detail) == ("started", f"run {run.id}")
    begin = Calendar.read(store, soon, clock.now()).open(clock.now())[0]
    assert (run.requested_by, run.origin, run.arguments["occurrence"]) == ("window sunday-night", "window", begin.key)
    assert run.arguments["window"]["until"] == begin.end
    assert run.arguments["begin_by"].startswith(begin.local[0].strftime("%Y-%m-%dT"))
    [entry] = audit.latest(store)
    assert (entry.action, entry.origin, f"run {run.id}" in entry.detail) == ("failback", "window", True)
    runs.finish(store, run.id, {"exit_code": 10, "code": "gate_refused", "error": "the lag"})
    first.tick()
    assert failbacks(store) == []  # once


def test_four_eyes_hold_for_a_window_too(store: Store, clock: Clock, soon: Mapping[str, Any]) -> None:
    """It is nobody's start, so anybody's approval will do."""
    careful = {**soon, "approval": {"four_eyes": ["failback"]}}
    sees(store)
    worker(store, careful).tick()
    clock.ahead = HOUR + 10
    look = worker(store, careful)
    look.tick()
    assert failbacks(store) == []
    check = runs.request(store, asked("failback", "webshop", by="otto", origin="portal", check=True))
    approvals.add(store, "webshop", "failback", {"hash": "a" * 64, "parts": {}}, check.id, who="otto", origin="portal")
    look.tick()
    [run] = [one for one in failbacks(store) if not one.check]
    assert (run.arguments["approved"]["hash"], run.arguments["approved"]["by"]) == ("a" * 64, "otto (portal)")


def test_a_window_that_nobody_approved_is_skipped_and_says_so(store: Store, clock: Clock, soon: Mapping[str, Any]) -> None:
    careful = {**soon, "approval": {"four_eyes": ["failback"]}}
    sees(store)
    worker(store, careful).tick()
    look = worker(store, careful)
    for late in (10, TOLERANCE + 20):
        clock.ahead = HOUR + late
        look.tick()
    [(outcome, detail)] = outcomes(store)
    assert outcome == "skipped"
    assert "takes an approval by a second person, and nobody has approved it" in detail


@pytest.fixture
def shared(postgresql: Any) -> Iterator[Store]:
    opened = Store.open(str(postgresql.database()))
    yield opened
    opened.close()


def test_two_workers_at_once(shared: Store, clock: Clock, soon: Mapping[str, Any]) -> None:
    store = shared
    sees(store)
    clock.ahead = HOUR + 10
    together = threading.Barrier(4)

    def look() -> None:
        one = worker(store, soon)
        together.wait(20)
        one.tick()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failbacks(store)) == 1
    assert [outcome for outcome, _ in outcomes(store)] == ["started"]


def test_a_window_that_nobody_was_there_to_open_is_missed_never_late(
    store: Store, clock: Clock, soon: Mapping[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    sees(store)
    worker(store, soon).tick()
    clock.ahead = HOUR + TOLERANCE + 30  # it is still open
    late = worker(store, soon)
    late.tick()
    late.tick()
    assert failbacks(store) == []
    [(outcome, detail)] = outcomes(store)
    assert outcome == "missed"
    assert "no worker was there to begin the failback when it opened" in detail
    assert "is missed" in caplog.text
    assert audit.latest(store, 1)[0].action == "window missed"


def test_a_window_long_over_is_missed_too(store: Store, clock: Clock, soon: Mapping[str, Any]) -> None:
    sees(store)
    worker(store, soon).tick()
    clock.ahead = 20 * DAY
    worker(store, soon).tick()
    assert [outcome for outcome, _ in outcomes(store)] == ["missed"]


def test_a_window_of_before_is_not_missed(store: Store, clock: Clock, tmp_path: Path) -> None:
    """Its rule was written after it had opened: nobody counted on it."""
    sees(store)
    worker(store, plan(tmp_path, recurring(time.time() - HOUR, duration="3h"))).tick()
    assert outcomes(store) == []


def objects(store: Store, soon: Mapping[str, Any], clock: Clock) -> None:
    coming = Calendar.read(store, soon, clock.now()).coming(clock.now())
    assert coming
    Booker(store, "cli", "command line").answer(soon, coming.key, "Sales", "object", "stocktaking", clock.now(), via="command line")


def is_busy(store: Store, soon: Mapping[str, Any], clock: Clock) -> None:
    runs.request(store, asked("reprotect", "webshop", by="otto", origin="portal"))


def is_reversing(store: Store, soon: Mapping[str, Any], clock: Clock) -> None:
    sees(store, "REVERSING")


def is_home(store: Store, soon: Mapping[str, Any], clock: Clock) -> None:
    sees(store, "ACTIVE")


@pytest.mark.parametrize(
    ("happens", "told"),
    [
        (objects, "Sales objects: stocktaking"),
        (is_busy, "(reprotect) is active"),
        (is_reversing, "the plan is REVERSING, not READY"),
        (is_home, "the plan is ACTIVE, not READY"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_in_the_way_skips_it(
    store: Store, clock: Clock, soon: Mapping[str, Any], happens: Callable[[Store, Mapping[str, Any], Clock], None], told: str
) -> None:
    sees(store)
    one = worker(store, soon)
    one.tick()
    happens(store, soon, clock)
    clock.ahead = HOUR + 10
    one.tick()
    assert failbacks(store) == []
    assert [outcome for outcome, _ in outcomes(store)] == ["coming"]  # it may still become READY
    clock.ahead = HOUR + TOLERANCE + 10
    one.tick()
    [(outcome, detail)] = outcomes(store)
    assert outcome == "skipped"
    assert told in detail


def test_what_becomes_ready_soon_after_begins(store: Store, clock: Clock, soon: Mapping[str, Any]) -> None:
    sees(store, "REVERSING")
    one = worker(store, soon)
    clock.ahead = HOUR + 10
    one.tick()
    assert failbacks(store) == []
    sees(store)
    one.tick()
    assert len(failbacks(store)) == 1


def test_a_worker_that_froze_does_not_begin_late(
    store: Store, clock: Clock, soon: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sees(store)
    one = worker(store, soon)
    one.tick()
    asked_for = runs.request

    def frozen(*arguments: Any) -> Run:
        clock.ahead += 2 * TOLERANCE
        return asked_for(*arguments)

    monkeypatch.setattr("portal.worker.openings.runs.request", frozen)
    clock.ahead = HOUR + 10
    one.tick()
    assert failbacks(store) == []
    one.tick()
    assert [(outcome, "too long ago" in detail) for outcome, detail in outcomes(store)] == [("skipped", True)]


@pytest.mark.parametrize("by", ["the button", "a cancelled window"])
def test_what_is_not_begun_by_itself(store: Store, clock: Clock, soon: Mapping[str, Any], by: str) -> None:
    sees(store)
    found = soon
    if by == "the button":
        found = {**soon, "maintenance": {**soon["maintenance"], "start": "button"}}
    else:
        coming = Calendar.read(store, soon, clock.now()).coming(clock.now())
        assert coming
        Booker(store, "dora", "portal").cancel(soon, coming.key, "not today", clock.now())
    one = worker(store, found)
    one.tick()
    clock.ahead = HOUR + 10
    one.tick()
    clock.ahead = HOUR + TOLERANCE + 10
    one.tick()
    assert failbacks(store) == []
    assert [outcome for outcome, _ in outcomes(store)] == ([] if by == "the button" else ["cancelled"])
