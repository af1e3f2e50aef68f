# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

import contextlib
import json

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import Event, Lag, State, View, derive, next_state
from hypothesis import given
from hypothesis import strategies as st

from tests.support.world import PLAN, World


def derived(world: World):
    return derive(PLAN, world.reads())


@pytest.mark.parametrize(
    ("chapter", "state", "owner", "epoch"),
    [
        ("active", State.ACTIVE, "primary", 1),
        ("failed_over", State.FAILED_OVER, "dr", 2),
        ("reversing", State.READY, "dr", 2),
        ("stopped", State.FAILING_BACK, "dr", 2),
        ("released", State.FAILING_BACK, None, 2),
        ("offered", State.FAILING_BACK, None, 2),
        ("accepted", State.FAILING_BACK, "primary", 3),
        ("decided", State.FAILING_BACK, "primary", 3),
        ("home", State.FAILED_BACK, "primary", 3),
    ],
)
def test_state_is_read_from_the_records(chapter: str, state: State, owner: str | None, epoch: int) -> None:
    view = derived(getattr(World(), chapter)())
    assert (view.state, view.owner, view.epoch) == (state, owner, epoch)


def test_new_plan_has_no_owner() -> None:
    view = derived(World())
    assert (view.state, view.owner, view.epoch, view.next_epoch) == (State.UNPROTECTED, None, 0, 1)


@pytest.mark.parametrize(
    ("lag", "state", "shown"),
    [(1000, State.READY, 1000), (1001, State.REVERSING, 1001), ("unknown", State.REVERSING, "unknown"), (0, State.READY, 0)],
)
def test_ready_only_when_the_lag_is_known_and_small(lag: int | str, state: State, shown: int | str) -> None:
    view = derived(World().reversing(lag))
    assert view.state is state
    assert view.to_json()["replication_lag"] == shown


@pytest.mark.parametrize("rows", [[], [{"volume": "orders", "role": "target", "lag_bytes": 0, "lag_age_s": 0.0, "compared": None}]])
def test_lag_is_unknown_where_no_source_tells_it(rows: list[dict[str, object]]) -> None:
    world = World().reversing()
    world.replication["dr"] = rows
    assert derived(world).lag == Lag(None, None)


def test_returned_primary_does_not_own_what_dr_took_over() -> None:
    world = World().failed_over()
    assert world.record["primary"].owns  # it was off and has not heard of epoch 2
    assert derived(world).owner == "dr"


def test_failover_that_stopped_after_the_hand_over_shows_as_failed_over() -> None:
    world = World().active()
    world.dead = {"primary"}
    world.claim("failover")
    world.ask("witness", "offered", epoch=2, to="dr", how="attested", by="ann", text="power is off")
    world.ask("dr", "accepted", epoch=2, how="attested", by="ann", text="power is off")
    assert derived(world).state is State.FAILED_OVER


def test_witness_speaks_for_an_owner_that_does_not_answer() -> None:
    world = World().failed_over()
    world.dead = {"dr"}
    view = derived(world)
    assert (view.owner, view.state, view.unreachable) == ("dr", State.FAILED_OVER, ("ams",))


def test_both_sites_on_one_epoch_is_split_brain() -> None:
    world = World().failed_over()
    world.ask("primary", "accepted", epoch=2, how="attested", by="bob", text="amsterdam is off")
    assert derived(world).state is State.SPLIT_BRAIN


def test_histories_that_part_are_split_brain_whatever_the_epochs() -> None:
    world = World().failed_over()
    world.ask("primary", "accepted", epoch=2, how="attested", by="bob", text="amsterdam is off")
    world.ask("primary", "draining")
    world.ask("primary", "retaken")
    world.ask("dr", "draining")
    world.ask("dr", "released", to="primary")
    world.ask("dr", "retaken", declined_by_other=True, epoch=3)
    assert derived(world).state is State.SPLIT_BRAIN


def test_offer_to_a_site_that_does_not_answer_is_no_owner() -> None:
    world = World().offered()
    world.dead = {"primary"}
    view = derived(world)
    assert (view.state, view.owner) == (State.NO_OWNER, None)


def test_release_that_no_run_works_on_is_no_owner() -> None:
    world = World().released()
    world.all("ended", outcome="failed")
    assert derived(world).state is State.NO_OWNER


def test_unfinished_run_is_seen_with_the_phases_of_every_host() -> None:
    world = World().stopped()
    world.phase("dr", "stop_services/db")
    world.phase("witness", "offer")
    run = derived(world).run
    assert run is not None
    assert set(run["phases"]) == {"stop_services/db", "offer"}
    world.finish("REVERSING", "rolled_back")
    assert derived(world).run is None


def test_an_end_that_only_some_hosts_recorded_does_not_hide_that_the_traffic_moved() -> None:
    world = World().switching()
    world.ask("dr", "marked", status="FAILED_BACK", outcome="ok")
    run = derived(world).run
    assert run is not None
    assert "switch_traffic" in run["phases"]
    world.ask("primary", "marked", status="FAILED_BACK", outcome="ok")
    assert derived(world).run is None


def test_a_claim_that_reached_only_some_hosts_does_not_hide_that_the_traffic_moved() -> None:
    world = World().switching()
    world.ask("dr", "claimed", attempt=(3, 99), run_id="run-99", action="failback", plan_hash="h1", fresh=True)
    run = derived(world).run
    assert run is not None
    assert (run["id"], list(run["phases"])) == ("run-99", ["switch_traffic"])


def test_what_a_host_guesses_of_a_run_that_did_not_claim_it_counts_for_nothing() -> None:
    world = World().active()
    world.dead = {"primary"}
    world.claim("failover")
    world.ask("primary", "claimed", attempt=(1, world.number), run_id=f"run-{world.number}", action="start", fresh=True)
    world.dead = set()
    run = derived(world).run
    assert run is not None
    assert (run["action"], run["plan_hash"]) == ("failover", "h1")


def test_an_offer_that_its_site_has_declined_is_told_as_such() -> None:
    world = World().offered()
    assert (derived(world).offer or {})["declined"] is False
    world.ask("primary", "declined", epoch=3)
    assert (derived(world).offer or {})["declined"] is True


@pytest.mark.parametrize("chapter", ["active", "failed_over", "reversing", "offered", "home"])
def test_a_view_comes_back_from_json(chapter: str) -> None:
    view = derived(getattr(World(), chapter)())
    assert View.from_json({**json.loads(json.dumps(view.to_json())), "volumes": [], "plan": "shop"}) == view


@given(st.sampled_from(State), st.sampled_from(Event))
def test_every_arrow_leads_to_a_state_or_is_refused(state: State, event: Event) -> None:
    with contextlib.suppress(XdrError):
        assert next_state(state, event) in State
        return
    with pytest.raises(XdrError, match=state) as refusal:
        next_state(state, event)
    assert refusal.value.code == "wrong_state"


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_a_plan_comes_home_only_through_failing_back(events: list[Event]) -> None:
    state = State.FAILED_OVER
    for event in events:
        before = state
        try:
            state = next_state(state, event)
        except XdrError:
            continue
        if state is State.FAILED_BACK:
            assert before is State.FAILING_BACK
        if state is State.ACTIVE:
            assert before is State.REPROTECTING
