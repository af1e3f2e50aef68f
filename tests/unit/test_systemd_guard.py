# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The role ownership_guard and what it promises, on a host with a real systemd: whoever starts a service, the guard is asked."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import NotReached, XdrError
from ansible_collections.xdr.failback.plugins.module_utils.instances import driver
from ansible_collections.xdr.failback.plugins.module_utils.service_guards import argv
from ansible_collections.xdr.failback.plugins.module_utils.site import load_site

from portal import PROJECT
from tests.support.houses import SystemdHouse, systemd_house
from tests.support.processes import wait_until
from tests.support.site_host import site_host

pytestmark = pytest.mark.systemd

PLAYBOOK = PROJECT / "playbooks" / "site_guards.yml"
TASK = "Give each service of the plans its guard, and take it from all others"
SLEEP = "/bin/sleep 600"
SERVICES = {
    "steady": {"command": SLEEP},
    "other": {"command": SLEEP},
    "boots": {"command": SLEEP},
    "again": {"command": SLEEP, "Restart": "always", "RestartSec": "100ms"},
    "hasty": {"command": SLEEP, "TimeoutStartSec": "2"},
    "leaves": {"command": "/bin/sh -c '/bin/sleep 600 & exec /bin/sleep 600'", "KillMode": "process"},
    "slow": {"command": SLEEP, "ExecStartPre": "/bin/sleep 600"},
}


@pytest.fixture(scope="module")
def built() -> Iterator[SystemdHouse]:
    with systemd_house(SERVICES, enabled=("boots",)) as house:
        yield house


@pytest.fixture(scope="module")
def plays(built: SystemdHouse) -> list[str]:
    """What check mode, the first run and the second said."""
    said = []
    for options in (("--check", "--diff"), ("--diff",), ("--diff",)):
        done = built.play(PLAYBOOK, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout)
        if "--check" in options:
            assert not guards(built)
    return said


@pytest.fixture
def house(built: SystemdHouse, plays: list[str]) -> SystemdHouse:
    built.reset()
    return built


def guards(house: SystemdHouse) -> set[str]:
    found = house.server.run("find", "/etc/systemd/system", "-name", "50-xdr-ownership.conf").stdout.split()
    return {Path(path).parent.name.removesuffix(".service.d") for path in found}


def changed(said: str) -> list[str]:
    """The names of the tasks that changed something."""
    tasks = said.split("\nTASK [")[1:]
    return [task.partition("]")[0].rpartition(" : ")[2] for task in tasks if "\nchanged:" in task]


def refusal(house: SystemdHouse, verb: str, name: str, timeout: float = 20.0) -> str:
    with pytest.raises(XdrError) as refused:
        house.call(verb, name, timeout)
    return str(refused.value)


# -- the role -------------------------------------------------------------------------------------------------


def test_check_mode_predicts_and_the_second_run_changes_nothing(built: SystemdHouse, plays: list[str]) -> None:
    check, first, second = map(changed, plays)
    assert check == [TASK]
    assert first == [TASK]
    assert second == []
    assert guards(built) == set(built.names())


def test_the_role_and_the_driver_mean_the_same_guard(house: SystemdHouse) -> None:
    told = house.server.show("steady.service", "ExecCondition")
    assert f"argv[]={' '.join(argv(house.host.state_dir, 'webshop', 'steady'))} ;" in told


def test_a_service_that_left_the_plan_loses_its_guard_and_files_of_others_stay(house: SystemdHouse) -> None:
    names = house.names()
    house.server.file("/etc/systemd/system/other.service.d/10-limits.conf", "[Service]\nLimitNOFILE=1000\n")
    with registered(house, *(name for name in names if name != "other")):
        assert changed(house.play(PLAYBOOK).stdout) == [TASK]
        assert guards(house) == set(names) - {"other"}
        assert "10-limits.conf" in house.server.show("other.service", "DropInPaths")
        assert house.server.show("other.service", "ExecCondition") == ""
    assert "has no start guard of this plan" in refusal(house, "start", "other")
    health = house.call("health", "other")
    assert health.state == "Degraded"
    assert "plan webshop: absent.service cannot be started (not-found). " in health.why
    assert "plan webshop: other.service has no start guard of this plan" in health.why
    assert "steady.service" not in health.why
    assert house.play(PLAYBOOK).returncode == 0
    assert house.call("start", "other").state == "RUNNING"


def test_a_service_that_takes_a_refusal_for_a_success_is_refused(house: SystemdHouse) -> None:
    house.server.file("/etc/systemd/system/other.service.d/20-success.conf", "[Service]\nSuccessExitStatus=143 77\n")
    house.server.run("systemctl", "daemon-reload")
    try:
        done = house.play(PLAYBOOK)
        assert done.returncode == 2
        assert "other.service has SuccessExitStatus=77, so a guard that refuses or dies would let it start" in done.stdout
        assert "so a guard that refuses or dies would let it start" in refusal(house, "start", "other")
    finally:
        house.server.run("rm", "/etc/systemd/system/other.service.d/20-success.conf")
        house.server.run("systemctl", "daemon-reload")


# -- what starts a service ------------------------------------------------------------------------------------


