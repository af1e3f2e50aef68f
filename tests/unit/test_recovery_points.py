# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A failover that goes back to a chosen recovery point: which volumes have it, and what is refused before anything is stopped."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils import recovery_points
from ansible_collections.xdr.failback.plugins.plugin_utils.gate import Decision, decide
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import derive

from tests.support.world import PLAN, World

GROUPS: dict[str, Any] = {
    "name": "shop",
    "start_order": [
        {"name": "db", "consistency_group": True, "resources": [{"volumes": [{"name": "orders"}]}, {"volumes": [{"name": "customers"}]}]},
        {"name": "web", "resources": [{"volumes": [{"name": "cart"}]}, {"volumes": []}]},
    ],
}


def row(volume: str, *points: str, role: str = "target") -> dict[str, Any]:
    return {"volume": volume, "role": role, "recovery_points": [{"name": point} for point in points]}


def test_what_may_be_chosen_is_what_all_volumes_of_a_moment_have() -> None:
    rows = [
        row("orders", "before-reverse", "cycle-9", "cycle-10"),
        row("customers", "before-reverse", "cycle-10", "cycle-8"),
        row("cart", "cycle-11"),
        row("orders", "cycle-12", role="source"),
    ]
    assert recovery_points.choosable(GROUPS, rows) == ["cycle-11", "cycle-10", "before-reverse"]
    assert recovery_points.choosable(GROUPS, [row("orders"), row("customers"), row("cart")]) == []


@pytest.mark.parametrize(
    ("rows", "point", "having"),
    [
        ([row("orders", "cycle-1"), row("customers", "cycle-1"), row("cart")], "cycle-1", ["orders", "customers"]),
        ([row("orders"), row("customers"), row("cart", "cycle-1")], "cycle-1", ["cart"]),
        ([row("orders", role="none"), row("customers", "cycle-1"), row("cart")], "cycle-1", ["customers"]),  # a failover that goes on
        ([row("orders", role="none"), row("customers", role="none"), row("cart", role="none")], "cycle-1", []),
    ],
)
def test_volumes_that_go_back(rows: list[dict[str, Any]], point: str, having: list[str]) -> None:
    recovery_points.check(GROUPS, rows, point)
    assert recovery_points.volumes_with(rows, point) == having
    assert recovery_points.volumes_with(rows, "") == []


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([row("orders", "cycle-10", "cycle-9"), row("customers"), row("cart")], "Known are: cycle-9, cycle-10; nothing was changed"),
        ([row("orders"), row("customers"), row("cart")], "Known are: none"),
        (
            [row("orders", "cycle-1", "cycle-2"), row("customers", "cycle-2"), row("cart", "cycle-1")],
            "orders .* customers.* Both have: cycle-2",
        ),
    ],
)
def test_a_point_that_cannot_be_had(rows: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(XdrError, match=says) as refusal:
        recovery_points.check(GROUPS, rows, "cycle-1")
    assert refusal.value.code == "gate_refused"


def failover(world: World, point: str) -> Decision:
    reads = world.reads()
    return decide("failover", PLAN, derive(PLAN, reads), reads, {"recovery_point": point, "attestation": "off" if world.dead else ""})


@pytest.mark.parametrize("dead", [set(), {"primary"}])
def test_the_gate_knows_the_points(dead: set[str]) -> None:
    world = World().active()
    world.dead = dead
    world.replication["dr"][0]["recovery_points"] = [{"name": "cycle-3"}]
    assert failover(world, "cycle-3").proceed
    with pytest.raises(XdrError, match="Known are: cycle-3"):
        failover(world, "cycle-4")
    assert failover(world, "").proceed


def test_a_failover_that_is_done_has_nothing_to_go_back_to() -> None:
    assert not failover(World().failed_over(), "cycle-3").proceed
