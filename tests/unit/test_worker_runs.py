# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Runs of tiny playbooks carried out by a real worker's process, or by one that is lent: deaths, messages, one run of a plan at a time."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.window import Window

from portal import PROJECT, achieved
from portal import runs as folders
from portal.actions import asked, decided, execute
from portal.processes import Process
from portal.runs import RunRequest
from portal.store import Store, audit, events, runs, workers
from portal.store.runs import Run
from portal.worker import slot
from portal.worker.worker import run_one
from tests.support.processes import wait_until
from tests.support.workers import Tiny, ended


@pytest.fixture
def tiny(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tiny]:
    made = Tiny.made(tmp_path)
    monkeypatch.setenv("XDR_VAR", str(made.var))
    if getattr(request, "param", "") == "postgresql":
        monkeypatch.setenv("XDR_DATABASE_URL", request.getfixturevalue("postgresql").database())
    yield made
    made.clear()
    assert made.breach == ""


on_both = pytest.mark.parametrize("tiny", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def store(tiny: Tiny) -> Iterator[Store]:
    opened = tiny.store()
    yield opened
    opened.close()


def told(store: Store, run: Run) -> list[dict[str, Any]]:
    """The run's events: numbered without a gap, with one end."""
    found = events.after(store, run.id)
    assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
    assert [event["kind"] for event in found].count("ended") == 1
    assert found[-1]["kind"] == "ended"
    return found


def launches(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["launch"], event["action"]) for event in found if event["kind"] == "started"]


def works(tiny: Tiny, run: Run, attempt: int = 1) -> Process:
    """ansible-playbook, while it works."""
    tiny.begins(attempt)
    name = run.id if attempt == 1 else f"{run.id}-{attempt}"
    child = folders.child_of(tiny.var / "runs" / name)
    assert child
    assert child.alive
    return child


# -- lent to one run ---------------------------------------------------------------------------------------------


def lent(tiny: Tiny, store: Store, run: Run) -> threading.Thread:
    thread = threading.Thread(target=run_one, args=(tiny.inventory, run.id), kwargs={"store": store, "prepare": tiny.prepare})
    thread.start()
    return thread


def test_a_run_and_its_events(tiny: Tiny, store: Store) -> None:
    run = tiny.asks(store, attestation="I saw it")
    seen: list[dict[str, Any]] = []
    done = run_one(tiny.inventory, run.id, seen.append, store=store, prepare=tiny.prepare)
    assert (done.status, done.exit_code, done.attempts, done.code, done.error) == ("ended", 0, 1, "", "")
    assert done.result
    assert [step["name"] for step in done.result["steps"]] == ["one", "two"]
    found = told(store, run)
    assert launches(found) == [(run.id, "failback")]
    assert "I saw it" in str(found)
    assert [event["kind"] for event in seen] == [event["kind"] for event in found]
    assert workers.known(store) == []
    assert list((tiny.var / "worker").iterdir()) == []


def test_what_fails_is_told(tiny: Tiny, store: Store) -> None:
    tiny.refuses()
    done = run_one(tiny.inventory, tiny.asks(store).id, store=store, prepare=tiny.prepare)
    assert (done.exit_code, done.error) == (2, "It is not to be")


