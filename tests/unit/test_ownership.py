# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The module xdr_ownership on real files and real processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.durable import locked, write_json
from ansible_collections.xdr.failback.plugins.module_utils.running import start_time

from tests.support.site_host import ModuleCaller, SiteHost, site_host


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> ModuleCaller:
    return ModuleCaller(capsys)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "orders.img"
    path.write_bytes(bytes(4096))
    return path


@pytest.fixture
def host(tmp_path: Path, volume: Path) -> SiteHost:
    host = site_host(tmp_path / "state")
    fields = {"path": str(volume), "driver": "delta", "resource": "db", "group": "g", "unit": "g", "peer": "hv2"}
    host.write_plan(volumes={"orders": fields}, instances={"db": {"driver": "supervisor", "group": "g", "priority": 1}})
    return host


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["/bin/sleep", "600"])
    yield process
    process.kill()
    process.wait(10)


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_claim_registers_a_new_plan_before_it_and_a_changed_one_after_it(tmp_path: Path, call: ModuleCaller) -> None:
    host = site_host(tmp_path)
    document = json.loads((host.plan_dir / "plan.json").read_text())
    (host.plan_dir / "plan.json").unlink()
    claim = {"state": "claimed", "action": "replicate", "plan_hash": "h"}
    assert call("xdr_ownership", host.changing(**claim, document=document), check=True)["registration_changed"]
    assert not (host.plan_dir / "plan.json").exists()
    assert call("xdr_ownership", host.changing(**claim, document=document))["registration_changed"]
    assert not call("xdr_ownership", host.changing(**claim, document=document))["registration_changed"]
    assert call("xdr_ownership", host.changing(**claim, document={**document, "hash": "h2"}))["registration_changed"]
    stale = {**host.changing(**claim, document={**document, "hash": "h3"}), "attempt": 0}
    assert call("xdr_ownership", stale)["xdr_code"] == "stale_attempt"
    assert json.loads((host.plan_dir / "plan.json").read_text())["hash"] == "h2"


def test_a_hand_over_and_back_again_each_step_twice(host: SiteHost, call: ModuleCaller) -> None:
    steps: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("claimed", {"action": "failback", "plan_hash": "h"}, {"attempt": [1, 1], "epoch": 1}),
        ("draining", {"phase": "stop_services/g"}, {"draining": True}),
        ("released", {"to": "dr", "phase": "release"}, {"standing": "released", "owner": None}),
        ("retaken", {"no_offer": True}, {"standing": "accepted", "owner": "primary", "draining": False}),
        ("known", {"owner_epoch": 2, "owner": "dr"}, {"standing": "superseded", "epoch": 2}),
        ("declined", {"owner_epoch": 3}, {"standing": "declined", "declined": 3}),
        ("accepted", {"owner_epoch": 4, "how": "attested", "by": "ann", "text": "dr has no power"}, {"standing": "accepted", "epoch": 4}),
        ("marked", {"status": "ACTIVE", "outcome": "ok", "phase": "decide"}, {"status": "ACTIVE"}),
    ]
    for state, options, expected in steps:
        arguments = host.changing(state=state, **options)
        predicted = call("xdr_ownership", arguments, check=True)
        answer = call("xdr_ownership", arguments)
        again = call("xdr_ownership", arguments)
        assert {key: answer["record"][key] for key in expected} == expected
        assert (predicted["changed"], answer["changed"], again["changed"]) == (True, True, False), state
        assert answer["diff"]["before"] != answer["diff"]["after"]
        assert {key: predicted["record"][key] for key in expected} == expected
    run = host.record.run
    assert run is not None
    assert run["outcome"] == "ok"
    assert all(mark["done"] for mark in run["phases"].values())
    assert set(run["phases"]) == {"stop_services/g", "release", "decide"}
    assert [entry["how"] for entry in host.record.history] == ["released", "retaken", "taken_over", "attested"]


def test_the_witness_offers_and_decides(tmp_path: Path, call: ModuleCaller) -> None:
    witness = site_host(tmp_path, site="witness")
    witness.write_record(owner="primary", standing="none")
    offered = call("xdr_ownership", witness.changing(state="offered", owner_epoch=2, to="dr", phase="offer"))
    assert offered["record"]["offer"]["to"] == "dr"
    assert offered["next_epoch"] == 4
    decided = call("xdr_ownership", witness.changing(state="decided", owner_epoch=2, phase="decide"))
    assert (decided["record"]["epoch"], decided["record"]["owner"], decided["record"]["offer"]["decided"]) == (2, "dr", True)


CHECKS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("released", {"to": "dr"}, {"standing": "released"}),
    ("retaken", {}, {"standing": "accepted"}),
    ("accepted", {"owner_epoch": 2}, {"epoch": 2}),
    ("known", {"owner_epoch": 2, "owner": "dr"}, {"owner": "dr", "standing": "superseded"}),
    ("marked", {"outcome": "ok", "status": "ACTIVE"}, {"status": "ACTIVE"}),
]


