# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A partition of a site that runs a plan with ownership leases: real namespaces, real links, the product as an operator asks it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils import lease

from portal.faults.ground import PLAN, RESOURCES, Ground
from portal.faults.network import CONTROLLER
from portal.lab.inventory import ACCOUNT
from tests.support.labs import named
from tests.support.processes import wait_until

pytestmark = [pytest.mark.namespaces, pytest.mark.lab, pytest.mark.timeout(900)]

PRIMARY = "fra-hv1"
LEASE = "ownership: {lease: {ttl: 24s, loop_wait: 2s, retry_timeout: 6s}}\n"


class Leased(Ground):
    """A plan with leases that runs at home and is protected."""

    def reset_plan(self) -> None:
        super().reset_plan()
        with self.plan_file.open("a", encoding="utf-8") as file:
            file.write(LEASE)

    def begin(self) -> None:
        self.down()
        self.up()
        subprocess.run(["install", "-d", "-m", "0700", "-o", ACCOUNT, "-g", ACCOUNT, str(self.observed)], check=True)
        for action in ("start", "reprotect"):
            self._must(action)

    def services(self, site: str) -> set[str]:
        return {name for name in RESOURCES for _, command in self.processes(site) if f"--name {name} " in command}

    def kept(self) -> list[str]:
        return [part for part in lease.PARTS if lease.is_kept(self.site_dir("primary") / "state", PLAN, part)]

    def said(self) -> str:
        return lease.log_of(self.site_dir("primary") / "state", PLAN).read_text()

    def breaches(self) -> list[Any]:
        lines = [line for file in self.observed.glob("*.jsonl") for line in file.read_text().splitlines()]
        return [event for line in lines if "breach" in line and (event := json.loads(line))]


@pytest.fixture(scope="module")
def ground() -> Iterator[Leased]:
    ground = Leased.create(named("lease"))
    ground.begin()
    try:
        yield ground
    finally:
        ground.down()


def test_what_the_witness_has_granted_is_shown(ground: Leased) -> None:
    [row] = ground.xdr("status", PLAN)["leases"]
    assert (row["host"], row["site"], row["epoch"], row["ttl"]) == (PRIMARY, "primary", 1, 24)


def test_a_site_that_goes_on_renewing_is_not_failed_over_though_the_controller_does_not_reach_it(ground: Leased) -> None:
    ground.network.cut(CONTROLLER, PRIMARY)
    done = ground.xdr("run", "failover", PLAN)
    ground.network.heal()
    assert done["exit_code"] == 10, done["error"]
    assert f"{PRIMARY} goes on renewing its lease at the witness" in done["error"]
    assert ground.services("primary") == set(RESOURCES)


def test_a_partition_ends_in_a_failover_that_nobody_attests(ground: Leased) -> None:
    ground.network.isolate(PRIMARY)
    done = ground.xdr("run", "failover", PLAN)
    assert done["exit_code"] == 0, done["error"]
    assert (ground.services("primary"), ground.services("dr")) == (set(), set(RESOURCES))
    assert done["proof"].startswith("the ownership leases have run out")
    record = ground.record("dr")
    assert record is not None
    assert (record["epoch"], record["owner"], record["history"][-1]["how"]) == (2, "dr", "lease_expired")
    assert record["history"][-1]["text"].startswith(f"the ownership leases have run out at the witness, that of {PRIMARY} at 20")
    assert "are stopped: no renewal for" in ground.said()


def test_nothing_starts_at_the_primary_when_the_partition_heals(ground: Leased) -> None:
    ground.network.heal()
    wait_until(lambda: "dr owns epoch 2" in ground.said(), "the witness refuses a lease", 60)
    wait_until(lambda: not ground.kept(), f"the keepers have ended; {ground.said()}", 60)
    control = [*ground._on(PRIMARY), "/usr/bin/supervisorctl", "-c", str(ground.site_dir("primary") / "supervisord.conf")]
    subprocess.run([*control, "start", "orders-db"], capture_output=True, timeout=30, check=False)
    wait_until(lambda: not ground.services("primary"), "the start guard refuses", 30)
    log = (ground.site_dir("primary") / "log" / "orders-db.log").read_text()
    assert "primary does not own the plan: dr owns epoch 2" in log.splitlines()[-1]
    assert ground.services("dr") == set(RESOURCES)
    assert not ground.breaches()
