# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Real playbooks through the one file that launches ansible-runner: secrets, stops, leftovers, one run at a time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal import PROJECT, processes, runs
from portal.results import RunResult
from portal.runner import launch
from portal.runs import RunRequest
from tests.support.processes import wait_until

CANARY = "canary-4711"
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: one | Say
      ansible.builtin.debug:
        msg: "{{ db_password | default('') }} {{ lookup('env', 'CANARY_TOKEN') }} {{ api_key | default('') }} {{ harmless | default('') }}"
    - name: one | Say what has to be escaped, and a number
      ansible.builtin.debug:
        msg: "{{ [escaped_secret | default('') | to_json, pin_secret | default('')] }}"
    - name: one | Hide
      ansible.builtin.command: echo {{ hidden | default('nothing') }}
      no_log: true
      changed_when: false
    - name: two | Work
      ansible.builtin.command: sleep {{ nap | default(0) }}
    - name: three | Refuse
      ansible.builtin.fail:
        msg: It is not to be
      when: refuse | default(false)
"""
INVENTORY = "[all]\nlocalhost ansible_connection=local ansible_python_interpreter={{ansible_playbook_python}}\n"
LAUNCHER = """
import json, sys
from pathlib import Path
from portal.runner import launch
from portal.runs import RunRequest
from portal.runs import RunRequest
folder = Path(sys.argv[1])
launch(RunRequest("try", "shop", "try.yml", folder / "hosts.ini", folder / "var", json.loads(sys.argv[2]), project=folder, grace=3))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "try.yml").write_text(PLAYBOOK)
    (tmp_path / "playbooks" / "broken.yml").write_text("- hosts: all\n  tasks: [{no.such.module: }]\n")
    (tmp_path / "hosts.ini").write_text(INVENTORY)
    (tmp_path / "ansible.cfg").write_text("[defaults]\nlocalhost_warning = False\n")
    return tmp_path


def request(project: Path, *, plan: str = "shop", playbook: str = "try.yml", **extra: Any) -> RunRequest:
    run_id = runs.new_run_id("try")
    return RunRequest("try", plan, playbook, project / "hosts.ini", project / "var", extra, run_id=run_id, project=project, grace=3)


def carriers(run_id: str) -> set[processes.Process]:
    return {one for one in processes.carrying(f"XDR_RUN_ID={run_id}") if one.alive}


def napping(run_id: str) -> bool:
    return any(command_of(one).startswith(b"sleep") for one in carriers(run_id))


