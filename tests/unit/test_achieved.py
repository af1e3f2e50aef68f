# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a move has cost, from the events of the runs that it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portal import achieved
from portal.achieved import ANSWERED_LATE, BY_RECORDS, BY_REQUEST, CUT_OFF, HEARD_LATE, SWITCHED, UNANSWERED, Achieved, Trace, told
from portal.events import Event
from portal.store import Store, events, runs
from portal.store.runs import Run
from tests.support import stores

NOON = 1_800_000_000.0
HOUR = 3600.0


class Telling:
    """Events in order, each so many seconds after the one before; ``set_clock`` is what somebody does to the wall clock."""

    def __init__(self, boot: str = "b1") -> None:
        self.now, self.wrong, self.boot = 0.0, 0.0, boot
        self.told: list[Event] = []

    def add(self, after: float, kind: str, **rest: Any) -> Telling:
        self.now += after
        self.told.append({"kind": kind, "at": NOON + self.now + self.wrong, "up": 100 + self.now, **rest})
        return self

    def launch(self, playbook: str = "failback.yml", after: float = 0.0, *, check: bool = False) -> Telling:
        return self.add(after, "started", playbook=playbook, check=check, boot=self.boot)

    def result(self, after: float, module: str, step: str = "", status: str = "changed", **rest: Any) -> Telling:
        return self.add(after, "result", module=f"xdr.failback.{module}", step=step, status=status, **rest)

    def stop(self, after: float = 5.0, took: float = 1.0, answered: float = 1.0) -> Telling:
        """``answered``: seconds after the order."""
        telling = self.add(after, "task", step="stop_services")
        return telling.result(answered, "xdr_instances", "stop_services", results=[{"seconds": took}, {"seconds": took / 2}])

    def order_to_stop(self, after: float = 5.0) -> Telling:
        """Nobody answers."""
        return self.add(after, "task", step="stop_services")

    def start(self, after: float = 1.0, *, changed: bool = True) -> Telling:
        return self.result(after, "xdr_instances", "start_instances", "changed" if changed else "ok", results=[{"changed": changed}])

    def ownership(self, outcome: str | None = None, after: float = 0.5) -> Telling:
        return self.result(after, "xdr_ownership", record={"run": {"outcome": outcome}})

    def well(self, after: float = 1.0, answered: float = 0.0, took: float = 0.0) -> Telling:
        telling = self.add(after, "task", step="health_checks")
        return telling.result(answered, "xdr_health", "health_checks", "ok", results=[{"checks": [{"seconds": took}]}])

    def switch(self, after: float = 0.5, status: str = "changed", before: str = "dr", answered: float = 0.0, took: float = 0.0) -> Telling:
        self.add(after, "task", step="switch_traffic")
        return self.result(
            answered, "xdr_traffic", "switch_traffic", status, results=[{"before": before, "after": "primary", "seconds": took}]
        )

    def promote(self, *read_started: float) -> Telling:
        return self.result(1, "xdr_replication", "hand_over", results=[{"read_started": at, "complete": True} for at in read_started])

    def view(self, *intents: float) -> Telling:
        phases = {f"stop_services/{number}": {"intent": at, "done": None} for number, at in enumerate(intents)}
        return self.result(1, "xdr_gate", xdr_view={"run": {"phases": phases} if intents else None})

    def set_clock(self, seconds: float) -> Telling:
        self.wrong += seconds
        return self


def of(telling: Telling) -> Achieved | None:
    trace = Trace()
    for event in telling.told:
        trace.add(event)
    return trace.achieved


def heard_late(seconds: float, jump: float = 0.0) -> Telling:
    """The playbook switched the traffic that long before anybody heard of it."""
    telling = Telling().launch().view().stop().ownership().well(3)
    end = NOON + telling.now + 0.5
    moved = [{"before": "dr", "after": "primary"}]
    return telling.set_clock(jump).result(0.5 + seconds, "xdr_traffic", "switch_traffic", end=end, results=moved).ownership("ok")


def home() -> Telling:
    return Telling().launch().view().stop().ownership().well(3).switch().ownership("ok")


