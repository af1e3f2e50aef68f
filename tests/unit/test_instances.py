# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The module xdr_instances and its driver, with a real supervisord."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.instances import Outcome, moves
from ansible_collections.xdr.failback.plugins.module_utils.running import start_time

from tests.support import guarded
from tests.support.processes import wait_until
from tests.support.site_host import ModuleCaller, SiteHost, site_host
from tests.support.supervisord import Supervisord, supervisord_folder

PYTHON = "/usr/bin/python3"
SLEEP = "/bin/sleep 600"
DEAF = f"""{PYTHON} -c 'import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print("deaf", flush=True); time.sleep(600)'"""


@pytest.fixture(scope="module")
def supervisord() -> Iterator[Supervisord]:
    with supervisord_folder() as server:
        state = server.folder / "state"

        def guard(name: str, command: str) -> str:
            mark = state / "plans" / "webshop" / "running" / f"{name}.json"
            return f"{PYTHON} {guarded.__file__} {mark} {server.folder}/hold-{name} {command}"

        server.program("web-program", guard("web", SLEEP))
        server.program("db", guard("db", SLEEP))
        server.program("brief", f"""{PYTHON} -c 'import sys; sys.exit("port 80 is taken")'""", startsecs="1")
        server.program("deaf", guard("deaf", DEAF), stopwaitsecs="600")
        server.program("unguarded", SLEEP)
        server.program("missing", "/nonexistent/program")
        with server.started():
            yield server


@pytest.fixture
def host(supervisord: Supervisord) -> Iterator[SiteHost]:
    host = site_host(supervisord.folder / "state")
    host.write_site(supervisor_socket=str(supervisord.socket))
    names = ("db", "brief", "deaf", "unguarded", "missing", "absent")
    instances = {name: {"driver": "supervisor", "group": "g", "priority": 1} for name in names}
    host.write_plan(instances={**instances, "web": {"driver": "supervisor", "program": "web-program"}, "odd": {"driver": "abacus"}})
    yield host
    for pid in supervisord.pids():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not supervisord.pids(), "all programs have ended")
    for folder in ("runs", "plans/webshop/running"):
        for path in (host.state_dir / folder).glob("*"):
            path.unlink()


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> ModuleCaller:
    return ModuleCaller(capsys)


def items(*names: str, **options: Any) -> list[dict[str, Any]]:
    return [{"name": name, "timeout": 10, **options} for name in names]


def started(host: SiteHost, *names: str, **options: Any) -> dict[str, Any]:
    return host.changing(state="started", phase="start_instances/g", instances=items(*names, **options))


def stopped(host: SiteHost, *names: str, draining: bool = False, **options: Any) -> dict[str, Any]:
    return host.changing(state="stopped", phase="stop_services/g", draining=draining, instances=items(*names, **options))


def states(answer: dict[str, Any]) -> dict[str, str]:
    return {result["name"]: result["state"] for result in answer["results"]}


def rests(answer: dict[str, Any]) -> bool:
    """Nothing runs; what a test before this one has killed is EXITED."""
    return set(states(answer).values()) <= {"STOPPED", "EXITED"}


def test_start_and_stop_are_idempotent(host: SiteHost, call: ModuleCaller) -> None:
    first = call("xdr_instances", started(host, "web", "db"))
    assert first["changed"]
    assert states(first) == {"web": "RUNNING", "db": "RUNNING"}
    assert first["diff"] == {"before": "web: STOPPED\ndb: STOPPED\n", "after": "web: RUNNING\ndb: RUNNING\n"}
    assert [result["resource_state"] for result in first["results"]] == ["Recovering", "Recovering"]
    pids = [result["pid"] for result in first["results"]]
    assert all(start_time(pid) for pid in pids)

    again = call("xdr_instances", started(host, "web", "db"))
    assert not again["changed"]
    assert [result["pid"] for result in again["results"]] == pids

    gone = call("xdr_instances", stopped(host, "web", "db"))
    assert gone["changed"]
    assert states(gone) == {"web": "STOPPED", "db": "STOPPED"}
    assert not any(start_time(pid) for pid in pids)
    assert not list((host.plan_dir / "running").glob("*.json"))
    assert not call("xdr_instances", stopped(host, "web", "db"))["changed"]
    assert not host.record.draining
    phases = (host.record.run or {})["phases"]
    assert all(phases[name]["done"] for name in ("start_instances/g", "stop_services/g"))


