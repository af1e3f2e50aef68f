# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Every order in which messages, deaths, cuts and boots can happen, up to a bound; and bugs that are put in to be found.

By hand, deeper: ``XDR_MODEL=away:2:2:2`` (where it begins, faults, runs, runs at the same time; several with commas).
"""

from __future__ import annotations

import os
from unittest.mock import patch

import pytest
from ansible_collections.xdr.failback.plugins.module_utils import seal
from ansible_collections.xdr.failback.plugins.plugin_utils import resolution

from tests.model import promises, seeded
from tests.model.course import Course
from tests.model.leases import runs_out
from tests.model.machine import KEEPS, NAMES, PLAN, Bounds, Machine
from tests.model.search import Found, search
from tests.model.world import DR, HOSTS, PRIMARY, WITNESS, World

STORY = {"home": ("start", "reprotect"), "away": ("start", "reprotect", "failover", "reverse_replication")}
IN_CI = ("away:1:1:1", "home:0:2:2", "home:1:2:1", "away:2:1:1")


def begin(machine: Machine, where: str) -> World:
    world = machine.new()
    for action in STORY[where]:
        after = machine.calm(world, action)
        assert after is not None, f"{action} is refused"
        world = after
        if action == "reprotect":
            machine.backup = world.hosts[WITNESS].record
    return world._replace(faults=machine.bounds.faults, starts=machine.bounds.starts)


def explore(told: str, **changes: object) -> Found:
    where, faults, starts, alive = told.split(":")
    machine = Machine(Bounds(int(faults), int(starts), int(alive))._replace(**changes))  # type: ignore[arg-type]
    return search(machine, [begin(machine, where)])


@pytest.mark.parametrize("bounds", IN_CI)
def test_no_promise_is_broken(bounds: str) -> None:
    found = explore(bounds)
    assert not found.breach, found.told()
    assert found.whole
    print(f"{bounds}: {found.states} states, depth {found.depth}")


@pytest.mark.parametrize("bounds", ["home:1:1:1", "away:1:1:1", "home:2:1:1"])
def test_no_promise_is_broken_with_leases(bounds: str) -> None:
    """A failover of a site that is cut off, and runs on until its lease runs out, with nobody's word for it."""
    found = explore(bounds, leases=True)
    assert not found.breach, found.told()
    assert found.whole
    print(f"{bounds} with leases: {found.states} states, depth {found.depth}")


@pytest.mark.timeout(0)
@pytest.mark.parametrize("bounds", [each for each in os.environ.get("XDR_MODEL", "").split(",") if each])
def test_no_promise_is_broken_by_hand(bounds: str) -> None:
    test_no_promise_is_broken(bounds)


@pytest.mark.parametrize("policy", ["hold", "commit"])
def test_no_promise_is_broken_with_another_policy(policy: str) -> None:
    found = explore("away:1:1:1", policy=policy)
    assert not found.breach, found.told()
    assert found.whole


@pytest.mark.parametrize("bounds", ["away:1:1:1", "home:1:2:1"])
def test_no_promise_is_broken_by_a_witness_from_a_backup(bounds: str) -> None:
    found = explore(bounds, restored=True)
    assert not found.breach, found.told()
    assert found.whole


