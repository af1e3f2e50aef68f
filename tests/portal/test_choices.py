# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Which button may be pressed, and the reason where it may not."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import State

from portal import choices
from portal.choices import Active, Choice
from portal.store.accounts import Role
from portal.store.runs import Run
from tests.support.portal import plan, seen

MAY = {  # what dr-admin may start, by what was seen of the plan
    "new": (seen("UNPROTECTED", None, epoch=0, lag="unknown", age="unknown"), {"start"}),
    "active": (seen("ACTIVE", "primary"), {"start", "replicate", "failover"}),
    "failed over": (seen("FAILED_OVER", "dr", lag="unknown", age="unknown"), {"start", "reverse-replication"}),
    "reversing": (seen("REVERSING", lag=1, compared=False), {"start", "reverse-replication", "failback", "replicate"}),
    "behind": (seen("REVERSING", lag=1 << 30), {"start", "replicate"}),
    "lag unknown": (seen("REVERSING", lag="unknown"), {"start", "replicate"}),
    "ready": (seen("READY"), {"start", "failback", "replicate"}),
    "failing back, its run ended": (seen("FAILING_BACK"), {"failback", "rollback"}),
    "halted": (seen("HALTED", "primary"), {"failback", "rollback"}),
    "rolling back": (seen("ROLLING_BACK"), {"rollback"}),
    "home": (seen("FAILED_BACK", "primary"), {"start", "reprotect"}),
    "unprotected": (seen("UNPROTECTED", "primary"), {"start", "reprotect"}),
    "split brain": (seen("SPLIT_BRAIN", None), set()),
    "no owner": (seen("NO_OWNER", None), set()),
    "nothing known": ({"state": "unknown"}, {"start"}),
}
ALWAYS = {"verify-primary"}


def of(document: dict[str, Any] | None, role: Role = Role.dr_admin, active: Active | None = None) -> dict[str, Choice]:
    return {choice.action: choice for choice in choices.choices(plan(), document, active, role)}


@pytest.mark.parametrize("name", MAY)
def test_the_ttl_is_for_plans_with_dns_records(name: str) -> None:
    assert not set(choices.OF_DNS) & set(of(MAY[name][0]))
    record = {"name": "www", "record": "www", "zone": "shop.example.", "host": plan()["witness"]}
    with_dns = {**plan(), "traffic": {"load_balancers": [], "dns": [record]}}
    found = {choice.action: choice for choice in choices.choices(with_dns, MAY[name][0], None, Role.operator)}
    settled = {"active", "failed over", "reversing", "behind", "lag unknown", "ready", "home", "unprotected"}
    assert {action for action in choices.OF_DNS if not found[action].refused} == (set(choices.OF_DNS) if name in settled else set())
    assert "www (shop.example)" in found["lower-ttl"].told


def run(action: str = "failback", **values: Any) -> Run:
    return Run("r1", "webshop", action, status="running", requested_by="otto", **values)


@pytest.mark.parametrize("name", MAY)
def test_what_the_state_allows(name: str) -> None:
    document, expected = MAY[name]
    found = of(document)
    allowed = {action for action, choice in found.items() if not choice.refused}
    assert allowed - ALWAYS == expected
    assert allowed >= ALWAYS
    assert all(choice.told for choice in found.values())


@pytest.mark.parametrize(
    ("name", "action", "reason"),
    [
        ("active", "failback", "Nothing to do: the plan is home already"),
        ("active", "reprotect", "Nothing to do: the plan is protected already"),
        ("failed over", "failback", "Failback is not possible in state FAILED_OVER. Reverse replication first"),
        ("behind", "failback", "Replication_lag is 1073741824 bytes, more than ready_below"),
        ("lag unknown", "failback", "Replication_lag is unknown. Run a replication cycle"),
        ("ready", "reverse-replication", "Nothing to do: replication is reversed already"),
        ("ready", "failover", "Nothing to do: the DR site owns the plan already"),
        ("split brain", "start", "Start is not possible in state SPLIT_BRAIN"),
        ("nothing known", "failback", "Nothing is known of the plan yet"),
    ],
)
def test_the_reason_is_told(name: str, action: str, reason: str) -> None:
    assert reason in of(MAY[name][0])[action].refused


