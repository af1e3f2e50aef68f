# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The worker's parts by themselves: the queue, slots, the ledger when the store does not answer, looks at plans and sites, the schedule."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal.actions import request
from portal.results import RunResult
from portal.runs import RunRequest
from portal.store import Store, observations, runs
from portal.store.runs import Run
from portal.worker import ledger, queue, slot
from portal.worker.cycles import Cycles
from portal.worker.ledger import Leaving, Ledger, insist
from portal.worker.watch import Watch
from tests.support.processes import wait_until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path / 'xdr.sqlite'}")
    yield opened
    opened.close()


# -- queue and slots ---------------------------------------------------------------------------------------------


def test_the_queue_executes_a_run_once_and_forgets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    queue.launch(tmp_path, "here-1", done.append)
    try:
        for _ in range(2):
            queue.hand_over(Run("r1", "shop", "failback"))
        queue.hand_over(Run("r2", "shop", "verify-primary", exclusive=False))
        wait_until(lambda: sorted(done) == ["r1", "r2"] and not queue.holders(), "both are done", 20)
        queue.hand_over(Run("r1", "shop", "failback"))
        assert queue.forget() == 0
        monkeypatch.setattr(queue, "KEPT", -1.0)
        assert queue.forget() == 2
    finally:
        queue.close()
    assert sorted(done) == ["r1", "r2"]
    assert (tmp_path / "dbos.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_queue_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDR_DBOS_DATABASE", f"sqlite:///{tmp_path}")
    with pytest.raises(XdrError, match=r"the queue cannot be opened .* \(XDR_DBOS_DATABASE\)|XDR_DBOS_DATABASE") as caught:
        queue.launch(tmp_path, "here-1", lambda run_id: None)
    assert caught.value.code == "queue"


def test_slots(tmp_path: Path, store: Store) -> None:
    one, two, lent = slot.take(tmp_path), slot.take(tmp_path), slot.take(tmp_path, once=True)
    assert [place.id.partition("-")[2] for place in (one, two, lent)] == ["1", "2", "once-1"]
    one.release()
    assert [slot.dead(store, tmp_path, place.id) for place in (one, two, lent)] == [True, False, False]
    again = slot.take(tmp_path)
    assert again.id == one.id
    assert slot.dead(store, tmp_path, "elsewhere-1")  # no heartbeat
    for place in (again, two, lent):
        place.release()


# -- ledger ------------------------------------------------------------------------------------------------------


class Shaky:
    """Answers the third time."""

    calls = 0

    def __call__(self, *args: Any) -> int:
        self.calls += 1
        if self.calls < 3:
            raise OSError("no space left")
        return 7


def test_a_store_that_does_not_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "PAUSE", 0.01)
    assert insist(Shaky(), threading.Event()) == 7
    ending = threading.Event()
    ending.set()
    with pytest.raises(Leaving):
        insist(Shaky(), ending)


def test_no_event_is_lost_over_it(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(ledger, "PAUSE", 0.01)
    kept: list[int] = []
    shaky = Shaky()

    def append(store: Store, run_id: str, batch: list[dict[str, Any]]) -> None:
        shaky()
        kept.extend(event["n"] for event in batch)

    monkeypatch.setattr(ledger.events, "append", append)
    with Ledger(store, "r", threading.Event()) as book:
        for number in range(1000):
            book.add({"n": number})
    assert kept == list(range(1000))


# -- looks -------------------------------------------------------------------------------------------------------


class Known:
    """Plans of which only the interval counts."""

    def known(self) -> dict[str, Any]:
        return {"shop": {"replication": {"interval": 3600}}}


VIEW = {"state": "ACTIVE", "owner": "primary", "epoch": 1}
HEALTHY = {"kind": "result", "host": "fra-hv1", "health": "Healthy", "module": "xdr.failback.xdr_health"}


def came_out(wanted: RunRequest, error: str = "", **more: Any) -> RunResult:
    return RunResult(wanted.run_id, wanted.action, wanted.plan, 4 if error else 0, "", error, stopped=False, seconds=1, changed=0, **more)


@pytest.fixture
def watch(store: Store, tmp_path: Path) -> Watch:
    def prepare(run: Run, inventory: Path) -> RunRequest:
        return request(run.action, run.plan, inventory)

    return Watch(store, tmp_path, Known(), lambda: True, threading.Event(), prepare)  # type: ignore[arg-type]


def looked(watch: Watch) -> list[str]:
    """What it looks at in one round."""
    subjects = []
    for subject in watch._due():
        watch._look(subject)
        subjects.append(subject)
    return subjects


def test_looks_at_plans_and_sites(watch: Watch, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Any] = {"view": VIEW, "answers": [HEALTHY]}
    monkeypatch.setattr("portal.actions.execute", lambda wanted, stop: came_out(wanted, **found))
    assert looked(watch) == ["shop", observations.SITES]
    assert looked(watch) == []
    seen = observations.get(store, observations.of_plan("shop"))
    assert seen
    assert seen.document
    assert (seen.document["state"], seen.error) == ("ACTIVE", "")
    assert (observations.get(store, observations.SITES) or seen).document["hosts"][0]["health"] == "Healthy"  # type: ignore[index]

    found = {"error": "no host answered"}
    watch.ended(Run("r", "shop", "failback"), None)
    assert looked(watch) == ["shop"]
    again = observations.get(store, observations.of_plan("shop"))
    assert again
    assert (again.document, again.at, again.error) == (seen.document, seen.at, "no host answered")


def test_no_look_while_a_run_is_active_and_none_after_a_cycle(watch: Watch, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.actions.execute", lambda wanted, stop: came_out(wanted, view=VIEW, answers=[HEALTHY]))
    run = runs.request(store, Run("r", "shop", "failback"))
    assert looked(watch) == [observations.SITES]
    runs.finish(store, run.id, {"exit_code": 0, "code": "", "error": ""})
    assert looked(watch) == ["shop"]
    watch.ended(Run("c", "shop", "replicate", origin="schedule"), None)
    watch.ended(run, None)
    watch.leads = lambda: False  # its own runs it looks after all the same
    assert looked(watch) == ["shop"]


def test_a_test_of_the_sites_is_the_look(watch: Watch, store: Store) -> None:
    run = Run("t", "all-plans", "site-test")
    watch.ended(run, came_out(request("site-test", "", Path("/nowhere")), "unreachable", answers=[HEALTHY]))
    seen = observations.get(store, observations.SITES)
    assert seen
    assert seen.document
    assert (seen.document["hosts"][0]["health"], seen.document["error"]) == ("Healthy", "unreachable")


# -- the schedule ------------------------------------------------------------------------------------------------


def test_the_schedule_requests_a_cycle(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.worker.cycles.EVERY", 0.0)
    schedule = Cycles(store, Known())  # type: ignore[arg-type]
    schedule.tick()
    assert runs.unended(store) == []  # nobody has looked at the plan
    observations.put(store, observations.of_plan("shop"), VIEW)
    schedule.tick()
    schedule.tick()
    [cycle] = runs.unended(store)
    assert (cycle.cycle, cycle.exclusive, cycle.requested_by) == (True, False, "schedule")
    runs.request(store, Run("move", "shop", "failback", requested_by="alice"))
    assert runs.get(store, cycle.id).message_by == "run move"
