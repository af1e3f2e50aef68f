# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What may be skipped: by table, over every phase that a move can stop in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.plugin_utils.skip import NEVER, NOT_FAILED, skippable
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import State, View, derive

from tests.support.world import PLAN, World

OPEN, DONE = {"intent": 1.0, "done": None}, {"intent": 1.0, "done": 2.0}
STARTED = {"start_instances/db": DONE, "start_instances/web": DONE}
HOME: dict[str, Any] = {"state": State.HALTED, "owner": "primary"}
AWAY: dict[str, Any] = {"state": State.FAILING_BACK, "owner": "dr"}
BACK: dict[str, Any] = {"state": State.ROLLING_BACK, "owner": "dr"}


def view(phases: dict[str, Any], action: str = "failback", **values: Any) -> View:
    run = {"id": "r", "action": action, "phases": phases}
    return replace(derive(PLAN, World().decided().reads()), **{**HOME, **values, "run": run})


@pytest.mark.parametrize(
    ("phases", "values", "groups"),
    [
        ({**STARTED, "health_checks/db": DONE, "health_checks/web": OPEN}, HOME, ("web",)),
        ({**STARTED, "health_checks/db": OPEN, "health_checks/web": OPEN}, HOME, ("db", "web")),
        ({**STARTED, "health_checks/db": OPEN}, {**HOME, "state": State.FAILING_BACK}, ("db",)),  # its worker died before it was held
        ({**STARTED, "health_checks/db": OPEN, "start_instances/web": OPEN}, HOME, ("db",)),  # web is started again
        ({**STARTED, "health_checks/db": OPEN, "switch_traffic": OPEN}, HOME, ("db",)),  # and the traffic is switched again
        ({**STARTED, "health_checks/web": OPEN}, BACK, ("web",)),
        ({**STARTED, "health_checks/web": OPEN}, {**BACK, "action": "rollback"}, ("web",)),
    ],
)
def test_health_checks_of_what_was_started_may_be_skipped(phases: dict[str, Any], values: dict[str, Any], groups: tuple[str, ...]) -> None:
    assert skippable(view(phases, **values)).groups == groups


@pytest.mark.parametrize(
    ("phases", "values", "because"),
    [
        ({"stop_services/db": OPEN}, AWAY, "A stop is never skipped"),
        ({"stop_services/db": DONE, "release": OPEN}, AWAY, "The release is never skipped"),
        ({"release": DONE, "final_sync": OPEN}, AWAY, "The final sync is never skipped"),
        ({"final_sync": DONE, "verify": OPEN}, AWAY, "The verification is never skipped"),
        ({"verify": DONE, "offer": OPEN}, AWAY, "The hand-over is never skipped"),
        ({"offer": DONE, "accept": OPEN}, AWAY, "The hand-over is never skipped"),
        ({"accept": DONE, "decide": OPEN}, HOME, "The hand-over is never skipped"),
        ({"start_instances/db": OPEN}, HOME, "A start is never skipped"),
        ({"start_instances/db": OPEN, "health_checks/db": OPEN}, HOME, "A start is never skipped"),  # it was checked in an earlier try
        ({"start_instances/db": OPEN}, BACK, "A start is never skipped"),
        ({**STARTED, "health_checks/db": DONE, "switch_traffic": OPEN}, HOME, "The switch of the traffic is never skipped"),
        ({**STARTED, "health_checks/db": OPEN}, {**HOME, "owner": "dr"}, NOT_FAILED),
        ({**STARTED, "health_checks/db": OPEN}, {**BACK, "owner": None}, NOT_FAILED),
        ({**STARTED, "health_checks/db": OPEN}, {**HOME, "action": "failover"}, "No failback or rollback is open"),
        (STARTED, HOME, NOT_FAILED),
        ({}, HOME, NOT_FAILED),
    ],
)
def test_nothing_else_may(phases: dict[str, Any], values: dict[str, Any], because: str) -> None:
    told = skippable(view(phases, **values))
    assert told.groups == ()
    assert because in told.refused


def test_without_a_run_there_is_nothing_to_skip() -> None:
    assert skippable(derive(PLAN, World().home().reads())).refused == "No failback or rollback is open"


@pytest.mark.parametrize("kind", NEVER)
def test_whatever_else_is_open_alone_is_never_skipped(kind: str) -> None:
    for where in (HOME, AWAY, BACK):
        for phase in (kind, f"{kind}/db"):
            assert skippable(view({phase: OPEN}, **where)).groups == ()