@pytest.mark.parametrize("error", [KeyError("at"), PermissionError(13, "Permission denied", "shop.yml")], ids=["defect", "file"])
def test_a_run_ends_also_where_its_cost_cannot_be_told(error: Exception, tiny: Tiny, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried again for ever, a defect there would keep it running for ever."""

    def of(*_: Any) -> None:
        raise error

    monkeypatch.setattr(achieved, "of", of)
    run = tiny.asks(store)
    done = run_one(tiny.inventory, run.id, store=store, prepare=tiny.prepare)
    assert (done.status, done.exit_code) == ("ended", 0)
    assert done.result
    assert done.result["achieved"] is None
    told(store, run)


def test_what_cannot_be_launched_ends_with_the_sentence(tiny: Tiny, store: Store) -> None:
    done = run_one(tiny.folder / "nowhere", tiny.asks(store).id, store=store)
    assert (done.status, done.exit_code, done.code) == ("ended", 5, "usage")
    assert "there is no such inventory" in done.error
    (tiny.folder / "playbooks" / "failback.yml").unlink()
    done = run_one(tiny.inventory, tiny.asks(store).id, store=store, prepare=tiny.prepare)
    assert "there is no such playbook" in done.error


def test_a_stop_before_it_began(tiny: Tiny, store: Store) -> None:
    run = tiny.asks(store)
    runs.send(store, run.id, "stop", by="bob", origin="portal")
    done = run_one(tiny.inventory, run.id, store=store, prepare=tiny.prepare)
    assert (done.exit_code, done.code, done.attempts, tiny.begun()) == (1, "stopped", 0, 0)
    assert done.error.startswith("the run was stopped by bob before it had begun")


def test_a_stop_while_it_works(tiny: Tiny, store: Store) -> None:
    tiny.naps()
    run = tiny.asks(store)
    thread = lent(tiny, store, run)
    works(tiny, run)
    runs.send(store, run.id, "stop", by="bob", origin="portal")
    done = ended(store, run)
    thread.join()
    assert (done.exit_code, done.code, tiny.left()) == (1, "stopped", set())
    assert "stopped by bob. What it had finished" in done.error


MARK = """
from ansible.module_utils.basic import AnsibleModule
AnsibleModule({}).exit_json(changed=True, xdr_view={"state": "FAILING_BACK"})
"""


def test_a_stop_that_waits_for_its_step(tiny: Tiny, store: Store) -> None:
    """The play ends where roles/move may end it, between two steps, and no rescue follows."""
    (tiny.folder / "playbooks" / "library").mkdir()
    (tiny.folder / "playbooks" / "library" / "mark.py").write_text(MARK)
    file = tiny.folder / "playbooks" / "failback.yml"
    between = f"    - import_tasks: {PROJECT}/roles/move/tasks/between.yml\n      vars: {{move_stop_file: '{{{{ xdr_stop_file }}}}'}}\n"
    step, rest = file.read_text().split("    - name: three |")
    file.write_text(f"{step}    - name: two | Tell the state\n      mark:\n{between}    - name: three |{rest}")
    tiny.refuses()
    tiny.naps()
    run = tiny.asks(store)
    thread = lent(tiny, store, run)
    works(tiny, run)
    runs.send(store, run.id, "stop_after", by="bob", origin="portal")
    wait_until(folders.stop_file(tiny.var / "runs" / run.id).exists, "the launch knows of it", 30)
    tiny.wakes()
    done = ended(store, run)
    thread.join()
    assert (done.exit_code, done.code) == (1, "stopped")
    assert "stopped by bob after the step two. What it had finished" in done.error
    assert "three" not in {event.get("step") for event in told(store, run)}


@pytest.mark.parametrize("refused", [False, True])
def test_a_rollback_while_it_works(tiny: Tiny, store: Store, refused: bool) -> None:
    tiny.naps()
    if refused:
        tiny.refuses("rollback")
    run = tiny.asks(store)
    thread = lent(tiny, store, run)
    works(tiny, run)
    runs.send(store, run.id, "rollback", by="bob", origin="portal")
    done = ended(store, run)
    thread.join()
    assert launches(told(store, run)) == [(run.id, "failback"), (f"{run.id}-2", "rollback")]
    assert (done.exit_code, done.action) == (2 if refused else 0, "failback")
    assert done.result
    if refused:
        assert done.error == "the rollback that bob asked for did not end well: It is not to be"
    else:
        assert (done.code, done.error, "as bob asked" in done.result["reason"]) == ("rolled_back", "", True)


HOUR = 3600.0


class Clock:
    """The time of workers in this process; ``looks``: how often they have asked for a message since it was put forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead, self.looks = 0.0, 0
        own = SimpleNamespace(time=lambda: time.time() + self.ahead, monotonic=time.monotonic)
        monkeypatch.setattr("portal.worker.execution.time", own)
        asked = runs.message

        def message(store: Store, run_id: str) -> str:
            self.looks += 1
            return asked(store, run_id)

        monkeypatch.setattr(runs, "message", message)

    def forward(self) -> None:
        self.ahead, self.looks = 2 * HOUR, 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def window() -> Window:
    """Its deadline is in an hour."""
    return Window(time.time() + HOUR + 60, 60, "measured")


def test_the_deadline_passes_while_a_long_step_runs(tiny: Tiny, store: Store, clock: Clock) -> None:
    tiny.naps()
    run = tiny.asks(store, window=window())
    thread = lent(tiny, store, run)
    child = works(tiny, run)
    clock.forward()
    done = ended(store, run)
    thread.join()
    assert (child.alive, tiny.left()) == (False, set())
    found = told(store, run)
    assert launches(found) == [(run.id, "failback"), (f"{run.id}-2", "rollback")]
    assert (done.exit_code, done.code, done.message) == (2, "deadline_passed", "deadline")
    assert "passed before the hand-over, so the failback was rolled back" in done.error
    assert "the deadline has passed before the hand-over, it was " in str(found)
    assert "less 1 min for a rollback (measured)" in str(found)
    assert audit.latest(store, 1)[0].action == "deadline"


def test_a_deadline_that_passes_while_no_worker_lives(tiny: Tiny, store: Store, clock: Clock) -> None:
    """The next one rolls back, and does not launch the failback again first."""
    tiny.naps()
    run = tiny.asks(store, window=window())
    with tiny.working() as worker:
        works(tiny, run)
        worker.kill()
        worker.wait(10)
    clock.forward()
    done = run_one(tiny.inventory, run.id, store=store, prepare=tiny.prepare)
    assert launches(told(store, run)) == [(run.id, "failback"), (f"{run.id}-2", "rollback")]
    assert (done.exit_code, done.code) == (2, "deadline_passed")


def begun_by_a_window(tiny: Tiny, store: Store) -> Run:
    """It was to begin within the next ten minutes."""
    run = asked("failback", "shop", by="window sunday-night", origin="window", window=window())
    begin_by = datetime.fromtimestamp(time.time() + 600, UTC).isoformat()
    return runs.request(store, replace(run, arguments={**run.arguments, "begin_by": begin_by}))


def test_what_a_window_began_and_no_worker_took_up_in_time_is_not_begun_late(tiny: Tiny, store: Store, clock: Clock) -> None:
    run = begun_by_a_window(tiny, store)
    clock.ahead = 700
    done = run_one(tiny.inventory, run.id, store=store, prepare=tiny.prepare)
    assert (done.exit_code, done.code, launches(told(store, run)), tiny.begun()) == (10, "gate_refused", [], 0)
    assert "its window has opened while nobody worked on it" in done.error


def test_what_a_window_began_is_undone_where_its_worker_died_before_the_downtime(tiny: Tiny, store: Store, clock: Clock) -> None:
    tiny.naps()
    run = begun_by_a_window(tiny, store)
    with tiny.working() as worker:
        works(tiny, run)
        worker.kill()
        worker.wait(10)
    clock.ahead = 700
    done = run_one(tiny.inventory, run.id, store=store, prepare=tiny.prepare)
    assert launches(told(store, run)) == [(run.id, "failback"), (f"{run.id}-2", "rollback")]
    assert (done.exit_code, done.code) == (2, "deadline_passed")


def test_after_the_hand_over_no_deadline_rolls_back(tiny: Tiny, store: Store, clock: Clock) -> None:
    tiny.hands_over()
    tiny.naps()
    run = tiny.asks(store, window=window())
    thread = lent(tiny, store, run)
    works(tiny, run)
    wait_until(lambda: any(event.get("step") == "hand_over" for event in events.after(store, run.id)), "it has told where it is", 20)
    clock.forward()
    wait_until(lambda: clock.looks > 2, "the worker has looked at the clock", 20)
    tiny.wakes()
    done = ended(store, run)
    thread.join()
    assert (done.exit_code, done.message, launches(told(store, run))) == (0, "", [(run.id, "failback")])


def test_what_was_decided_reaches_the_playbook() -> None:
    wanted = RunRequest("failback", "shop", "failback.yml", Path("i"), Path("v"), extra_vars={"plan": "shop"})
    answer = {"of": "r", "answer": "skip", "skips": ["web"], "reason": "it is wrong", "told": ""}
    window = Window(9.0, 3.0, "measured").to_json()
    made = decided(wanted, {"answer": answer, "window": window, "before_offer": True}).extra_vars
    skip = {"xdr_skip_checks": ["web"], "xdr_skip_reason": "it is wrong"}
    assert made == {"plan": "shop", "xdr_window": window, **skip, "xdr_before_offer": True}
    assert decided(wanted, {"answer": {**answer, "skips": []}}) == wanted


def test_ansible_playbook_killed_is_launched_again(tiny: Tiny, store: Store) -> None:
    tiny.naps()
    run = tiny.asks(store)
    thread = lent(tiny, store, run)
    for attempt in (1, 2):
        works(tiny, run, attempt).signal(signal.SIGKILL)
    works(tiny, run, 3)
    tiny.wakes()
    done = ended(store, run)
    thread.join()
    assert (done.exit_code, done.attempts, tiny.left()) == (0, 3, set())
    found = told(store, run)
    assert [name for name, _ in launches(found)] == [run.id, f"{run.id}-2", f"{run.id}-3"]
    assert [event["text"] for event in found if event["kind"] == "message"] == ["ansible-playbook was killed; launched again"] * 2
    assert [one and one["killed"] for one in done.launches or ()] == [True, True]


def test_on_another_machine_it_takes_the_same_course(tiny: Tiny, store: Store) -> None:
    """A failback lost a host and was being undone: a worker that has not the folders of these launches goes on with the undoing."""
    run = tiny.asks(store)
    lost = {"action": "failback", "exit_code": 4, "stopped": False, "code": "", "error": "", "view": {"run": {"phases": {}}}}
    for known in ([], [lost]):
        runs.begin(store, run.id, "far-1", known)
    done = run_one(tiny.inventory, run.id, store=store, prepare=tiny.prepare)
    assert launches(told(store, run)) == [(f"{run.id}-3", "rollback")]
    assert done.launches == [{**lost, "results": [], "steps": []}, None]


def test_a_cycle_stores_little(tiny: Tiny, store: Store) -> None:
    run = tiny.asks(store, "replicate", by="schedule", origin="schedule")
    run_one(tiny.inventory, run.id, store=store, prepare=tiny.prepare)
    assert [event["kind"] for event in told(store, run)] == ["started", "ended"]


# -- a worker's process ------------------------------------------------------------------------------------------


@on_both
def test_two_workers_on_one_store(tiny: Tiny, store: Store) -> None:
    with tiny.working(), tiny.working():
        wait_until(lambda: len(slot.serving(store, tiny.var)) == 2, "both live", 20)
        tiny.naps()
        first, other = tiny.asks(store), tiny.asks(store, plan="other")
        tiny.begins(2)  # two plans at the same time
        with pytest.raises(XdrError) as caught:
            tiny.asks(store)
        assert caught.value.code == "run_active"
        tiny.wakes()
        assert [ended(store, run).exit_code for run in (first, other)] == [0, 0]

        tiny.naps("replicate")
        cycle = tiny.asks(store, "replicate", by="schedule", origin="schedule")
        tiny.begins(1, "replicate")
        move = tiny.asks(store)  # which the cycle gives way to
        done = ended(store, move)
        given_way = runs.get(store, cycle.id)
        assert (done.exit_code, given_way.code) == (0, "stopped")
        assert (done.started_at or 0) >= (given_way.ended_at or 0)


@on_both
def test_a_worker_is_killed_and_started_again(tiny: Tiny, store: Store) -> None:
    tiny.naps()
    run = tiny.asks(store)
    with tiny.working() as worker:
        child = works(tiny, run)
        worker.kill()
        worker.wait(10)
        assert child.alive  # it outlives its worker
        assert slot.serving(store, tiny.var) == []
        again = tiny.worker()
        try:
            works(tiny, run, 2)
            assert not child.alive
            tiny.wakes()
            done = ended(store, run)
        finally:
            again.kill()
            again.wait(10)
    assert (done.exit_code, done.attempts, tiny.begun()) == (0, 2, 2)
    found = told(store, run)
    assert launches(found) == [(run.id, "failback"), (f"{run.id}-2", "failback")]
    assert "the worker that had the run ended; launched again" in str(found)


@on_both
def test_the_runs_of_a_dead_worker_go_on_in_another(tiny: Tiny, store: Store) -> None:
    tiny.naps()
    run = tiny.asks(store)
    with tiny.working() as worker:
        works(tiny, run)
        with tiny.working():
            wait_until(lambda: len(slot.serving(store, tiny.var)) == 2, "both live", 20)
            worker.kill()
            worker.wait(10)
            works(tiny, run, 2)
            tiny.wakes()
            done = ended(store, run)
    assert (done.exit_code, done.attempts, tiny.begun()) == (0, 2, 2)
    told(store, run)


@on_both
def test_a_worker_that_is_asked_to_end_leaves_its_run(tiny: Tiny, store: Store) -> None:
    tiny.naps()
    run = tiny.asks(store)
    with tiny.working() as worker:
        child = works(tiny, run)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    assert not child.alive
    assert tiny.left() == set()
    assert (runs.get(store, run.id).status, workers.known(store)) == ("running", [])
    tiny.wakes()
    with tiny.working():
        done = ended(store, run)
    assert (done.exit_code, done.attempts) == (0, 2)
    told(store, run)
    assert "Traceback" not in (tiny.folder / "worker.log").read_text()


def test_killed_between_the_end_of_the_playbook_and_the_store(tiny: Tiny, store: Store) -> None:
    """The launch's folder has the result and all events: it is not launched a second time."""
    run = tiny.asks(store)
    runs.begin(store, run.id, "dead-1")
    execute(replace(tiny.prepare(run, tiny.inventory), run_id=run.id))
    done = run_one(tiny.inventory, run.id, store=store, prepare=tiny.prepare)
    assert (done.exit_code, done.attempts, tiny.begun()) == (0, 1, 1)
    assert launches(told(store, run)) == [(run.id, "failback")]
