# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A host that holds an ownership lease: the real agent under a real supervisord, with a real witness behind a real sshd."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils import lease, lease_grants, lease_keeper
from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import Refused
from ansible_collections.xdr.failback.plugins.module_utils.ownership import check_fenced, perform
from ansible_collections.xdr.failback.plugins.module_utils.running import living_marks
from ansible_collections.xdr.failback.plugins.module_utils.site import load_plan
from ansible_collections.xdr.failback.plugins.plugin_utils.agent_archive import build

from tests.support.processes import free_port, wait_until
from tests.support.site_host import ModuleCaller, SiteHost, site_host
from tests.support.sshd import Sshd, sshd
from tests.support.supervisord import Supervisord, supervisord_folder

PYTHON = "/usr/bin/python3"
STOP = 1
TERMS = {"ttl": lease.shortest_ttl(1, 2, STOP) + 1, "loop_wait": 1, "retry_timeout": 2, "stop_timeout": STOP}
STUBBORN = "exec 9>>{volume}; trap '' TERM; setsid /bin/sleep 600 & while :; do /bin/sleep 600; done"
PROGRAMS = {"db": "/bin/sleep 600", "stubborn": f'/bin/sh -c "{STUBBORN}"'}  # that one and its children hold a volume


def command_line(pid: int) -> bytes:
    """As of a guard where it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b"\0guard\0"


class Site:
    """A host of the primary site with two instances, and its witness."""

    def __init__(self, server: Supervisord, host: SiteHost, witness: SiteHost, sshd: Sshd) -> None:
        self.server, self.host, self.witness, self._sshd = server, host, witness, sshd
        self.instances = {name: {"driver": "supervisor", "group": "g", "priority": 1, "stop_timeout": STOP} for name in PROGRAMS}
        volume = {"driver": "delta", "resource": "stubborn", "group": "g", "unit": "stubborn", "peer": "hv2"}
        self.volumes = {"orders": {**volume, "path": str(host.state_dir / "orders.img")}}
        self.heal()
        self.leased()

    def leased(self) -> None:
        self.host.write_plan(instances=self.instances, volumes=self.volumes, lease=TERMS)
        self.witness.write_plan(lease={**TERMS, "hosts": ["hv1"]})

    def cut(self, **fields: Any) -> None:
        """The witness cannot be reached any more."""
        self._peer({**self._sshd.peer(), "port": free_port()}, **fields)

    def heal(self) -> None:
        self._peer(self._sshd.peer())

    def _peer(self, peer: dict[str, Any], **fields: Any) -> None:
        self.host.write_site(peers={"w1": peer}, supervisor_socket=str(self.server.socket), **fields)

    def start(self, *names: str) -> None:
        for name in names:
            self.server.control("start", name)
        self.run(*names)

    def run(self, *names: str) -> None:
        wait_until(lambda: set(names) <= self.become(), f"{names} run; {self.log()}")

    def become(self) -> set[str]:
        """Of those that run, those whose guard has handed over: it marks itself before it looks at the lease for the last time."""
        marks = living_marks(self.host.state_dir, "webshop", PROGRAMS)
        return {name for name, mark in marks.items() if b"\0guard\0" not in command_line(mark.pid)}

    def running(self) -> set[str]:
        return set(living_marks(self.host.state_dir, "webshop", PROGRAMS))

    def stopped_in_time(self) -> None:
        """Nothing runs any more, and the witness did not hold the lease for run out before that."""
        while True:
            left = lease_grants.read_grants(self.witness.state_dir, "webshop")["hv1"].left
            if not self.running():  # looked at after the witness's clock
                return
            assert left, f"{self.running()} run, and the lease has run out; {self.log()}"
            time.sleep(0.02)

    def is_fenced(self) -> bool:
        with contextlib.suppress(Refused):
            check_fenced(self.host.state_dir, load_plan(self.host.state_dir, "webshop"))
            return True
        return False

    def keeper(self, part: str) -> int:
        wait_until(lambda: lease.is_kept(self.host.state_dir, "webshop", part), f"part {part} is at work; {self.log()}")
        return int(lease.slot_of(self.host.state_dir, "webshop", part).read_text() or 0)

    def kept(self) -> list[str]:
        return [part for part in lease.PARTS if lease.is_kept(self.host.state_dir, "webshop", part)]

    def offer(self) -> None:
        """The failover's offer at the witness."""
        request = {"request": "offered", "epoch": 2, "to": "dr", "how": "lease_expired"}
        perform(self.witness.state_dir, "webshop", (1, 1), request, run_id="r")

    def log(self) -> str:
        path = lease.log_of(self.host.state_dir, "webshop")
        return path.read_text() if path.exists() else ""

    def end(self) -> None:
        self.host.write_plan()  # without instances and lease
        for part in self.kept():
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(lease.slot_of(self.host.state_dir, "webshop", part).read_text()), signal.SIGKILL)
        wait_until(lambda: not self.kept(), "the keepers are gone")


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "xdr-site-agent.pyz"
    path.write_bytes(build().content)
    return path