@pytest.mark.parametrize("role", Role)
def test_roles(role: Role) -> None:
    found = of(seen("ACTIVE", "primary"), role)
    assert [action for action, choice in found.items() if choice.refused == f"It takes the role {choices.NEEDS[action].label}"] == [
        action for action, least in choices.NEEDS.items() if role < least and action in found
    ]


def test_an_active_run_forbids_all_but_looking() -> None:
    found = of(seen("ACTIVE", "primary"), active=Active(run("replicate")))
    assert [action for action, choice in found.items() if not choice.refused] == ["verify-primary"]
    assert found["start"].refused == "Another run is active: replicate, asked for by otto"
    assert found["start"].check_refused == "", "a check changes nothing"


def test_while_a_failback_runs_rollback_is_a_message_to_it() -> None:
    choice = of(seen("READY"), active=Active(run()))["rollback"]
    assert (choice.refused, choice.message_to) == ("", "r1")
    assert "services back up in amsterdam" in choice.told


@pytest.mark.parametrize(
    ("active", "reason"),
    [
        (Active(run(message="rollback", message_by="dora")), "being rolled back, as dora asked"),
        (Active(run(), moved=True), "goes forward only"),
        (Active(run("failover")), "Another run is active: failover"),
    ],
)
def test_when_there_is_no_way_back(active: Active, reason: str) -> None:
    assert reason in of(seen("READY"), active=active)["rollback"].refused


def test_failover_of_a_silent_primary_needs_a_word() -> None:
    choice = of(seen("ACTIVE", "primary", unreachable=["fra-hv1"]))["failover"]
    assert (choice.refused, choice.attest) == ("", True)
    assert not of(seen("ACTIVE", "primary"))["failover"].attest


BOTH = [{"site": site, "epoch": 4, "owner": "dr", "declined": 0, "heard": 0} for site in ("primary", "dr")]


def test_a_mute_witness_is_vouched_for_by_both_sites_or_a_reason() -> None:
    assert "vouch" not in of(seen())
    choice = of(seen(mute="restored", vouchers=BOTH))["vouch"]
    assert (choice.refused, choice.reason) == ("", False)
    choice = of(seen(mute="restored", vouchers=BOTH[1:]))["vouch"]
    assert (choice.refused, choice.reason) == ("", True)
    assert "both may come to run" in choice.told
    assert "frankfurt does not answer to say what is so" in of(seen(mute="restored", vouchers=BOTH[1:]))["failback"].refused
    assert of(seen(mute="restored", vouchers=BOTH))["failback"].refused == ""


def test_a_host_that_was_silent_is_a_warning_not_a_reason() -> None:
    """It may answer by now: the run looks again."""
    choice = of(seen("READY", unreachable=["fra-hv1"]))["failback"]
    assert choice.refused == ""
    assert choice.warning == "At the last look: fra-hv1 does not answer"


def test_a_silent_host_hides_no_other_reason() -> None:
    found = of(seen("ACTIVE", "primary", unreachable=["fra-hv1"]))
    assert {action for action, choice in found.items() if not choice.refused} == {"start", "verify-primary", "replicate", "failover"}


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_next_step(state: State) -> None:
    assert len(choices.what_now(plan(), state)) > 20
    assert "{" not in choices.what_now(plan(), state)


def test_a_silent_primary_is_told_first() -> None:
    assert "frankfurt does not answer" in choices.what_now(plan(), "ACTIVE", ["fra-hv1"])
    assert "does not answer" not in choices.what_now(plan(), "FAILED_OVER", ["fra-hv1"])


def test_stop() -> None:
    assert choices.stop_refused(run(), Role.operator) == ""
    assert "role operator" in choices.stop_refused(run(), Role.viewer)
    assert "as dora asked" in choices.stop_refused(run(message="stop", message_by="dora"), Role.operator)
    assert choices.stop_refused(Run("r", "p", "start", status="ended"), Role.operator) == "The run has ended"


def test_nobody_is_asked_for_a_word_where_dr_owns_the_plan() -> None:
    assert not of(seen("FAILED_OVER", "dr", unreachable=["fra-hv1"]))["failover"].attest
