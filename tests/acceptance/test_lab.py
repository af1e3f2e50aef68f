# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The lab itself: built and taken down by its playbooks, whatever an earlier run left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal import following
from portal.lab.addresses import free
from portal.lab.inventory import PROJECT, service_ports
from portal.lab.lab import SITE_HOSTS, Lab
from portal.store import audit, observations, runs
from tests.support.labs import built
from tests.support.processes import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def own() -> Iterator[Lab]:
    """A lab to break; the shared one stays whole."""
    with built("test-build") as lab:
        yield lab


def commands(lab: Lab, site: str) -> str:
    return " ".join(command for _, command in lab.processes(site))


def answers(lab: Lab, site: str) -> bool:
    """Whether a shell can be had at a site, with its host key pinned."""
    lab_vars, keys = lab.variables, lab.root / "controller"
    options = ["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={keys}/known_hosts"]
    where = ["-i", f"{keys}/id_ed25519", "-p", str(lab_vars["ssh_port"]), f"{lab_vars['user']}@{lab_vars['addresses'][SITE_HOSTS[site]]}"]
    return subprocess.run(["ssh", *options, *where, "true"], capture_output=True, timeout=20, check=False).returncode == 0


def test_second_build_changes_nothing(own: Lab) -> None:
    assert own.is_up
    assert own.up() == 0


def test_daemons_run_as_the_unprivileged_account(own: Lab) -> None:
    assert {Path(f"/proc/{pid}").stat().st_uid for site in SITE_HOSTS for pid, _ in own.processes(site)} == {
        own.volume("primary").stat().st_uid
    }
    assert own.volume("primary").stat().st_uid != 0


def test_nothing_of_the_plan_starts_by_itself_and_only_the_primary_has_volumes(own: Lab) -> None:
    assert "lab_service.py" not in commands(own, "primary") + commands(own, "dr")
    assert len(list(own.volume("primary").parent.glob("*.img"))) == 7
    assert not list(own.volume("dr").parent.iterdir())


def test_lost_site_is_gone_at_once_and_returns_without_services(own: Lab) -> None:
    assert own.lose_site("primary")
    assert own.processes("primary") == []
    assert not answers(own, "primary")
    assert answers(own, "dr")
    assert own.return_site("primary") == ["sshd started", "supervisord started"]
    assert own.return_site("primary") == []
    assert answers(own, "primary")
    assert "lab_service.py" not in commands(own, "primary")


def test_killed_daemon_is_started_again(own: Lab) -> None:
    pid = next(pid for pid, command in own.processes("dr") if "supervisord" in command)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "supervisord" not in commands(own, "dr"), "supervisord is gone")
    assert own.return_site("dr") == ["supervisord started"]
    assert "supervisord" in commands(own, "dr")


def test_a_test_of_the_sites_is_kept_for_the_pages(own: Lab) -> None:
    """``xdr site test``, where no worker is."""
    argv = [str(Path(sys.executable).parent / "xdr"), "site", "test", "--json", "--inventory", str(own.inventory)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {one["host"]: one["health"] for one in told["hosts"]} == dict.fromkeys(SITE_HOSTS.values(), "Healthy")
    assert {leg["result"] for leg in told["connectivity"]} == {"CONNECTED"}
    assert all(leg["bytes_per_s"] for leg in told["connectivity"] if {leg["from"], leg["to"]} == {"fra-hv1", "ams-hv1"})
    with contextlib.closing(following.open_store(own.inventory)) as store:
        [run] = runs.latest(store)
        assert (run.action, run.exit_code, [entry.action for entry in audit.latest(store)]) == ("site-test", 0, ["site-test"])
        seen = observations.get(store, observations.SITES)
        assert seen
        assert seen.document == told


def test_what_is_wrong_is_found(own: Lab) -> None:
    """``xdr diagnose``: a peer's pinned host key that is another's. Nothing is changed, and the way back is still measured."""
    known = own.root / SITE_HOSTS["primary"] / "ssh" / "known_hosts"
    right = known.read_text()
    first, second = right.splitlines()  # DR's and the witness's
    known.write_text(f"{first.split()[0]} {' '.join(second.split()[1:])}\n{second}\n")
    try:
        argv = [str(Path(sys.executable).parent / "xdr"), "diagnose", "webshop", "--json", "--inventory", str(own.inventory)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    finally:
        known.write_text(right)
    assert done.returncode == 2, done.stderr
    told = json.loads(done.stdout)
    wrong = {(one["check"], one["what"]): one for one in told["findings"] if one["verdict"] == "wrong"}
    link = wrong["link", "fra-hv1 does not reach ams-hv1: it shows another host key than the pinned one"]
    assert "Find out why it changed" in link["todo"]
    assert any(line.startswith("HOST_KEY: ams-hv1") for line in link["evidence"])
    assert {check for check, _ in wrong} == {"link", "worker"}, "a lab has no worker of its own"
    assert told["findings"][0]["verdict"] == "wrong"
    [ways] = [one for one in told["findings"] if (one["check"], one["verdict"]) == ("link", "ok")]
    assert any(line.startswith("ams-hv1 → fra-hv1: ") and "a round trip" in line and "/s" in line for line in ways["evidence"])
    assert {one["verdict"] for one in told["findings"] if one["check"] == "clock"} == {"ok"}


def test_neither_a_killed_build_nor_a_taken_port_blocks_the_next(own: Lab) -> None:
    own.down()
    before = own.variables
    argv = [sys.executable, "-c", f"from portal.lab.lab import Lab; Lab.create({own.name!r}).up()"]
    process = subprocess.Popen(argv, cwd=PROJECT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: "sshd" in commands(own, "primary"), "the first sshd runs", 120)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    assert not own.is_up
    own.lose_site("witness")  # whose HAProxy may run already: a stranger is to hold its port
    torn = own.site_dir("dr") / "run" / "supervisord.json"
    torn.parent.mkdir(exist_ok=True)
    torn.write_text('{"pid": 1, "star')
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((before["addresses"]["edge1"], before["balancer_port"]))
        sock.listen()
        assert own.up() > 0
    assert (own.variables["addresses"], own.variables["balancer_port"]) != (before["addresses"], before["balancer_port"])
    assert all(answers(own, site) for site in SITE_HOSTS)


def test_down_leaves_nothing(own: Lab) -> None:
    variables = own.variables
    own.down()
    assert [own.processes(site) for site in SITE_HOSTS] == [[], [], []]
    assert not own.root.exists()
    ports = [variables["ssh_port"], variables["balancer_port"], *service_ports(own.inventory / "plans")]
    assert all(free(address, port) for address in variables["addresses"].values() for port in ports)
    own.down()
