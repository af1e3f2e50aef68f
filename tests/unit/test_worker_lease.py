# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Workers of two machines over one PostgreSQL: one dies, freezes or is cut off, and the other goes on with its run, never beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from ansible_collections.xdr.failback.plugins.module_utils.durable import write_json

from portal import PROJECT
from portal.processes import process
from portal.store import Store, events, runs, workers
from portal.store.runs import Run
from tests.support.link import link
from tests.support.postgresql import Server
from tests.support.processes import wait_until
from tests.support.workers import Tiny, ended

QUICK = 0.5  # the times of a lease, shortened


@pytest.fixture
def near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgresql: Server) -> Iterator[Tiny]:
    made = Tiny.made(tmp_path)
    monkeypatch.setenv("XDR_DATABASE_URL", postgresql.database())
    yield made
    for machine in (made, replace(made, machine="far")):
        machine.clear()
    assert made.breach == ""


@pytest.fixture
def far(near: Tiny) -> Tiny:
    return replace(near, machine="far")


@pytest.fixture
def store(near: Tiny) -> Iterator[Store]:
    opened = near.store()
    yield opened
    opened.close()


def works(tiny: Tiny, store: Store, run: Run, attempt: int = 1) -> str:
    """The worker that has it, once its playbook does its work."""
    tiny.begins(attempt)
    assert tiny.left()
    return runs.get(store, run.id).worker


def takes_over(tiny: Tiny, store: Store, run: Run, first: str) -> None:
    """A worker of this machine has the run, and its playbook does its work."""
    wait_until(lambda: bool(tiny.left()), "the run is taken over", 60)
    works(tiny, store, run, 2)
    assert runs.get(store, run.id).worker != first


def live(store: Store, number: int) -> None:
    wait_until(lambda: len(workers.alive(store)) == number, f"{number} workers live", 30)


def undisturbed(near: Tiny, store: Store, run: Run) -> Run:
    """The run has ended as one to which nothing happened."""
    near.wakes()
    done = ended(store, run)
    assert (done.exit_code, done.code, done.error) == (0, "", "")
    found = events.after(store, run.id)
    assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
    assert [event["kind"] for event in found].count("ended") == 1
    assert done.result
    assert [step["name"] for step in done.result["steps"]] == ["one", "two"]
    return done


def test_a_killed_worker_s_run_is_taken_over_within_30_s(near: Tiny, far: Tiny, store: Store) -> None:
    near.naps()
    run = near.asks(store)
    with near.working() as killed:
        first = works(near, store, run)
        with far.working():
            live(store, 2)
            killed.kill()
            killed.wait(10)
            wait_until(lambda: runs.get(store, run.id).worker != first, "the other one has the run", 30)
            takes_over(far, store, run, first)
            assert near.left() == set()  # its guardian ended what it had launched
            assert undisturbed(near, store, run).attempts == 2
    assert workers.get(store, first) is None


def test_a_frozen_worker_and_what_it_has_launched_are_ended_before_the_run_is_taken_over(near: Tiny, far: Tiny, store: Store) -> None:
    near.naps()
    run = near.asks(store)
    with near.working(QUICK) as frozen:
        first = works(near, store, run)
        with far.working(QUICK):
            live(store, 2)
            frozen.send_signal(signal.SIGSTOP)
            takes_over(far, store, run, first)
            frozen.send_signal(signal.SIGCONT)
            assert frozen.wait(10) == -signal.SIGKILL
            assert near.left() == set()
            undisturbed(near, store, run)


def test_a_worker_that_is_cut_off_from_the_database_lets_go_and_comes_back(near: Tiny, far: Tiny, store: Store, postgresql: Server) -> None:
    near.naps()
    run = near.asks(store)
    with link(postgresql.port) as wire:
        url = sa.make_url(os.environ["XDR_DATABASE_URL"]).set(port=wire.port).render_as_string(hide_password=False)
        with near.working(QUICK, XDR_DATABASE_URL=url) as cut_off:
            first = works(near, store, run)
            with far.working(QUICK):
                live(store, 2)
                wire.cut()
                wait_until(lambda: near.left() == set(), "it lets go", 30)
                takes_over(far, store, run, first)
                wire.heal()
                live(store, 2)  # under a new name
                assert cut_off.poll() is None
                assert first not in {one.id for one in workers.known(store)}
                undisturbed(near, store, run)
    log = (near.folder / "worker.log").read_text()
    assert "lets go of its runs" in log
    assert "not-to-be-shown" not in log


@pytest.mark.parametrize(
    ("words", "deaf", "struck"), [("", False, True), ("", True, True), ("strike\n", False, True), ("farewell\n", False, False)]
)
def test_a_guardian_ends_its_worker_with_all_its_launches_and_no_others(tmp_path: Path, words: str, deaf: bool, struck: bool) -> None:
    """Silent, or deaf: its worker has died and closed the pipe."""
    worker = subprocess.Popen(["sleep", "100"])
    launched = {}
    for run_id, launcher in (("mine", worker.pid), ("other", os.getpid())):
        launched[run_id] = subprocess.Popen(["sleep", "100"], env={**os.environ, "XDR_RUN_ID": run_id}, start_new_session=True)
        found = process(launcher)
        assert found
        (tmp_path / "runs" / run_id).mkdir(parents=True)
        write_json(tmp_path / "runs" / run_id / "run.json", {"launcher": asdict(found)})
    me = process(worker.pid)
    assert me
    argv = [sys.executable, "-m", "portal.worker.guardian", str(tmp_path), str(me.pid), str(me.started), "100" if words else "0.5"]
    try:
        with subprocess.Popen(argv, cwd=PROJECT, stdin=subprocess.PIPE, text=True) as guardian:
            assert guardian.stdin
            guardian.stdin.write(words)
            guardian.stdin.flush()
            if deaf:
                guardian.stdin.close()
            assert guardian.wait(60) == 0
        wait_until(
            lambda: [one.poll() is None for one in (worker, *launched.values())] == [not struck, not struck, True], "it struck, or not"
        )
    finally:
        for one in (worker, *launched.values()):
            one.kill()
            one.wait(10)


def test_a_run_of_a_command_line_is_left_alone_by_the_workers_of_other_machines(near: Tiny, far: Tiny, store: Store) -> None:
    near.naps()
    run = near.asks(store)
    with near.lent(run) as lent:
        try:
            first = works(near, store, run)
            with far.working(QUICK):  # which has the run in its queue at once
                live(store, 2)
                other = far.asks(store, plan="other")
                far.begins(2)
                assert undisturbed(near, store, run).worker == first
                assert lent.wait(20) == 0
                assert ended(store, other).exit_code == 0
        finally:
            lent.kill()


def test_the_password_of_the_database_reaches_no_child_and_no_file(near: Tiny, store: Store) -> None:
    near.naps()
    run = near.asks(store)
    with near.working() as worker:
        works(near, store, run)
        for process in near.left():
            assert b"not-to-be-shown" not in Path(f"/proc/{process.pid}/environ").read_bytes()
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert b"not-to-be-shown" not in entry.read_bytes()
            except OSError:
                continue
        undisturbed(near, store, run)
        assert {"public", "dbos"} <= set(sa.inspect(store.engine).get_schema_names())  # the queue lies beside the store
        assert not list(near.folder.rglob("*.sqlite"))
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    told = [path for path in near.folder.rglob("*") if path.is_file() and b"not-to-be-shown" in path.read_bytes()]
    assert told == []
    assert "not-to-be-shown" not in str(events.after(store, run.id))
