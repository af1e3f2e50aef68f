# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The worker's parts by themselves: the queue, slots, the ledger when the store does not answer, looks at plans and sites, the schedule."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy.exc
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.window import Window

from portal import PROJECT
from portal.actions import request
from portal.processes import myself
from portal.results import RunResult
from portal.runs import RunRequest
from portal.store import Store, checks, events, observations, runs, workers
from portal.store.runs import Run
from portal.store.workers import ONCE, Worker
from portal.worker import ledger, queue, slot, takeover
from portal.worker.cycles import Cycles
from portal.worker.execution import Executor
from portal.worker.ledger import Leaving, Ledger, insist
from portal.worker.overdue import Overdue
from portal.worker.slot import Standing
from portal.worker.takeover import Takeover
from portal.worker.watch import Watch
from portal.worker.worker import REAP, TICK
from tests.support import stores
from tests.support.portal import plan, seen
from tests.support.processes import wait_until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = stores.opened(tmp_path)
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


def test_a_queue_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "dbos.sqlite").mkdir()
    with pytest.raises(XdrError, match=r"dbos.sqlite: the queue cannot be opened") as caught:
        queue.launch(tmp_path, "here-1", lambda run_id: None)
    assert caught.value.code == "queue"


def test_slots(tmp_path: Path) -> None:
    one, lent = slot.take(tmp_path), slot.take(tmp_path, once=True)
    assert [ONCE in place.id for place in (one, lent)] == [False, True]
    assert [slot.standing(tmp_path, name) for name in (one.id, "far-1")] == [Standing.LIVES, Standing.ELSEWHERE]
    assert slot.holder(tmp_path, one.id) == myself()
    os.close(one.fd)  # as by its process's death
    assert slot.standing(tmp_path, one.id) is Standing.DEAD
    slot.tidy(tmp_path, {one.id})
    assert slot.standing(tmp_path, one.id) is Standing.DEAD
    slot.tidy(tmp_path, set())
    assert [slot.standing(tmp_path, place.id) for place in (one, lent)] == [Standing.ELSEWHERE, Standing.LIVES]
    lent.release()
    assert list((tmp_path / "worker").iterdir()) == []


# -- leases ------------------------------------------------------------------------------------------------------


def test_the_arithmetic_of_leases() -> None:
    """Two lost renewals harm nothing; ansible-playbook has time to clean up; the guardian has time to kill; 30 s are kept."""
    assert 3 * workers.BEAT < workers.LET_GO
    assert workers.LET_GO + 5 <= workers.KILL
    assert workers.KILL + 4 <= workers.LEASE
    assert workers.LEASE + REAP + 2 * TICK + queue.EVERY <= 25


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock of who looks."""
    now = [1000.0]
    monkeypatch.setattr(takeover.time, "monotonic", lambda: now[0])
    return now


def leases(store: Store) -> list[str]:
    return [one.id for one in workers.known(store)]


def test_a_worker_of_another_machine_is_dead_after_a_lease_without_renewal(tmp_path: Path, store: Store, clock: list[float]) -> None:
    workers.enter(store, Worker("far-1", "far", 1, ""))
    judge = Takeover(store, tmp_path)
    for seconds in (0.0, workers.LEASE - 1):
        clock[0] += seconds
        judge.look()
        assert leases(store) == ["far-1"]
    workers.beat(store, "far-1")
    clock[0] += 2
    judge.look()  # which sees the renewal
    clock[0] += workers.LEASE - 1
    judge.look()
    assert leases(store) == ["far-1"]
    clock[0] += 1
    judge.look()
    assert (leases(store), judge.dead("far-1")) == ([], True)


@pytest.mark.parametrize("hours", [-1, 1])
def test_no_jump_of_a_wall_clock_ends_a_lease(
    tmp_path: Path, store: Store, clock: list[float], monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    workers.enter(store, Worker("far-1", "far", 1, ""))
    judge = Takeover(store, tmp_path)
    judge.look()
    real = time.time()
    monkeypatch.setattr("time.time", lambda: real + hours * 3600)
    clock[0] += workers.LEASE - 1
    judge.look()
    assert leases(store) == ["far-1"]
    clock[0] += 1
    judge.look()
    assert leases(store) == []


def test_a_worker_that_was_itself_frozen_judges_by_what_it_reads_afterwards(tmp_path: Path, store: Store, clock: list[float]) -> None:
    workers.enter(store, Worker("far-1", "far", 1, ""))
    judge = Takeover(store, tmp_path)
    judge.look()
    workers.beat(store, "far-1")
    clock[0] += 3600
    judge.look()
    assert leases(store) == ["far-1"]


def test_a_dead_worker_of_this_machine_is_known_at_once(tmp_path: Path, store: Store) -> None:
    place = slot.take(tmp_path)
    workers.enter(store, Worker(place.id, "here", os.getpid(), ""))
    judge = Takeover(store, tmp_path)
    assert not judge.dead_in_the_end(place.id)
    os.close(place.fd)
    assert judge.dead_in_the_end(place.id)
    assert list((tmp_path / "worker").iterdir()) == []


def test_a_frozen_worker_of_this_machine_is_killed_before_it_is_dead(tmp_path: Path, store: Store, clock: list[float]) -> None:
    program = f"from portal.worker import slot; from pathlib import Path; print(slot.take(Path({str(tmp_path)!r})).id, flush=True); input()"
    frozen = subprocess.Popen([sys.executable, "-c", program], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert frozen.stdin
    assert frozen.stdout
    with frozen:
        worker_id = frozen.stdout.readline().strip()
        workers.enter(store, Worker(worker_id, "here", frozen.pid, ""))
        judge = Takeover(store, tmp_path)
        judge.kill_frozen()
        clock[0] += workers.LEASE - 1
        judge.kill_frozen()
        judge.look()
        assert (frozen.poll(), leases(store)) == (None, [worker_id])
        clock[0] += 1
        judge.kill_frozen()
        assert frozen.wait(10) == -signal.SIGKILL
        judge.look()
        assert leases(store) == []


# -- ledger ------------------------------------------------------------------------------------------------------


class Shaky:
    """Answers the third time."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls = 0
        self.error = error or OSError("no space left")

    def __call__(self, *args: Any, **more: Any) -> int:
        self.calls += 1
        if self.calls < 3:
            raise self.error
        return 7


