# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""When a plan is SPLIT_BRAIN, what is told of each side, and how the records come to one owner again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.gate import Decision, decide
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import State, View, derive

from tests.support.world import PLAN, World

OTHER = {"primary": "dr", "dr": "primary"}
SPLITS = ("ran on", "forked")
REASON = {"reason": "its orders were shipped"}


def fresh(name: str) -> World:
    return {"ran on": World.falsely_failed_over, "forked": World.forked}[name](World())


def view(world: World) -> View:
    return derive(PLAN, world.reads())


def decision(world: World, keep: str, **options: Any) -> Decision:
    return decide("resolve", PLAN, view(world), world.reads(), {"keep": keep, **REASON, **options})


# -- when it is one -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPLITS)
def test_it_is_one(name: str) -> None:
    found = view(fresh(name))
    assert (found.state, found.owner) == (State.SPLIT_BRAIN, None)
    assert found.split
    assert View.from_json(found.to_json()) == found


@pytest.mark.parametrize("chapter", ["active", "failed_over", "reversing", "stopped", "released", "offered", "accepted", "decided", "home"])
@pytest.mark.parametrize("runs", [(), ("primary",), ("dr",), ("primary", "dr")], ids=str)
def test_one_owner_is_none_whatever_runs(chapter: str, runs: tuple[str, ...]) -> None:
    world = getattr(World(), chapter)()
    for site in runs:
        world.runs(site)
    ran_on = chapter == "failed_over" and "primary" in runs
    assert (view(world).state is State.SPLIT_BRAIN) == ran_on
    assert (view(world).split is not None) == ran_on


def test_a_site_that_does_not_answer_makes_none() -> None:
    world = World().forked()
    world.dead = {"primary"}
    assert view(world).split is None


def test_a_fork_that_was_resolved_is_past() -> None:
    """Its entries stay in the histories for good; a primary site that has not yet heard of a failover is no split brain by that."""
    world = World().forked()
    resolved(world, "dr")
    world.running = {}
    for site, request in (("witness", "offered"), ("primary", "accepted"), ("witness", "decided")):
        world.ask(site, request, epoch=4, to="primary")
    world.ask("dr", "known", epoch=4, owner="primary")
    for site, request in (("witness", "offered"), ("dr", "accepted"), ("witness", "decided")):
        world.ask(site, request, epoch=5, to="dr", how="attested", by="ann", text="off")
    assert (view(world).state, view(world).owner) == (State.FAILED_OVER, "dr")


# -- what is told ---------------------------------------------------------------------------------------------


def test_what_each_side_has_since_the_common_epoch() -> None:
    world = World().forked()
    world.replication["primary"] = [
        {"volume": "orders", "role": "source", "cycle": 7, "read_started": 90.0, "lag_bytes": 1, "lag_age_s": 1.0}
    ]
    told = view(world).split
    assert told
    assert (told["common"], told["owner"], told["at"]) == (1, "primary", 104.0)
    primary, dr = told["sides"]["primary"], told["sides"]["dr"]
    assert [(each["epoch"], each["how"], each["by"], each["text"]) for each in primary["accepted"]] == [
        (2, "attested", "bob", "amsterdam is off")
    ]
    assert [(each["epoch"], each["how"], each["by"]) for each in dr["accepted"]] == [(2, "attested", "ann")]
    assert [(one["host"], one["name"]) for one in primary["running"]] == [("fra", "orders-db")]
    assert (primary["cycle"], dr["cycle"]) == ({"cycle": 7, "role": "source", "at": 90.0}, None)


def test_sides_that_agree_on_nothing() -> None:
    world = World()
    for site in ("primary", "dr"):
        world.ask(site, "accepted", epoch=3, how="attested", by="ann", text="the other is off")
    told = view(world).split
    assert told
    assert (told["common"], told["owner"], told["at"]) == (0, None, 0.0)


# -- how it is resolved ---------------------------------------------------------------------------------------