@pytest.fixture(scope="module")
def witness_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("witness")


@pytest.fixture(scope="module")
def witness_sshd(agent: Path, witness_folder: Path) -> Iterator[Sshd]:
    with sshd(witness_folder / "sshd", forced_command=f"{PYTHON} {agent} ssh --state-dir {witness_folder / 'state'}") as server:
        yield server


@pytest.fixture
def site(agent: Path, witness_folder: Path, witness_sshd: Sshd) -> Iterator[Site]:
    witness = site_host(witness_folder / "state", site="witness")
    witness.write_record(owner="primary", standing="none")
    (witness.plan_dir / "leases.json").unlink(missing_ok=True)
    with supervisord_folder() as server:
        host = site_host(server.folder / "state")
        words = f"{PYTHON} {agent} guard --state-dir {host.state_dir} --plan webshop --instance"
        for name, program in PROGRAMS.items():
            server.program(name, f"{words} {name} -- {program.format(volume=host.state_dir / 'orders.img')}", stopwaitsecs="120")
        site = Site(server, host, witness, witness_sshd)
        with server.started():
            try:
                yield site
            finally:
                site.end()


def test_nothing_runs_any_more_when_the_lease_has_run_out_and_nothing_starts_after_the_failover(site: Site) -> None:
    site.start(*PROGRAMS)
    assert set(site.kept()) == set(lease.PARTS)
    with pytest.raises(Refused, match="the lease of hv1 runs for another"):
        site.offer()
    site.cut()
    site.stopped_in_time()
    assert "db, stubborn are stopped: no renewal for" in site.log()
    assert "what still runs of stubborn is killed" in site.log()
    wait_until(site.is_fenced, "none of its children holds the volume")
    wait_until(lambda: not lease_grants.read_grants(site.witness.state_dir, "webshop")["hv1"].left, "the lease has run out")
    site.offer()
    site.heal()
    wait_until(lambda: "epoch 2 was offered to dr" in site.log(), "the witness refuses")
    site.server.control("start", "db")
    wait_until(lambda: "EXITED" in site.server.control("status", "db"), "the guard refuses")
    assert not site.running()


def test_it_starts_again_what_it_has_stopped_with_the_next_lease(site: Site) -> None:
    site.start("db")
    site.cut()
    site.stopped_in_time()
    site.heal()
    site.run("db")
    assert site.running() == {"db"}
    assert "a new lease: db are started again" in site.log()


def test_what_is_left_by_a_frozen_keeper_is_killed_by_the_other(site: Site) -> None:
    site.start("db")
    frozen = site.keeper(lease.RENEW)
    os.kill(frozen, signal.SIGSTOP)
    try:
        site.stopped_in_time()
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert "what still runs of db is killed" in site.log()


@pytest.mark.parametrize("part", lease.PARTS)
def test_a_keeper_that_dies_is_started_by_the_other(site: Site, part: str) -> None:
    site.start("db")
    dead = site.keeper(part)
    os.kill(dead, signal.SIGKILL)
    wait_until(lambda: site.keeper(part) not in (dead, 0), "another one is at work")
    site.cut()
    site.stopped_in_time()


