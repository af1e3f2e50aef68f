# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The worker over the real lab, while a client orders all the time: messages, deaths, cycles and what is observed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal import PROJECT
from portal.actions import asked
from portal.runs import child_of, run_processes
from portal.store import Store, events, observations, runs
from portal.store.engine import url_of
from portal.store.runs import Run
from portal.worker import slot
from tests.support.luck import PLAN, Luck
from tests.support.processes import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]  # a busy machine; alone each takes less than a minute


@pytest.fixture
def store(request: pytest.FixtureRequest, luck: Luck, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    luck.ready()
    if getattr(request, "param", "") == "postgresql":
        monkeypatch.setenv("XDR_DATABASE_URL", request.getfixturevalue("postgresql").database())
    opened = Store.open(url_of(luck.var))
    yield opened
    opened.close()


def started(luck: Luck) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "portal.worker", str(luck.lab.inventory)]
    environment = luck.environment(PYTHONPATH=f"{PROJECT}{os.pathsep}{PROJECT / 'xdr_plugins'}")
    with (luck.var / "worker.log").open("ab") as log:
        return subprocess.Popen(argv, cwd=PROJECT, env=environment, stdout=log, stderr=log, start_new_session=True)


@contextlib.contextmanager
def serving(luck: Luck, store: Store, number: int = 1) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Workers, which end in good order."""
    processes = [started(luck) for _ in range(number)]
    try:
        wait_until(lambda: len(slot.serving(store, luck.var)) == number, "the workers live", 20)
        yield processes
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(30) for process in processes]
    assert codes == [-signal.SIGKILL if code == -signal.SIGKILL else 0 for code in codes]
    assert "Traceback" not in (luck.var / "worker.log").read_text()


def asks(luck: Luck, store: Store, action: str = "failback") -> Run:
    luck.state = ""
    return runs.request(store, asked(action, PLAN, by="alice", origin="portal"))


def reaches(store: Store, run: Run, step: str, launch: int = 1) -> None:
    """The run's launch of that number does the first task of a step."""

    def there() -> bool:
        found, number = events.after(store, run.id), 0
        for event in found:
            number += event["kind"] == "started"
            if number == launch and event.get("step") == step:
                return True
        return runs.get(store, run.id).ended

    wait_until(there, f"{step} of launch {launch}", 60)
    assert not runs.get(store, run.id).ended, f"the run ended before {step}: {runs.get(store, run.id).error}"


def ended(luck: Luck, store: Store, run: Run) -> Run:
    """Its end, with events that have no gap and no process left of any launch."""
    wait_until(lambda: runs.get(store, run.id).ended, f"{run.action} ends", 120)
    done = runs.get(store, run.id)
    assert [event["seq"] for event in events.after(store, run.id)] == list(range(1, events.last(store, run.id) + 1))
    folders = (luck.var / "runs").glob(f"{run.id}*")
    assert [one for folder in folders for one in run_processes(folder) if one.alive] == []
    return done


def seen(store: Store) -> str:
    """The plan's state as the worker observed it last."""
    found = observations.get(store, observations.of_plan(PLAN))
    return str(found.document["state"]) if found and found.document else ""


def test_stopped_then_begun_again_and_rolled_back(luck: Luck, store: Store) -> None:
    with serving(luck, store, 2):
        stopped = asks(luck, store)
        reaches(store, stopped, "stop_services")
        with pytest.raises(XdrError) as caught:
            asks(luck, store, "replicate")
        assert caught.value.code == "run_active"
        runs.send(store, stopped.id, "stop_after", by="bob", origin="portal")
        done = ended(luck, store, stopped)
        assert (done.exit_code, done.code, done.attempts) == (1, "stopped", 1)
        assert "stopped by bob after the step stop_services" in done.error
        assert "release" not in {event.get("step") for event in events.after(store, stopped.id)}
        status = luck.status()
        groups = {"stop_services/database", "stop_services/application", "stop_services/frontend"}
        assert (status["state"], set(status["run"]["phases"])) == ("FAILING_BACK", groups)

        stopped = asks(luck, store)
        reaches(store, stopped, "final_sync")
        runs.send(store, stopped.id, "stop", by="bob", origin="portal")
        done = ended(luck, store, stopped)
        assert (done.exit_code, done.code, done.attempts) == (1, "stopped", 1)

        run = asks(luck, store)
        reaches(store, run, "final_sync")
        runs.send(store, run.id, "rollback", by="bob", origin="portal")
        done = ended(luck, store, run)
        assert (done.exit_code, done.code, done.error) == (0, "rolled_back", "")
        wait_until(lambda: seen(store) in ("REVERSING", "READY"), "the worker has seen it", 30)
        wait_until(lambda: observations.get(store, observations.SITES) is not None, "and the sites", 30)
        wait_until(lambda: any(one.cycle and one.exit_code == 0 for one in runs.latest(store, cycles=True)), "a cycle", 60)
    status = luck.status()
    assert (status["state"] in ("REVERSING", "READY"), status["owner"], status["run"]) == (True, "dr", None)
    luck.serves("dr")


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_ansible_playbook_and_then_the_worker_killed(luck: Luck, store: Store) -> None:
    """The failback ends as an undisturbed one."""
    with serving(luck, store) as workers:
        run = asks(luck, store)
        reaches(store, run, "final_sync")
        child = child_of(luck.var / "runs" / run.id)
        assert child
        child.signal(signal.SIGKILL)
        reaches(store, run, "start_instances", launch=2)
        workers[0].kill()
        workers[0].wait(10)
        workers.append(started(luck))
        done = ended(luck, store, run)
        assert (done.exit_code, done.attempts, done.error) == (0, 3, "")
        luck.stage = "moved"
        wait_until(lambda: seen(store) == "FAILED_BACK", "the worker has seen it", 30)
    status = luck.status()
    assert (status["state"], status["owner"], status["run"]) == ("FAILED_BACK", "primary", None)
    luck.serves("primary")