@pytest.mark.parametrize(
    ("seed", "bounds", "breach"),
    [
        (seeded.attempts_are_not_compared, "away:0:2:2", "carries out a request of attempt"),
        (seeded.release_without_a_fence, "away:1:1:1", "without what clients wrote"),
        (seeded.guard_starts_beside_an_open_offer, "home:1:1:1", "both sites may run"),
        (seeded.declined_epoch_is_used_again, "away:1:1:1", "holds for declined"),
        (seeded.rollback_after_the_traffic_moved, "away:1:1:1", "without what clients wrote"),
        (seeded.undone_though_the_other_site_may_have_accepted, "away:1:1:1", "holds for declined"),
        (seeded.claims_do_not_look_again, "away:1:2:1", "holds for declined"),
        (seeded.witness_does_not_hear_before_the_way_back, "away:1:1:1", "a dead end"),
        (seeded.nobody_hears_later_of_the_hand_over, "away:1:2:1", "was told that a move has ended"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_seeded_bug_is_found(seed: seeded.Seed, bounds: str, breach: str) -> None:
    with seed():
        found = explore(bounds)
    print(found.told())
    assert breach in found.breach
    assert found.trace


def test_a_witness_from_a_backup_that_is_believed_is_found() -> None:
    with patch.object(seal, "RESTORED", ""):
        found = explore("home:2:1:1", restored=True)
    print(found.told())
    assert found.breach == "both sites may run the plan's instances"


@pytest.mark.parametrize(
    "seed",
    [seeded.leases_are_granted_beside_an_open_offer, seeded.leases_are_not_looked_at_with_the_offer],
    ids=lambda value: value.__name__,
)
def test_a_seeded_bug_of_leases_is_found(seed: seeded.Seed) -> None:
    with seed():
        found = explore("home:1:1:1", leases=True)
    print(found.told())
    assert found.breach == "both sites may run the plan's instances"
    assert any("lease of primary runs out" in step for step in found.trace)


def test_a_failover_by_leases_is_among_what_is_tried() -> None:
    machine = Machine(Bounds(leases=True))
    home = begin(machine, "home")
    assert home.lease == 1
    cut = home.with_host(PRIMARY, power="cut")
    assert machine.calm(cut, "failover") is None
    [(_, out)] = runs_out(cut)
    over = machine.calm(out, "failover")
    assert over is not None
    assert [over.hosts[DR].running, over.hosts[PRIMARY].running] == [True, False]
    assert machine.hosts.record[over.hosts[DR].record].epoch == 2


def test_a_false_attestation_is_not_survived() -> None:
    """What is not promised: the primary is said to be off and runs."""
    found = explore("home:1:1:1", true_attestation=False)
    print(found.told())
    assert found.breach == "both sites may run the plan's instances"


def divided(machine: Machine) -> World:
    """The false attestation has done its harm: both sites run."""
    world = begin(machine, "home")
    world = world.with_host(PRIMARY, power="cut")
    after = machine.calm(world._replace(starts=1000), "failover", attested=True)
    assert after is not None
    assert after.hosts[PRIMARY].running
    assert after.hosts[DR].running
    return after.with_host(PRIMARY, power="up")._replace(faults=machine.bounds.faults, starts=machine.bounds.starts)


def test_a_split_brain_is_resolved_whatever_happens_on_the_way() -> None:
    machine = Machine(Bounds(faults=1, starts=2, alive=1, resolves=True))
    found = search(machine, [divided(machine)], check=lambda machine, world: promises.check_resolution(machine, world, 2))
    print(found.told())
    assert not found.breach
    assert found.whole


def test_a_resolution_that_takes_no_newer_epoch_is_found() -> None:
    machine = Machine(Bounds(faults=0, starts=1, alive=1, resolves=True))
    with patch.object(resolution, "owner_epoch", lambda plan, view, reads, keep: view.epoch):
        found = search(machine, [divided(machine)], check=lambda machine, world: promises.check_resolution(machine, world, 2))
    assert "a dead end" in found.breach


@pytest.mark.parametrize("keep", KEEPS)
def test_the_side_that_is_kept_owns_the_plan_and_runs_alone(keep: str) -> None:
    machine = Machine(Bounds(resolves=True))
    after = machine.calm(divided(machine)._replace(starts=1000), "resolve", keep=keep)
    assert after is not None
    assert [site for site, host in zip(HOSTS, after.hosts, strict=True) if host.running] == [keep]
    assert {machine.hosts.record[host.record].owner for host in after.hosts} == {keep}
    assert after.traffic == HOSTS.index(keep)
    assert machine.calm(after, "resolve", keep=keep) is None


def test_the_model_moves_a_plan_there_and_back() -> None:
    machine = Machine(Bounds())
    away = begin(machine, "away")
    home = machine.calm(away, "failback")
    assert home is not None
    assert [away.hosts[DR].running, away.hosts[PRIMARY].running] == [True, False]
    assert [home.hosts[DR].running, home.hosts[PRIMARY].running] == [False, True]
    assert machine.calm(home, "failback") is None


def test_the_steps_are_those_of_the_roles() -> None:
    view = {"state": "READY", "owner": "dr", "epoch": 2, "next_epoch": 3, "offer": None, "unreachable": [], "compared": True}
    gate: dict[str, object] = {"enter": "stop", "fresh": True, "claims": True, "claim_as": "failback", "vouch": False, "undo": "retake"}
    gate["xdr_view"] = {**view, "standing": {"primary": "none"}, "serial": 0}
    facts = {"gate_result": gate, "gate_read": {}, "move_retaken": {"record": {"epoch": 0}}, "xdr_attestation": ""}
    steps = Course("failback", PLAN, dict(zip(HOSTS, NAMES, strict=True)), facts).steps()
    assert [step.name.split(" ")[0] for step in steps] == [
        "Claim",
        *("preflight", "stop_services", "release", "final_sync", "hand_over", "hand_over", "hand_over"),
        *("start_instances", "health_checks", "switch_traffic", "switch_traffic", "switch_traffic", "Decide"),
    ]
    assert [site for site, _ in steps[7].asks] == ["dr", "witness"]