def test_a_store_that_does_not_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "PAUSE", 0.01)
    assert insist(Shaky(), threading.Event()) == 7
    ending = threading.Event()
    ending.set()
    with pytest.raises(Leaving):
        insist(Shaky(), ending)


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (sqlalchemy.exc.OperationalError("INSERT", {}, Exception("database is locked")), 3),
        (sqlalchemy.exc.DBAPIError("SELECT", {}, Exception("the server went away"), connection_invalidated=True), 3),
        (XdrError("the database does not answer", code="database"), 3),
        (sqlalchemy.exc.IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed")), 1),
        (XdrError("there is no run of this name", code="usage"), 1),
        (KeyError("plan"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_only_what_may_pass_is_tried_again(error: Exception, tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "PAUSE", 0.01)
    shaky = Shaky(error)
    if tries == 1:
        with pytest.raises(type(error)):
            insist(shaky, threading.Event())
    else:
        assert insist(shaky, threading.Event()) == 7
    assert shaky.calls == tries


def test_a_ledger_that_cannot_keep_an_event_says_so(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    """And waits for nothing: its run is told broken, and is not running for ever."""
    monkeypatch.setattr(ledger.events, "append", Shaky(ValueError("no JSON")))
    with pytest.raises(ValueError, match="no JSON"), Ledger(store, "r", "here-1", threading.Event()) as book:
        book.add({"n": 1})


def test_no_event_is_lost_over_it(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(ledger, "PAUSE", 0.01)
    kept: list[int] = []
    shaky = Shaky()

    def append(store: Store, run_id: str, batch: list[dict[str, Any]], *, by: str, after: int) -> int:
        shaky()
        kept.extend(event["n"] for event in batch)
        return len(kept)

    monkeypatch.setattr(ledger.events, "append", append)
    with Ledger(store, "r", "here-1", threading.Event()) as book:
        for number in range(1000):
            book.add({"n": number})
    assert kept == list(range(1000))


# -- looks -------------------------------------------------------------------------------------------------------


class Known:
    """Plans of which only the interval counts, unless one is given."""

    def __init__(self, plans: dict[str, Any] | None = None) -> None:
        self.plans = plans or {"shop": {"replication": {"interval": 3600}}}

    def known(self) -> dict[str, Any]:
        return self.plans


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
    watch.ended(Run("r", "shop", "failback"))
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
    watch.ended(Run("c", "shop", "replicate", origin="schedule"))
    watch.ended(run)
    watch.leads = lambda: False  # its own runs it looks after all the same
    assert looked(watch) == ["shop"]


def test_a_test_of_the_sites_is_the_look(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.actions.execute", lambda wanted, stop: came_out(wanted, view=VIEW))
    watch.ended(Run("t", "all-plans", "site-test"))
    assert looked(watch) == ["shop"]


@pytest.mark.parametrize(
    ("action", "launches", "stopped", "picture", "history"),
    [
        ("site-test", 1, False, True, True),
        ("site-test", 1, True, False, False),
        ("site-test", 0, False, False, False),
        ("diagnose", 1, False, False, True),  # of some hosts only
        ("failback", 1, False, False, False),
    ],
)
def test_what_a_run_saw_of_the_sites_is_kept(
    action: str, launches: int, stopped: bool, picture: bool, history: bool, store: Store, tmp_path: Path
) -> None:
    run = runs.request(store, Run("t", "all-plans", action))
    for _ in range(launches):
        runs.begin(store, run.id, "w")
    health = {**HEALTHY, "at": 1.0, "task": "t", "status": "ok", "step": None, "reasons": [], "checks": []}
    events.append(store, run.id, [{"kind": "started", "at": 1.0}, health])
    seen = {"exit_code": 2, "error": "a host is off", "stopped": stopped}
    Executor(store, tmp_path, tmp_path, "w", threading.Event())._seen(run, seen)
    found = observations.get(store, observations.SITES)
    assert (found and found.document and found.document["error"]) == ("a host is off" if picture else None)
    assert [one.check for one in checks.newest(store, ["fra-hv1"])] == ["answers"] * history


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


# -- the deadline of what ended half way ---------------------------------------------------------------------------

HALF = {"id": "r", "action": "failback", "plan_hash": plan()["hash"], "phases": {"stop_services/frontend": {"intent": 1.0, "done": 2.0}}}
HALF |= {"attempt": 7, "started": 1.0, "ended": None}


def left(store: Store, began: float, **window: Any) -> Run:
    """A failback that was stopped when its services had been, that long ago."""
    arguments = {"window": Window(**window).to_json()} if window else {}
    run = runs.request(store, Run("r", "webshop", "failback", requested_by="alice", arguments=arguments))
    stopped = {"kind": "task", "task": "stop_services | x", "step": "stop_services", "at": time.time() - began}
    events.append(store, "r", [{"kind": "started", "action": "failback", "at": stopped["at"]}, stopped])
    runs.finish(store, "r", {"exit_code": 1, "code": "stopped", "error": "it was stopped"})
    return run


@pytest.mark.parametrize(
    ("began", "window", "document", "rolled_back"),
    [
        (301.0, {}, seen("FAILING_BACK", "dr", run=HALF), True),  # the plan allows five minutes
        (200.0, {}, seen("FAILING_BACK", "dr", run=HALF), False),
        (9.0, {"until": 9.0, "rollback": 1.0, "how": "x"}, seen("FAILING_BACK", None, run=HALF), True),
        (301.0, {}, seen("FAILING_BACK", "primary", epoch=5, run=HALF), False),
        (301.0, {}, seen("FAILING_BACK", None, run=HALF, offer={"epoch": 5, "to": "primary", "decided": False, "declined": False}), False),
        (301.0, {}, seen("FAILING_BACK", "dr", run=HALF, unreachable=["ams-hv1"]), False),  # it is tried when that answers
        (301.0, {}, seen("READY"), False),
        (301.0, {}, None, False),
    ],
)
def test_what_ended_half_way_is_rolled_back_once_its_deadline_has_passed(
    store: Store, monkeypatch: pytest.MonkeyPatch, began: float, window: dict[str, Any], document: dict[str, Any] | None, rolled_back: bool
) -> None:
    monkeypatch.setattr("portal.worker.overdue.EVERY", 0.0)
    left(store, began, **window)
    overdue = Overdue(store, Known({"webshop": plan()}))  # type: ignore[arg-type]
    overdue.tick()
    assert runs.unended(store) == []  # the sites have not been read since
    if document:
        observations.put(store, observations.of_plan("webshop"), document)
    overdue.tick()
    overdue.tick()
    found = runs.unended(store)
    assert [(run.action, run.exclusive, run.arguments) for run in found] == [("rollback", True, {"before_offer": True})] * rolled_back
    if rolled_back:
        assert found[0].requested_by.startswith("the deadline (")
        runs.finish(store, found[0].id, {"exit_code": 4, "code": "", "error": "a host was lost"})
        overdue.tick()
        assert runs.unended(store) == []  # once: a person is asked now