def test_the_guard_starts_nothing_that_the_witness_grants_no_lease_for(site: Site) -> None:
    """Another instance runs already, so the guard itself does not ask for the newest epoch."""
    site.start("stubborn")
    site.cut()
    site.witness.write_record(
        owner="primary", standing="none", offer={"epoch": 2, "to": "dr", "decided": False, "at": 1.0, "how": "attested"}
    )
    site.heal()
    site.stopped_in_time()
    assert "db" not in site.running()
    site.server.control("start", "db")
    wait_until(lambda: "EXITED" in site.server.control("status", "db"), "the guard refuses")
    said = site.server.control("tail", "db", "stderr")
    assert "was offered to dr, which may have accepted it" in said


def test_without_the_witness_the_guard_waits_whatever_is_said_of_a_boot_without_it(site: Site) -> None:
    site.cut(boot_without_witness="start")
    site.server.control("start", "db")
    waits = "Waiting for an ownership lease from the witness w1"
    wait_until(lambda: waits in site.server.control("tail", "db", "stderr"), "the guard says that it waits")
    assert not site.running()


def test_instances_that_run_when_the_plan_gets_a_lease_are_covered_from_the_next_claim_on(
    site: Site, agent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.host.write_plan(instances=site.instances)
    site.start("db")
    assert not site.kept()
    place = site.host.state_dir / "agent" / "xdr-site-agent.pyz"
    place.parent.mkdir()
    place.write_bytes(agent.read_bytes())
    document = {**read_json(site.host.plan_dir / "plan.json"), "lease": TERMS}
    claimed = ModuleCaller(capsys)("xdr_ownership", site.host.changing(state="claimed", action="replicate", document=document))
    assert claimed["registration_changed"]
    wait_until(lambda: bool(lease_grants.read_grants(site.witness.state_dir, "webshop")), f"it is granted; {site.log()}")
    site.cut()
    site.stopped_in_time()


def test_a_witness_that_is_not_there_when_the_plan_gets_a_lease_stops_nothing(site: Site, agent: Path) -> None:
    site.host.write_plan(instances=site.instances)
    site.start("db")
    site.leased()
    site.cut()
    place = site.host.state_dir / "agent" / "xdr-site-agent.pyz"
    place.parent.mkdir()
    place.write_bytes(agent.read_bytes())
    lease_keeper.ensure_running(site.host.state_dir, "webshop")
    wait_until(lambda: "no connection" in site.log(), f"it is not reached; {site.log()}")
    assert lease.read_held(site.host.state_dir, "webshop") is None
    assert site.running() == {"db"}


def test_a_plan_whose_lease_is_taken_away_gives_it_back(site: Site) -> None:
    site.start("db")
    site.host.write_plan(instances=site.instances)
    wait_until(lambda: not lease.path_of(site.host.state_dir, "webshop").exists(), f"it is given back; {site.log()}")
    assert not lease_grants.read_grants(site.witness.state_dir, "webshop")
    wait_until(lambda: not site.kept(), "the keepers have ended")
    assert site.running() == {"db"}


def test_a_start_after_the_lease_was_taken_away_gives_back_what_the_host_still_holds_to(site: Site) -> None:
    """Its keepers had ended before that, and the file was left."""
    site.start("db")
    site.server.control("stop", "db")
    for part in site.kept():
        os.kill(site.keeper(part), signal.SIGKILL)
    wait_until(lambda: not site.kept(), "the keepers are gone")
    held = lease.read_held(site.host.state_dir, "webshop")
    assert held
    lease.write_held(site.host.state_dir, "webshop", replace(held, counted=held.counted - held.terms.ttl))
    site.host.write_plan(instances=site.instances)
    site.start("db")
    assert lease.read_held(site.host.state_dir, "webshop") is None
    wait_until(lambda: not site.kept(), "the keepers have ended")


def test_what_is_no_answer_of_the_witness_is_none(site: Site) -> None:
    """The witness has lost its disk: it knows no epoch."""
    (site.witness.plan_dir / "ownership.json").unlink()
    site.server.control("start", "db")
    wait_until(lambda: "knows no epoch of the plan" in site.server.control("tail", "db", "stderr"), "the guard waits")
    assert not site.running()
    assert json.loads(site.host.plan_dir.joinpath("plan.json").read_text())["lease"] == TERMS


def test_a_registration_that_is_damaged_meanwhile_keeps_nothing_alive(site: Site) -> None:
    site.start("db")
    (site.host.plan_dir / "plan.json").write_text("{")
    site.cut()
    site.stopped_in_time()