def test_check_mode_predicts_and_changes_nothing(host: SiteHost, call: ModuleCaller) -> None:
    before = host.record
    answer = call("xdr_instances", started(host, "web"), check=True)
    assert answer["changed"]
    assert states(answer) == {"web": "RUNNING"}
    assert rests(call("xdr_instances", host.arguments(instances=items("web"))))
    assert call("xdr_instances", stopped(host, "web", draining=True), check=True)["changed"]
    assert host.record == before


def test_draining_is_marked_before_the_first_stop_and_forbids_starting(host: SiteHost, call: ModuleCaller) -> None:
    assert call("xdr_instances", stopped(host, "web", draining=True))["changed"]
    assert host.record.draining
    assert not call("xdr_instances", stopped(host, "web", draining=True))["changed"]
    refused = call("xdr_instances", started(host, "web"))
    assert refused["xdr_code"] == "wrong_owner"
    assert "draining" in refused["msg"]


@pytest.mark.parametrize(
    ("record", "pair", "code", "words"),
    [
        ({"owner": "dr", "standing": "superseded", "epoch": 2}, (2, 1), "wrong_owner", "epoch 2 belongs to dr"),
        ({"owner": None, "standing": "released"}, (1, 1), "wrong_owner", "belongs to no site"),
        ({"attempt": (1, 9)}, (1, 8), "stale_attempt", "attempt 8"),
    ],
)
def test_start_is_refused(host: SiteHost, call: ModuleCaller, record: dict[str, Any], pair: tuple[int, int], code: str, words: str) -> None:
    host.write_record(**record)
    answer = call("xdr_instances", {**started(host, "web"), "epoch": pair[0], "attempt": pair[1]})
    assert answer["xdr_code"] == code
    assert words in answer["msg"]
    assert rests(answer)


def test_one_that_fails_does_not_stop_the_others(host: SiteHost, call: ModuleCaller) -> None:
    answer = call("xdr_instances", started(host, "brief", "web", "missing"))
    assert answer["failed"]
    assert answer["changed"]
    assert [result["resource_state"] for result in answer["results"]] == ["Failed", "Recovering", "Failed"]
    assert answer["msg"].startswith(
        "2 of 3 instances could not be started: brief, missing; the first: hv1: instance brief: it did not start"
    )
    assert "port 80 is taken" in answer["msg"]
    assert (host.record.run or {})["phases"]["start_instances/g"]["done"] is None
    lines = [json.loads(line) for line in (host.state_dir / "runs" / "r1.jsonl").read_text().splitlines()]
    assert {(line["resource"], line["state"]) for line in lines} >= {("web", "Recovering"), ("brief", "Failed"), ("missing", "Failed")}


def test_a_guard_that_waits_is_not_running(host: SiteHost, call: ModuleCaller, supervisord: Supervisord) -> None:
    hold = supervisord.folder / "hold-web"
    hold.touch()
    answer = call("xdr_instances", started(host, "web", timeout=0.5))
    assert "did not start in 0.5 s: its start guard has not handed over; it said: waiting for the witness" in answer["msg"]
    assert states(call("xdr_instances", host.arguments(instances=items("web")))) == {"web": "STARTING"}
    hold.unlink()
    assert states(call("xdr_instances", started(host, "web"))) == {"web": "RUNNING"}


def test_a_program_without_a_guard_never_counts_as_running(host: SiteHost, call: ModuleCaller) -> None:
    answer = call("xdr_instances", started(host, "unguarded", timeout=0.3))
    assert "start guard has not handed over" in answer["msg"]
    assert states(call("xdr_instances", stopped(host, "unguarded"))) == {"unguarded": "STOPPED"}


def test_an_instance_that_will_not_stop_is_named_with_its_pid(host: SiteHost, call: ModuleCaller, supervisord: Supervisord) -> None:
    pid = call("xdr_instances", started(host, "deaf"))["results"][0]["pid"]
    wait_until(lambda: "deaf" in supervisord.control("tail", "deaf"), "it ignores SIGTERM")
    began = time.monotonic()
    answer = call("xdr_instances", stopped(host, "deaf", timeout=0.5))
    assert time.monotonic() - began < 5
    assert answer["msg"].startswith(f"hv1: instance deaf: it will not stop: process {pid} has not ended in 0.5 s")
    assert answer["results"][0]["state"] == "STOPPING"
    assert start_time(pid)
    answer = call("xdr_instances", started(host, "deaf", timeout=0.5))
    assert answer["msg"].startswith(f"hv1: instance deaf: it is still stopping: process {pid} has not ended. Look at what process {pid}")