def test_by_hand(house: SystemdHouse) -> None:
    house.host.write_record(draining=True)
    house.server.run("systemctl", "start", "boots.service")
    assert house.server.show("boots.service", "ActiveState", "Result") == "inactive exec-condition"
    told = house.server.run("systemctl", "status", "--no-pager", "boots.service", check=False).stdout
    assert 'Status: "hv1, plan webshop: the plan is draining' in told
    assert "status=77" in told


def test_by_restart(house: SystemdHouse) -> None:
    pid = house.call("start", "again").pid
    house.kill(pid)
    wait_until(lambda: house.server.show("again.service", "ActiveState", "NRestarts") == "active 1", "systemd has started it again")
    house.host.write_record(draining=True)
    house.kill(house.call("status", "again").pid)
    wait_until(lambda: house.server.show("again.service", "ActiveState") == "inactive", "systemd gives up")
    assert house.call("status", "again").state == "STOPPED"


def test_by_a_guard_that_is_killed(house: SystemdHouse) -> None:
    (house.witness.plan_dir / "ownership.json").unlink()
    refusal(house, "start", "steady", 1)
    house.server.run("systemctl", "kill", "--signal=TERM", "steady.service")
    wait_until(lambda: house.server.show("steady.service", "ActiveState") == "failed", "the start has failed")


def test_by_the_agent_s_boot(house: SystemdHouse) -> None:
    agent = str(house.host.state_dir / "agent" / "xdr-site-agent.pyz")
    with registered(house, "steady", "other"):
        done = house.server.run("/usr/bin/python3", agent, "boot", "--state-dir", str(house.host.state_dir), "--plan", "webshop")
    assert sorted(line.split(":")[1].strip() for line in done.stderr.splitlines()) == ["other", "steady"]


def test_a_short_time_to_start_begins_after_the_guard(house: SystemdHouse) -> None:
    (house.witness.plan_dir / "ownership.json").unlink()
    assert "its start guard has not handed over" in refusal(house, "start", "hasty", 4)
    house.witness.write_record(owner="primary", standing="none")
    assert house.call("start", "hasty").state == "RUNNING"
    assert house.server.show("hasty.service", "TimeoutStartUSec", "StatusText") == "2s "


def test_the_old_site_boots_again(house: SystemdHouse) -> None:
    """It is enabled, and was running when the power went."""
    pid = house.call("start", "boots").pid
    house.server.cut_power()
    house.witness.write_record(epoch=2, owner="dr", standing="none")
    house.server.boot()
    wait_until(lambda: house.server.show("boots.service", "Result") == "exec-condition", "the start was skipped", 60)
    assert house.server.show("boots.service", "ActiveState", "MainPID") == "inactive 0"
    told = house.server.run("systemctl", "status", "--no-pager", "boots.service", check=False).stdout
    assert 'Status: "hv1, plan webshop: primary does not own the plan: dr owns epoch 2 (standing superseded)' in told
    assert "xdr guard: hv1, plan webshop: primary does not own the plan" in told
    assert (house.host.record.epoch, house.host.record.standing) == (2, "superseded")

    house.host.write_record(epoch=3)
    house.witness.write_record(epoch=3, owner="primary", standing="none")
    started = house.call("start", "boots")
    assert (started.state, started.changed, pid > 0) == ("RUNNING", True, True)

    house.server.cut_power()
    (house.witness.plan_dir / "ownership.json").unlink()
    house.server.boot()
    wait_until(lambda: "Waiting for the witness" in house.server.show("boots.service", "StatusText"), "the guard waits", 60)
    assert house.server.show("boots.service", "ActiveState", "SubState") == "activating condition"
    house.witness.write_record(epoch=3, owner="primary", standing="none")
    wait_until(lambda: house.server.show("boots.service", "ActiveState") == "active", "it is started", 60)


# -- the fence ------------------------------------------------------------------------------------------------


def test_a_move_stops_drains_and_releases(house: SystemdHouse) -> None:
    done = house.tasks(
        ("xdr_instances", {"state": "started", "phase": "start_instances/g", "instances": [{"name": "steady"}, {"name": "other"}]}),
        ("xdr_instances", {"state": "stopped", "draining": True, "phase": "stop_services/g", "instances": [{"name": "steady"}]}),
    )
    assert done.returncode == 0, done.stdout
    house.server.run("systemctl", "start", "steady.service")
    assert house.call("status", "steady").state == "STOPPED", "started by hand while the plan drains"
    assert "instance other still runs: other.service is active (running), process" in release(house)
    house.call("stop", "other")
    assert release(house) == ""
    assert house.host.record.standing == "released"


def test_a_service_whose_guard_has_let_it_through_is_stopped_before_it_runs(house: SystemdHouse) -> None:
    house.server.run("systemctl", "start", "--no-block", "slow.service")
    wait_until(lambda: house.server.show("slow.service", "SubState") == "start-pre", "the guard has let it through")
    assert house.call("status", "slow").state == "STARTING"
    assert [one["name"] for one in house.living()] == ["slow"]
    house.host.write_record(draining=True)
    assert "instance slow still runs: slow.service is activating (start-pre)" in release(house)
    assert house.call("stop", "slow").state == "STOPPED"
    assert release(house) == ""
    assert house.server.show("slow.service", "ActiveState", "MainPID") in ("inactive 0", "failed 0")


