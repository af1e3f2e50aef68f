# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Every order in which messages, deaths, cuts and boots can happen, up to a bound; and bugs that are put in to be found.

By hand, deeper: ``XDR_MODEL=away:2:2:2`` (where it begins, faults, runs, runs at the same time; several with commas).
"""

from __future__ import annotations

import os

import pytest

from tests.model import seeded
from tests.model.course import Course
from tests.model.leases import runs_out
from tests.model.machine import NAMES, PLAN, Bounds, Machine
from tests.model.search import Found, search
from tests.model.world import DR, HOSTS, PRIMARY, World

STORY = {"home": ("start", "reprotect"), "away": ("start", "reprotect", "failover", "reverse_replication")}
IN_CI = ("away:1:1:1", "home:0:2:2", "home:1:2:1", "away:2:1:1")


def begin(machine: Machine, where: str) -> World:
    world = machine.new()
    for action in STORY[where]:
        after = machine.calm(world, action)
        assert after is not None, f"{action} is refused"
        world = after
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
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_seeded_bug_is_found(seed: seeded.Seed, bounds: str, breach: str) -> None:
    with seed():
        found = explore(bounds)
    print(found.told())
    assert breach in found.breach
    assert found.trace


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
    gate = {"enter": "stop", "fresh": True, "claims": True, "undo": "retake", "xdr_view": {**view, "standing": {"primary": "none"}}}
    facts = {"gate_result": gate, "gate_read": {}, "move_retaken": {"record": {"epoch": 0}}, "xdr_attestation": ""}
    steps = Course("failback", PLAN, dict(zip(HOSTS, NAMES, strict=True)), facts).steps()
    assert [step.name.split(" ")[0] for step in steps] == [
        "Claim",
        *("preflight", "stop_services", "release", "final_sync", "hand_over", "hand_over", "hand_over"),
        *("start_instances", "health_checks", "switch_traffic", "switch_traffic", "switch_traffic", "Decide"),
    ]
    assert [site for site, _ in steps[7].asks] == ["dr", "witness"]