CASES = {
    "home": (home(), 5.0, "", None),
    "home, as a frozen worker hears late": (heard_late(4.0), 5.0, "", None),
    "home, heard as the clock was set ahead": (heard_late(0.0, HOUR), 5.0, "", None),
    "home, heard as the clock was set back": (heard_late(0.0, -HOUR), 5.0, "", None),
    "frozen as the services were stopped": (
        Telling().launch().stop(answered=60).ownership().well(3).switch().ownership("ok"),
        60 + 0.5 + 3 + 0.5,
        ANSWERED_LATE,
        None,
    ),
    "services that took long to stop": (
        Telling().launch().stop(took=59, answered=60).ownership().well(3).switch().ownership("ok"),
        59 + 0.5 + 3 + 0.5,
        "",
        None,
    ),
    "frozen as the traffic was switched": (
        Telling().launch().stop().ownership().well(3).switch(answered=60).ownership("ok"),
        1 + 0.5 + 3 + 0.5 + 60,
        HEARD_LATE,
        None,
    ),
    "DNS servers that took long": (
        Telling().launch().stop().ownership().well(3).switch(answered=60, took=59).ownership("ok"),
        1 + 0.5 + 3 + 0.5 + 60,
        "",
        None,
    ),
    "checks that took long": (Telling().launch().stop().well(3, 20, took=19).ownership("rolled_back"), 1 + 3 + 20, "", None),
    "frozen as the checks passed": (Telling().launch().stop().well(3, 20, took=1).ownership("rolled_back"), 1 + 3 + 20, HEARD_LATE, None),
    "rolled back": (Telling().launch().view().stop().ownership().well(3).ownership("rolled_back"), 4.5, "", None),
    "the traffic had to be led back": (Telling().launch("rollback.yml").stop().well(3).switch(2).ownership("rolled_back"), 6.0, "", None),
    "the module began late": (Telling().launch().stop(took=0.25).ownership().well(3).switch().ownership("ok"), 4.25, "", None),
    "killed in the middle, then home": (
        Telling().launch().stop().ownership().launch(after=20).view(NOON).stop(2).well().switch().ownership("ok"),
        1 + 0.5 + 20 + 1 + 2 + 1 + 1 + 0.5,
        "",
        None,
    ),
    "killed as it stopped the first service": (
        Telling().launch().add(5, "task", step="stop_services").launch(after=9).stop(1).well().switch().ownership("ok"),
        9 + 2 + 1 + 0.5,
        CUT_OFF,
        None,
    ),
    "the answer to the stop was lost, and a service was gone": (
        Telling().launch().order_to_stop().start(3).well(1).ownership("rolled_back"),
        3 + 1,
        UNANSWERED,
        None,
    ),
    "begun by another controller": (
        Telling().launch().view(NOON - 50, NOON - 40).well().switch().ownership("ok"),
        50 + 1 + 1 + 0.5,
        BY_RECORDS,
        None,
    ),
    "the traffic had been switched": (
        Telling().launch().stop().launch(after=9).well().switch(status="ok").ownership("ok"),
        11.5,
        SWITCHED,
        None,
    ),
    "only a TTL was put back": (
        Telling().launch("rollback.yml").stop().well(3).switch(2, before="primary").ownership("rolled_back"),
        4.0,
        "",
        None,
    ),
    "without a balancer": (Telling().launch().stop().well(3).ownership("ok"), 4.0, "", None),
    "the clock is put ahead": (Telling().launch().stop().set_clock(HOUR).well(3).switch().ownership("ok"), 4.5, "", None),
    "the clock is put back": (Telling().launch().stop().set_clock(-HOUR).well(3).switch().ownership("ok"), 4.5, "", None),
    "failover": (
        Telling().launch("failover.yml").promote(NOON - 30, NOON - 20).well().switch().ownership("ok"),
        2.5,
        BY_REQUEST,
        NOON - 30,
    ),
    "failover with the primary there": (Telling().launch("failover.yml").stop(5).well().switch().ownership("ok"), 2.5, "", None),
}