def command_of(process: processes.Process) -> bytes:
    """Empty where it has ended since it was seen."""
    try:
        return (processes.PROC / str(process.pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def the_run(project: Path) -> str:
    """The id of the one run of the folder, once it is there."""
    wait_until(lambda: bool(list((project / "var" / "runs").glob("*/child.json"))), "a run", 20)
    return next((project / "var" / "runs").iterdir()).name


@pytest.fixture
def launched(project: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A launcher of its own, whose playbook sleeps for long."""
    argv = [sys.executable, "-c", LAUNCHER, str(project), json.dumps({"nap": 300})]
    with subprocess.Popen(argv, cwd=PROJECT, start_new_session=True) as launcher:
        try:
            wait_until(lambda: napping(the_run(project)), "the playbook works", 60)
            yield launcher
        finally:
            launcher.kill()
            for folder in (project / "var" / "runs").glob("*/"):
                processes.end(runs.run_processes(folder), 0)


def test_no_secret_reaches_a_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_TOKEN", f"{CANARY}-environment")
    monkeypatch.setenv("CANARY_PLAIN", f"{CANARY}-plain")
    seen: list[dict[str, Any]] = []
    during: list[str] = []

    def listen(event: dict[str, Any]) -> None:
        seen.append(event)
        during.extend(str(path) for path in project.rglob("*") if path.is_file() and b"-plain" in path.read_bytes())

    (project / "hosts.ini").write_text(INVENTORY + f"[all:vars]\napi_key={CANARY}-inventory\n")
    more = {"escaped_secret": f'"{CANARY}"\nü', "pin_secret": 4711081547}
    result = launch(request(project, db_password=f"{CANARY}-variable", hidden=f"{CANARY}-hidden", **more), listen)
    assert result.exit_code == 0, result.error
    assert not any(canary in json.dumps(seen) for canary in (CANARY, "4711081547"))
    said = [event["msg"] for event in seen if event["kind"] == "result" and "msg" in event]
    assert said[:2] == ["******** ******** ******** ", ['"********"', "********"]]  # it was said, and masked
    kept = {str(path): path.read_text() for path in (project / "var").rglob("*") if path.is_file()}
    assert [path for path, text in kept.items() if CANARY in text or "4711081547" in text] == []
    assert during == []
    left = sorted(path.name for path in (project / "var" / "runs" / result.run_id).iterdir())
    assert left == ["child.json", "events.jsonl", "result.json", "run.json"]


def test_events_steps_and_result(project: Path) -> None:
    seen: list[dict[str, Any]] = []
    result = launch(request(project), seen.append)
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    assert (seen[0]["kind"], seen[-1]["kind"], seen[-1]["exit_code"]) == ("started", "ended", 0)
    assert [(step.name, step.result) for step in result.steps] == [("one", "ok"), ("two", "changed")]
    stored = (project / "var" / "runs" / result.run_id / "events.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in stored] == seen
    assert json.loads((project / "var" / "runs" / result.run_id / "result.json").read_text())["exit_code"] == 0


@pytest.mark.parametrize(
    ("playbook", "extra", "code", "says"),
    [
        ("try.yml", {"refuse": True}, 2, "It is not to be"),
        ("broken.yml", {}, 4, "no.such.module"),
    ],
)
def test_a_run_that_fails(project: Path, playbook: str, extra: dict[str, Any], code: int, says: str) -> None:
    result = launch(request(project, playbook=playbook, **extra))
    assert result.exit_code == code
    assert says in result.error


def test_a_playbook_that_is_not_there(project: Path) -> None:
    with pytest.raises(XdrError, match="no such playbook"):
        launch(request(project, playbook="none.yml"))


def test_progress_is_fed_into_the_same_sequence(project: Path) -> None:
    @contextlib.contextmanager
    def feed(add: Any) -> Iterator[None]:
        add({"kind": "progress", "what": "bytes", "volume": "v"})
        yield
        add({"kind": "progress", "what": "bytes", "volume": "w"})

    seen: list[dict[str, Any]] = []
    launch(request(project), seen.append, feed=feed)
    assert [event["kind"] for event in seen[:2] + seen[-2:]] == ["started", "progress", "progress", "ended"]
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))


def test_stop_leaves_no_process(project: Path) -> None:
    stop = threading.Event()
    wanted = request(project, nap=300)
    results: list[RunResult] = []
    thread = threading.Thread(target=lambda: results.append(launch(wanted, stop=stop)))
    thread.start()
    wait_until(lambda: napping(wanted.run_id), "the playbook works", 60)
    child = runs.child_of(wanted.folder)
    assert child
    # ansible-playbook, its worker, sleep: one look at /proc may miss a process that is just being made
    wait_until(lambda: len(processes.tree(child.pid)) >= 3, "the whole tree is there", 20)
    tree = processes.tree(child.pid)
    stop.set()
    thread.join(20)
    assert [(result.exit_code, result.stopped) for result in results] == [(1, True)]
    assert carriers(wanted.run_id) == set()
    assert [one for one in tree if one.alive] == []


def test_what_ignores_sigterm_is_killed(project: Path) -> None:
    (project / "playbooks" / "stubborn.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: one | Stay\n"
        "      ansible.builtin.command: setsid -w sh -c 'trap \"\" TERM HUP; sleep 300; sleep 300'\n"
    )
    stop = threading.Event()
    wanted = request(project, playbook="stubborn.yml")
    thread = threading.Thread(target=launch, args=(wanted,), kwargs={"stop": stop})
    thread.start()
    wait_until(lambda: napping(wanted.run_id), "the playbook works", 60)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert carriers(wanted.run_id) == set()


def test_a_signal_to_the_launcher_stops_the_run(project: Path, launched: subprocess.Popen[bytes]) -> None:
    run_id = the_run(project)
    launched.send_signal(signal.SIGTERM)
    assert launched.wait(20) == 0  # launch() returned a result; the command line turns it into its exit code
    assert carriers(run_id) == set()
    assert json.loads((project / "var" / "runs" / run_id / "result.json").read_text())["stopped"] is True


def test_a_second_run_of_the_plan_is_refused(project: Path, launched: subprocess.Popen[bytes]) -> None:
    with pytest.raises(XdrError, match=rf"run {the_run(project)} \(try\) has been active since .*, process {launched.pid}") as caught:
        launch(request(project))
    assert caught.value.code == "run_active"
    assert launch(request(project, plan="other")).exit_code == 0


def test_what_a_killed_launcher_left_is_ended_before_the_next_run(project: Path, launched: subprocess.Popen[bytes]) -> None:
    before = the_run(project)
    left = runs.run_processes(project / "var" / "runs" / before)
    launched.kill()
    launched.wait(5)
    assert any(one.alive for one in left)
    assert launch(request(project)).exit_code == 0
    assert [one for one in left if one.alive] == []
    ended = json.loads((project / "var" / "runs" / before / "result.json").read_text())
    assert ended["outcome"] == "abandoned"
    assert not (project / "var" / "runs" / before / "runner").exists()


def test_a_pid_that_belongs_to_another_program_now_is_left_alone(tmp_path: Path) -> None:
    me = processes.myself()
    folder = tmp_path / "var" / "runs" / "old"
    folder.mkdir(parents=True)
    stale = {"pid": me.pid, "started": me.started - 1}
    (folder / "child.json").write_text(json.dumps(stale))
    (folder / "run.json").write_text(json.dumps({"run_id": "old", "plan": "shop", "action": "try", "launcher": stale}))
    assert runs.end_leftovers("shop", tmp_path / "var") == ["old"]
    assert os.getpid() == me.pid  # still here


def test_a_run_that_is_alive_is_no_leftover(tmp_path: Path) -> None:
    me = processes.myself()
    folder = tmp_path / "var" / "runs" / "live"
    folder.mkdir(parents=True)
    launcher = {"pid": me.pid, "started": me.started}
    (folder / "run.json").write_text(json.dumps({"run_id": "live", "plan": "shop", "action": "status", "launcher": launcher}))
    assert runs.end_leftovers("shop", tmp_path / "var") == []


def test_old_runs_are_forgotten(tmp_path: Path) -> None:
    for number in range(5):
        folder = tmp_path / "runs" / f"{number}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text("{}")
    runs.prune(tmp_path, keep=2)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["3", "4"]