@pytest.mark.parametrize(("state", "options", "expected"), CHECKS, ids=[row[0] for row in CHECKS])
def test_check_mode_predicts_without_its_predecessors(
    host: SiteHost, call: ModuleCaller, state: str, options: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = files(host.state_dir)
    answer = call("xdr_ownership", host.changing(state=state, **options), check=True)
    assert {key: answer["record"][key] for key in expected} == expected
    assert answer["changed"] == (state != "retaken")
    assert files(host.state_dir) == before


def test_check_mode_predicts_the_decision_without_the_offer(tmp_path: Path, call: ModuleCaller) -> None:
    witness = site_host(tmp_path, site="witness")
    witness.write_record(owner="primary", standing="none")
    answer = call("xdr_ownership", witness.changing(state="decided", owner_epoch=2, owner="dr"), check=True)
    assert (answer["record"]["epoch"], answer["record"]["owner"]) == (2, "dr")


@pytest.mark.parametrize(("state", "options"), [("claimed", {"action": "failback", "fresh": True}), ("draining", {})])
def test_a_cycle_that_came_in_between_is_no_matter_for_check_mode(
    host: SiteHost, call: ModuleCaller, state: str, options: dict[str, Any]
) -> None:
    run = {
        "id": "other",
        "action": "replicate",
        "attempt": 5,
        "plan_hash": "h",
        "started": 0.0,
        "ended": None,
        "outcome": None,
        "phases": {},
    }
    host.write_record(attempt=(1, 5), run=run)
    before = files(host.state_dir)
    assert call("xdr_ownership", host.changing(state=state, **options), check=True)["changed"]
    assert files(host.state_dir) == before
    assert call("xdr_ownership", host.changing(state=state, **options))["xdr_code"] == "stale_attempt"


@pytest.mark.parametrize("check", [False, True])
def test_an_older_attempt_is_refused_naming_both(host: SiteHost, call: ModuleCaller, check: bool) -> None:
    host.write_record(attempt=(1, 5))
    answer = call("xdr_ownership", host.changing(state="draining"), check=check)
    assert answer["xdr_code"] == "stale_attempt"
    assert "attempt 1 of epoch 1 is older than attempt 5 of epoch 1" in answer["msg"]
    assert not host.record.draining


@pytest.mark.parametrize(
    ("options", "missing"),
    [({"state": "draining", "epoch": 1}, "attempt"), ({"state": "accepted", "epoch": 1, "attempt": 1}, "owner_epoch")],
)
def test_missing_arguments_are_named(host: SiteHost, call: ModuleCaller, options: dict[str, Any], missing: str) -> None:
    answer = call("xdr_ownership", host.arguments(**options))
    assert missing in answer["msg"]


def test_release_is_refused_while_a_process_holds_a_volume(
    host: SiteHost, call: ModuleCaller, volume: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    call("xdr_ownership", host.changing(state="draining"))
    with volume.open("rb") as stream, subprocess.Popen(["/bin/sleep", "600"], stdin=stream) as holder:
        stream.close()
        answer = call("xdr_ownership", host.changing(state="released", to="dr", phase="release"))
        holder.kill()
    assert answer["xdr_code"] == "still_open"
    assert f"process {holder.pid} (/bin/sleep 600) still holds {volume}" in answer["msg"]
    assert host.record.owns
    assert host.record.run is not None
    assert host.record.run["phases"]["release"]["done"] is None
    released = call("xdr_ownership", host.changing(state="released", to="dr", phase="release"))
    assert released["changed"]
    assert released["unreadable_processes"] >= 0


def test_release_is_refused_while_an_instance_runs(host: SiteHost, call: ModuleCaller, sleeper: subprocess.Popen[bytes]) -> None:
    call("xdr_ownership", host.changing(state="draining"))
    mark = host.plan_dir / "running" / "db.json"
    write_json(mark, {"pid": sleeper.pid, "started": start_time(sleeper.pid)})
    answer = call("xdr_ownership", host.changing(state="released", to="dr"))
    assert f"instance db still runs: process {sleeper.pid} (/bin/sleep 600)" in answer["msg"]
    write_json(mark, {"pid": sleeper.pid, "started": 1})  # the pid of another process by now
    assert call("xdr_ownership", host.changing(state="released", to="dr"))["record"]["standing"] == "released"


def test_a_damaged_record_is_never_taken_for_a_missing_one(host: SiteHost, call: ModuleCaller) -> None:
    (host.plan_dir / "ownership.json").write_text('{"epoch": ')
    answer = call("xdr_plan", host.arguments(state="read"))
    assert "not valid JSON" in answer["msg"]
    assert "ownership.json" in answer["msg"]


def test_two_records_are_never_written_at_once(host: SiteHost) -> None:
    """The module in processes of its own, all at the same time: each number is claimed once, the newest stays."""
    program = (
        "import sys; from ansible_collections.xdr.failback.plugins.module_utils.ownership import perform; from pathlib import Path\n"
        "n = int(sys.argv[2])\n"
        "perform(Path(sys.argv[1]), 'webshop', (1, n), {'request': 'claimed', 'action': 'a', 'fresh': True}, run_id=f'r{n}')"
    )
    with locked(host.plan_dir / "lock"):
        argv = ["/usr/bin/python3", "-c", program, str(host.state_dir)]
        started = [subprocess.Popen([*argv, str(n)], env={"PYTHONPATH": "xdr_plugins"}, stderr=subprocess.PIPE) for n in range(1, 7)]
    codes = [(process.communicate(timeout=30)[1], process.returncode) for process in started]
    assert all(code == 0 or b"is older than attempt" in error for error, code in codes)
    assert json.loads((host.plan_dir / "ownership.json").read_text())["attempt"] == [1, 6]