def steps(keep: str, epoch: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What roles/move/tasks/resolve.yml asks of the records."""
    lost, to = OTHER[keep], {"epoch": epoch, "to": keep, "owner": keep, "how": "resolved", "by": "ann", "text": "why"}
    yield lost, "draining", {}
    yield lost, "released", {"to": keep}
    yield "witness", "offered", to
    yield keep, "accepted", to
    yield "witness", "decided", to
    yield lost, "known", to


def carry_out(world: World, keep: str, epoch: int, until: int = 6) -> None:
    lost = OTHER[keep]
    world.running.pop(lost, None)
    for at, (site, request, values) in enumerate(steps(keep, epoch)):
        if at >= until:
            return
        if request in ("draining", "released") and not world.record[lost].owns:
            continue
        world.ask(site, request, **values)


def resolved(world: World, keep: str) -> None:
    told = decision(world, keep)
    world.claim("resolve")
    carry_out(world, keep, told.owner_epoch)
    world.finish({"primary": "UNPROTECTED", "dr": "FAILED_OVER"}[keep])


@pytest.mark.parametrize("keep", OTHER)
@pytest.mark.parametrize("name", SPLITS)
def test_one_owner(name: str, keep: str) -> None:
    world = fresh(name)
    resolved(world, keep)
    after = view(world)
    assert (after.state, after.owner, after.epoch, after.run, after.split) == (
        {"primary": State.UNPROTECTED, "dr": State.FAILED_OVER}[keep],
        keep,
        3,
        None,
        None,
    )
    assert (world.record[keep].owns, world.record[OTHER[keep]].owns) == (True, False)
    assert world.record[keep].history[-1]["how"] == "resolved"
    told = decision(world, keep)
    assert (told.proceed, "there is no split brain" in told.reason) == (False, True)
    with pytest.raises(XdrError) as refusal:
        decision(world, OTHER[keep])
    assert refusal.value.code == "wrong_state"


@pytest.mark.parametrize("keep", OTHER)
@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("until", range(7))
def test_a_run_that_was_killed_anywhere_is_finished_by_another(name: str, keep: str, until: int) -> None:
    world = fresh(name)
    first = decision(world, keep)
    world.claim("resolve")
    carry_out(world, keep, first.owner_epoch, until)
    halfway = view(world)
    assert halfway.state is (State.SPLIT_BRAIN if until < 6 else {"primary": State.UNPROTECTED, "dr": State.FAILED_OVER}[keep])
    second = decision(world, keep)
    assert (second.proceed, second.fresh) == (True, False)
    assert second.owner_epoch == first.owner_epoch or until < 3
    world.claim("resolve")
    carry_out(world, keep, second.owner_epoch)
    world.finish({"primary": "UNPROTECTED", "dr": "FAILED_OVER"}[keep])
    assert (view(world).owner, view(world).epoch) == (keep, 3)


@pytest.mark.parametrize("until", [0, 1])
def test_before_a_side_is_given_up_the_other_may_be_chosen(until: int) -> None:
    world = World().forked()
    world.claim("resolve")
    carry_out(world, "dr", 3, until)
    resolved(world, "primary")
    assert view(world).owner == "primary"


@pytest.mark.parametrize("until", range(2, 6))
def test_what_was_given_up_is_not_kept_any_more(until: int) -> None:
    world = World().forked()
    world.claim("resolve")
    carry_out(world, "dr", 3, until)
    with pytest.raises(XdrError, match="frankfurt has been given up already"):
        decision(world, "primary")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"keep": ""}, "which side is kept was not said"),
        ({"keep": "both"}, "which side is kept was not said"),
        ({"keep": "dr", "reason": " "}, "needs a reason"),
    ],
)
def test_what_must_be_said(options: dict[str, str], told: str) -> None:
    world = World().forked()
    with pytest.raises(XdrError, match=told) as refusal:
        decide("resolve", PLAN, view(world), world.reads(), {**REASON, **options})
    assert refusal.value.code == "gate_refused"


@pytest.mark.parametrize("action", ["start", "reverse_replication", "failback", "rollback", "reprotect", "failover", "replicate"])
@pytest.mark.parametrize("until", [None, 2, 4])
def test_nothing_else_begins_meanwhile(action: str, until: int | None) -> None:
    world = World().falsely_failed_over()
    if until is not None:
        world.claim("resolve")
        carry_out(world, "primary", 3, until)
    with pytest.raises(XdrError) as refusal:
        decide(action, PLAN, view(world), world.reads(), {})
    assert refusal.value.code == "wrong_state"


@pytest.mark.parametrize("until", range(1, 6))
def test_the_kept_primary_site_dies_on_the_way(until: int) -> None:
    """A person's word that it is off leads to services at the DR site, as ever; as long as that owns the plan, start does."""
    world = World().forked()
    world.claim("resolve")
    carry_out(world, "primary", 3, until)
    world.dead = {"primary"}
    action = "start" if until == 1 else "failover"
    assert decide(action, PLAN, view(world), world.reads(), {"attestation": "power is off"}).proceed


def test_an_offer_of_the_failover_is_not_taken_for_the_resolution() -> None:
    world = World().active()
    world.dead = {"primary"}
    world.claim("failover")
    for site, request in (("witness", "offered"), ("dr", "accepted")):
        world.ask(site, request, epoch=2, to="dr", how="attested", by="ann", text="off")
    world.dead = set()
    world.runs("primary")
    assert decision(world, "dr").owner_epoch > 2
