# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A new controller learns from the sites' records; tests/faults does it over a lab whose controller was lost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from portal import adoption
from portal.store import Store, audit, observations, runs
from portal.store.runs import Run
from tests.support import stores
from tests.support.portal import INVENTORY, PLAN, plan, seen

LEFT = {
    "id": "20261125T010203-failback-abcdef",
    "action": "reverse_replication",
    "attempt": 12,
    "plan_hash": "h",
    "started": 1.9e9,
    "ended": None,
    "outcome": None,
    "phases": {"preflight": {"intent": 1.9e9, "done": None}},
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(stores.opened(tmp_path)) as store:
        yield store


def adopted(store: Store, **told: Any) -> dict[str, Any]:
    [document] = adoption.adopt(store, INVENTORY, {PLAN: plan()}, by="ann", read=lambda name, inventory: seen(**told))
    return document


def test_what_the_sites_say_is_in_the_store_and_in_the_audit_trail(store: Store) -> None:
    document = adopted(store, state="READY")
    assert (document["state"], document["adopted"], document["exit_code"]) == ("READY", "", 0)
    assert document["next"].startswith("frankfurt has nearly everything")
    found = observations.get(store, observations.of_plan(PLAN))
    assert found is not None
    assert (found.document or {})["epoch"] == 4
    [entry] = audit.latest(store)
    assert (entry.who, entry.action, entry.outcome, entry.detail) == ("ann", "adopt", "done", "READY, owner dr, epoch 4")


def test_an_unfinished_run_of_the_lost_controller_is_known_once(store: Store) -> None:
    assert adopted(store, state="FAILING_BACK", run=LEFT)["adopted"] == LEFT["id"]
    run = runs.get(store, str(LEFT["id"]))
    assert (run.ended, run.code, run.action, run.origin, run.requested_at) == (True, "abandoned", "reverse-replication", "adopted", 1.9e9)
    assert "the sites have marked: preflight" in run.error
    assert runs.active(store, PLAN) is None  # it stands in nobody's way
    assert adopted(store, state="FAILING_BACK", run=LEFT)["adopted"] == ""
    assert [one.id for one in runs.latest(store)] == [LEFT["id"]]


def test_a_plan_with_an_active_run_here_is_left_alone(store: Store) -> None:
    runs.request(store, Run("r1", PLAN, "failback", requested_by="ann"))
    document = adopted(store, run=LEFT)
    assert document["exit_code"] == 11
    assert "active run r1 (failback)" in document["error"]
    assert observations.get(store, observations.of_plan(PLAN)) is None
    assert [one.id for one in runs.latest(store)] == ["r1"]
    assert audit.latest(store)[0].outcome == "refused"


def test_hosts_that_tell_nothing_are_no_state(store: Store) -> None:
    document = adopted(store, state="unknown", error="edge1: no answer", exit_code=4)
    assert (document["exit_code"], document["adopted"], document["next"]) == (4, "", "")
    assert observations.get(store, observations.of_plan(PLAN)) is None


def test_what_is_shown(store: Store) -> None:
    console = Console(width=220)
    document = adopted(store, state="FAILING_BACK", run=LEFT)
    with console.capture() as capture:
        console.print(adoption.render([document], {PLAN: {"primary": "frankfurt", "dr": "amsterdam"}}))
    shown = capture.get()
    assert f"adopted run {LEFT['id']}" in shown
    assert "Failback goes on, Rollback undoes it" in shown