def test_a_guard_that_waits_is_not_released_over(house: SystemdHouse) -> None:
    (house.witness.plan_dir / "ownership.json").unlink()
    refusal(house, "start", "steady", 1)
    house.host.write_record(draining=True)
    assert "instance steady still runs: steady.service is activating (condition)" in release(house)


def test_a_process_that_a_service_left_behind(house: SystemdHouse) -> None:
    main = house.call("start", "leaves").pid
    house.server.run("systemctl", "stop", "leaves.service")
    seen = house.call("status", "leaves")
    assert (seen.state, seen.pid not in (0, main)) == ("ORPHANED", True)
    assert [(one["name"], one["pid"]) for one in house.living()] == [("leaves", seen.pid)]
    house.server.run("systemctl", "start", "leaves.service")
    assert house.call("status", "leaves").state == "ORPHANED", "a second copy was started by hand"
    assert f"instance leaves runs already: process {seen.pid} (/bin/sleep 600)" in house.server.show("leaves.service", "StatusText")
    house.host.write_record(draining=True)
    assert f"instance leaves still runs: leaves.service is inactive (dead), process {seen.pid} (/bin/sleep 600)" in release(house)
    assert "of it still runs outside systemd" in refusal(house, "start", "leaves")
    assert house.call("stop", "leaves").state == "STOPPED"
    assert not house.runs(seen.pid)
    assert release(house) == ""


# -- what is wrong with a unit, and who may ----------------------------------------------------------------------


def test_a_unit_that_cannot_be_used_is_named(house: SystemdHouse) -> None:
    house.server.file("/etc/systemd/system/broken.service", "[Service]\nType=simple\n")
    house.server.run("ln", "-sf", "/usr/local/lib/systemd/system/steady.service", "/etc/systemd/system/nick.service")
    house.server.run("systemctl", "mask", "--quiet", "other.service")
    house.server.run("systemctl", "daemon-reload")
    try:
        assert "other.service is masked. Ask who masked it" in refusal(house, "start", "other")
        assert house.call("status", "other").state == "STOPPED"
        assert "cannot load broken.service (bad-setting)" in refusal(house, "start", "broken")
        assert "unit 'nick.service' is another name of 'steady.service'" in refusal(house, "start", "nick")
        assert "door.service has no start guard of this plan" in house.call("status", "door").why
    finally:
        house.server.run("systemctl", "unmask", "--quiet", "other.service")
        house.server.run("rm", "/etc/systemd/system/broken.service", "/etc/systemd/system/nick.service")


def test_an_account_that_is_not_root(house: SystemdHouse) -> None:
    """It owns the state folder; the guard, which systemd starts as root, leaves nothing there that it could not write."""
    shared = house.server.shared
    house.server.run("useradd", "--system", "--groups=systemd-journal", "ops")
    uid = int(house.server.run("id", "-u", "ops").stdout)
    house.server.run("chown", "-R", "ops:", str(house.host.state_dir), str(shared / "door" / "client_key"))
    try:
        house.account = "ops"
        assert "this account may not do it" in refusal(house, "start", "steady")
        assert house.play(PLAYBOOK, "-e", "ownership_guard_account=ops").returncode == 0
        assert house.call("start", "steady").state == "RUNNING"
        assert "this account may not do it" in refusal(house, "stop", "door")
        assert house.call("stop", "steady").state == "STOPPED"
        house.witness.write_record(epoch=2, owner="dr", standing="none")
        assert "dr owns epoch 2" in refusal(house, "start", "steady")
        assert {path.stat().st_uid for path in house.host.plan_dir.rglob("*")} == {uid}
    finally:
        house.account = ""
        house.server.run("chown", "-R", "root:", str(house.host.state_dir), str(shared / "door" / "client_key"))
    assert house.play(PLAYBOOK).returncode == 0
    assert house.server.run("test", "-e", "/etc/polkit-1/rules.d/50-xdr-ownership.rules", check=False).returncode == 1


def test_a_host_without_systemd(tmp_path: Path) -> None:
    """The test's own: here process 1 is another."""
    if Path("/run/systemd/system").exists():
        pytest.skip("this machine runs systemd")
    host = site_host(tmp_path)
    with pytest.raises(NotReached, match="hv1: instance db: systemd does not answer"):
        driver("systemd", load_site(host.state_dir)).status({"name": "db", "plan": "webshop", "unit": "db.service"})


def release(house: SystemdHouse) -> str:
    """Empty, or why not."""
    try:
        house.call("release", "steady")
    except XdrError as error:
        return str(error)
    return ""


@contextlib.contextmanager
def registered(house: SystemdHouse, *names: str) -> Iterator[None]:
    """The plan has only these instances meanwhile."""
    before = json.loads((house.host.plan_dir / "plan.json").read_text())["instances"]
    house.host.write_plan(instances={name: before[name] for name in names})
    try:
        yield
    finally:
        house.host.write_plan(instances=before)
