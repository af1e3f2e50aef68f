# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What every instance driver does, below a real supervisord and below a real systemd, with the real start guard before each instance."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.instances import moves

from portal import PROJECT
from tests.support.houses import NAMES, House, supervisor_house, systemd_house
from tests.support.processes import wait_until


@pytest.fixture(scope="module", params=["supervisor", pytest.param("systemd", marks=pytest.mark.systemd)])
def built(request: pytest.FixtureRequest) -> Iterator[House]:
    if request.param == "supervisor":
        with supervisor_house() as house:
            yield house
        return
    with systemd_house({**{name: {} for name in NAMES}, "deaf": {"TimeoutStopSec": "600"}}) as systemd:
        done = systemd.play(PROJECT / "playbooks" / "site_guards.yml")
        assert done.returncode == 0, done.stdout + done.stderr
        yield systemd


@pytest.fixture
def house(built: House) -> House:
    built.reset()
    return built


def refusal(house: House, verb: str, name: str, timeout: float = 20.0) -> str:
    with pytest.raises(XdrError) as refused:
        house.call(verb, name, timeout)
    return str(refused.value)


def test_a_start_and_a_stop_twice(house: House) -> None:
    assert house.call("status", "steady").state in ("STOPPED", "EXITED")
    first = house.call("start", "steady")
    assert (first.state, first.changed, house.runs(first.pid)) == ("RUNNING", True, True)
    again = house.call("start", "steady")
    assert (again.state, again.changed, again.pid) == ("RUNNING", False, first.pid)
    seen = house.call("status", "steady")
    assert (seen.state, seen.pid, seen.why) == ("RUNNING", first.pid, "")
    gone = house.call("stop", "steady")
    assert (gone.state, gone.changed, house.runs(first.pid)) == ("STOPPED", True, False)
    assert not house.call("stop", "steady").changed


def test_the_guard_refuses_what_the_site_does_not_own(house: House) -> None:
    house.host.write_record(epoch=2, owner="dr", standing="superseded")
    said = refusal(house, "start", "steady")
    assert "hv1: instance steady: it did not start" in said
    assert "dr owns epoch 2" in said
    assert house.call("status", "steady").pid == 0


def test_the_guard_refuses_what_the_witness_knows_to_have_moved(house: House) -> None:
    house.witness.write_record(epoch=2, owner="dr", standing="none")
    assert "dr owns epoch 2" in refusal(house, "start", "steady")
    assert (house.host.record.epoch, house.host.record.standing) == (2, "superseded")


def test_the_witness_is_asked_only_when_nothing_runs(house: House) -> None:
    assert house.call("start", "other").state == "RUNNING"
    house.witness.write_record(epoch=2, owner="dr", standing="none")
    assert house.call("start", "steady").state == "RUNNING"


def test_a_guard_that_waits_is_not_running_and_can_be_stopped(house: House) -> None:
    (house.witness.plan_dir / "ownership.json").unlink()
    said = refusal(house, "start", "steady", 3)
    assert "it did not start in 3 s: its start guard has not handed over; it said: " in said
    assert "Waiting for the witness, asking again in 5 s." in said
    assert house.call("status", "steady").state == "STARTING"
    assert house.living() == []
    assert house.call("stop", "steady").state == "STOPPED"
    house.witness.write_record(owner="primary", standing="none")
    assert house.call("status", "steady").state in moves.NOTHING_RUNS


def test_what_runs_is_told_with_its_process_and_since_when(house: House) -> None:
    """A split brain is told by it."""
    began = int(time.time())
    started = house.call("start", "steady")
    [one] = house.living()
    assert (one["name"], one["pid"]) == ("steady", started.pid)
    assert began <= one["since"] <= time.time()
    house.call("stop", "steady")
    assert house.living() == []


def test_the_guard_takes_no_answer_from_a_witness_that_is_mute(house: House) -> None:
    record = house.witness.plan_dir / "ownership.json"
    copy = record.read_bytes()
    record.unlink()
    record.write_bytes(copy)
    assert "the witness is mute about plan webshop (restored: its record is a copy" in refusal(house, "start", "steady", 3)
    assert house.call("stop", "steady").state == "STOPPED"


def test_the_guard_takes_no_answer_from_a_witness_that_is_older_than_what_it_has_told(house: House) -> None:
    house.call("start", "steady")
    house.call("stop", "steady")
    heard = house.host.record.heard
    assert heard == house.witness.record.serial
    house.witness.write_record(owner="primary", standing="none", serial=heard - 2)
    assert "the witness is mute about plan webshop" in refusal(house, "start", "steady", 3)
    assert house.call("stop", "steady").state == "STOPPED"


def test_it_starts_when_the_witness_answers_at_last(house: House) -> None:
    (house.witness.plan_dir / "ownership.json").unlink()
    refusal(house, "start", "steady", 2)
    house.witness.write_record(owner="primary", standing="none")
    assert house.call("start", "steady").state == "RUNNING"


def test_one_that_ends_at_once_says_why(house: House) -> None:
    """systemd calls a service started as soon as its process is, supervisord is told to wait a second here."""
    with contextlib.suppress(XdrError):
        house.call("start", "brief")
    wait_until(lambda: house.call("status", "brief").state in ("FATAL", "EXITED"), "its end is known")
    assert "it said: port 80 is taken" in house.call("status", "brief").why


def test_one_that_was_killed_can_be_started_again(house: House) -> None:
    pid = house.call("start", "steady").pid
    house.kill(pid)
    wait_until(lambda: house.call("status", "steady").state in ("FATAL", "EXITED"), "its end is known")
    assert house.call("start", "steady").pid != pid


def test_one_that_will_not_stop_is_named_with_its_process(house: House) -> None:
    pid = house.call("start", "deaf").pid
    wait_until((house.host.state_dir / "deaf").exists, "it ignores SIGTERM")
    said = refusal(house, "stop", "deaf", 2)
    assert f"hv1: instance deaf: it will not stop: process {pid} has not ended in 2 s" in said
    assert house.call("status", "deaf").state == "STOPPING"
    assert house.runs(pid)
    assert f"it is still stopping: process {pid} has not ended" in refusal(house, "start", "deaf", 1)


def test_one_that_its_supervisor_does_not_know_is_named(house: House) -> None:
    for verb in ("status", "start", "stop"):
        assert "knows no" in refusal(house, verb, "absent")