def test_a_process_that_outlived_its_supervisor_is_not_started_twice_and_is_stopped(host: SiteHost, call: ModuleCaller) -> None:
    mark = host.plan_dir / "running" / "web.json"
    orphan = subprocess.Popen([PYTHON, guarded.__file__, str(mark), "/nonexistent", *SLEEP.split()])
    try:
        wait_until(mark.exists, "the mark is there")
        answer = call("xdr_instances", started(host, "web"))
        assert f"process {orphan.pid} of it still runs outside supervisord" in answer["msg"]
        assert states(answer) == {"web": "ORPHANED"}
        assert states(call("xdr_instances", stopped(host, "web"))) == {"web": "STOPPED"}
        assert orphan.wait(5) == -signal.SIGTERM
        assert not mark.exists()
    finally:
        orphan.kill()
        orphan.wait()


def test_the_mark_of_a_former_process_is_not_believed(host: SiteHost, call: ModuleCaller) -> None:
    mark = host.plan_dir / "running" / "web.json"
    mark.parent.mkdir(exist_ok=True)
    mark.write_text(json.dumps({"pid": os.getpid(), "started": 1}))
    assert rests(call("xdr_instances", host.arguments(instances=items("web"))))
    call("xdr_instances", stopped(host, "web"))
    assert start_time(os.getpid())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent", "supervisord knows no program 'absent'"),
        ("stranger", "instance 'stranger' is not registered for plan webshop"),
        ("odd", "there is no instance driver 'abacus'"),
    ],
)
def test_unknown_things_are_named(host: SiteHost, call: ModuleCaller, name: str, words: str) -> None:
    assert words in call("xdr_instances", host.arguments(instances=items(name)))["msg"]


def test_a_read_of_the_plan_looks_at_every_instance(host: SiteHost, call: ModuleCaller) -> None:
    """Also where one cannot be looked at; without being asked it looks at none."""
    call("xdr_instances", started(host, "db"))
    assert "instances" not in call("xdr_plan", host.arguments(state="read"))
    answer = call("xdr_plan", host.arguments(state="read", instances=True))
    seen = {one["name"]: one for one in answer["instances"]}
    assert {name: one["state"] for name, one in seen.items() if name in ("db", "unguarded", "absent", "odd")} == {
        "db": "RUNNING",
        "unguarded": "STOPPED",
        "absent": "UNKNOWN",
        "odd": "UNKNOWN",
    }
    assert seen["db"]["pid"] > 0
    assert "there is no instance driver 'abacus'" in seen["odd"]["why"]


def test_no_supervisord(host: SiteHost, call: ModuleCaller, tmp_path: Path) -> None:
    host.write_site(supervisor_socket=str(tmp_path / "none.sock"))
    answer = call("xdr_instances", host.arguments(instances=items("web")))
    assert answer["xdr_code"] == "not_reached"
    assert "supervisord does not answer at its socket" in answer["msg"]


@pytest.mark.parametrize(
    ("state", "seen", "changes"),
    [
        ("started", "RUNNING", []),
        ("started", "STARTING", [("a", "STARTING", "RUNNING")]),
        ("started", "FATAL", [("a", "FATAL", "RUNNING")]),
        ("started", "ORPHANED", [("a", "ORPHANED", "RUNNING")]),
        ("stopped", "STOPPED", []),
        ("stopped", "EXITED", []),
        ("stopped", "FATAL", []),
        ("stopped", "BACKOFF", [("a", "BACKOFF", "STOPPED")]),
        ("stopped", "UNKNOWN", [("a", "UNKNOWN", "STOPPED")]),
        ("stopped", "ORPHANED", [("a", "ORPHANED", "STOPPED")]),
    ],
)
def test_plan_changes(state: str, seen: str, changes: list[tuple[str, str, str]]) -> None:
    assert moves.plan_changes(["a"], [Outcome(seen)], state) == changes