@pytest.mark.parametrize("case", CASES)
def test_a_move(case: str) -> None:
    telling, outage, inexact, data = CASES[case]
    found = of(telling)
    assert found
    assert (found.outage_s, found.inexact, found.data_until) == (pytest.approx(outage), inexact, data)
    assert found.rpo_s == (30.0 if data else 0.0)


@pytest.mark.parametrize(
    "telling",
    [
        Telling().launch(check=True).stop().well().switch().ownership("ok"),
        Telling().launch("replicate.yml").stop().well().switch().ownership("ok"),
        Telling().launch().view().ownership().ownership(None),  # nothing to do
        Telling().launch().stop().ownership("held"),
        Telling().launch("start.yml").well().ownership("ok"),
        Telling().launch("failover.yml").well().switch(status="ok").ownership("ok"),  # it is there already
        Telling().launch().order_to_stop().start(3, changed=False).well(1).ownership("rolled_back"),  # the order itself was lost
    ],
)
def test_what_ends_no_outage(telling: Telling) -> None:
    assert of(telling) is None


def test_clocks_of_two_boots_are_not_held_against_each_other() -> None:
    first = Telling("b1").launch().stop()
    second = Telling("b2")
    second.now = 40.0
    second.launch().well().switch().ownership("ok")
    first.told += [{**event, "up": event["up"] - 100} for event in second.told]
    found = of(first)
    assert found
    assert found.outage_s == pytest.approx(40 + 1.5 - 5)


# -- over the runs of a store --------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = stores.opened(tmp_path)
    yield one
    one.close()


def stored(store: Store, number: int, action: str, telling: Telling, exit_code: int, *, check: bool = False) -> Achieved | None:
    run = Run(f"r{number}", "shop", action, check=check, requested_at=time.time(), requested_by="otto")
    runs.request(store, run)
    events.append(store, run.id, telling.told)
    found = achieved.of(store, runs.get(store, run.id), {"rto": 900.0})
    runs.finish(store, run.id, {"exit_code": exit_code, "code": "", "error": "", "achieved": found and found.to_json()})
    return found


def test_an_outage_that_lasted_over_several_runs(store: Store) -> None:
    assert stored(store, 1, "failback", home(), 0)  # an earlier one is none of its business
    begun = Telling().launch().stop()
    assert stored(store, 2, "failback", begun, 2) is None
    assert stored(store, 3, "failback", Telling().launch().stop(), 0, check=True) is None
    assert stored(store, 4, "replicate", Telling().launch("replicate.yml"), 0) is None
    undone = Telling().launch("rollback.yml", after=60).view(NOON + 1).well(2).ownership("rolled_back")
    found = stored(store, 5, "rollback", undone, 0)
    assert found
    assert (found.outage_s, found.inexact, found.targets) == (pytest.approx(60 + 1 + 2 - 5), "", {"rto": 900.0})
    assert stored(store, 6, "start", Telling().launch("start.yml", after=90).well().ownership("ok"), 0) is None


# -- in words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "outage", "data"),
    [
        ({}, "4.5 s, within the RTO of 15 min", "nothing was left behind"),
        ({"outage_s": 901.0}, "15 min 1 s, OVER the RTO of 15 min", "nothing was left behind"),
        ({"inexact": CUT_OFF}, f"4.5 s, within the RTO of 15 min ({CUT_OFF})", "nothing was left behind"),
        ({"targets": {}}, "4.5 s", "nothing was left behind"),
    ],
)
def test_rows(changes: dict[str, Any], outage: str, data: str) -> None:
    cost = Achieved(4.5, NOON, NOON + 4.5, targets={"rto": 900.0, "rpo": 300.0}).to_json()
    assert dict(told({**cost, **changes})) == {"outage": outage, "data": data}


def test_what_was_left_behind() -> None:
    cost = Achieved(4.5, NOON, NOON + 4.5, "", NOON - 400, 400.0, {"rpo": 300.0}).to_json()
    assert dict(told(cost))["data"].endswith("6 min 40 s before the outage, OVER the RPO of 5 min")
