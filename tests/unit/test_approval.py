# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What the hash of an approval depends on, and how a start is held against it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils import approval as bound
from ansible_collections.xdr.failback.plugins.plugin_utils.foreseen import Foreseen, foresee
from ansible_collections.xdr.failback.plugins.plugin_utils.gate import decide
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import View
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DatabaseError

from portal import approval
from portal.approval import Starter
from portal.preview import built
from portal.store import Store, approvals, runs, tables
from portal.store.runs import Run
from tests.support import stores
from tests.support.portal import HOSTS, check_result, plan, seen

SHOP = plan()
NOW = seen()


def foreseen(document: dict[str, Any] = NOW, of: Any = SHOP, action: str = "failback", **options: Any) -> Foreseen:
    reads = {host: {"replication": [row for row in document["volumes"] if row["host"] == host]} for host in HOSTS}
    return foresee(action, of, View.from_json(document), reads, options, "retake")


def hashed(*args: Any, **options: Any) -> str:
    return bound.hash_of(foreseen(*args, **options).bound)


def edited(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The compiled plan with another content, and so with another hash."""
    other = copy.deepcopy(dict(SHOP))
    change(other)
    return other


OTHERS: dict[str, tuple[Callable[[], Foreseen], list[str]]] = {
    "plan": (lambda: foreseen(of={**SHOP, "hash": "other"}), ["plan"]),
    "owner": (lambda: foreseen({**NOW, "owner": None}), ["owner"]),
    "epoch": (lambda: foreseen({**NOW, "epoch": 5}), ["epoch"]),
    "action": (lambda: foreseen(action="rollback"), ["action"]),
    "recovery point": (lambda: foreseen(recovery_point="cycle-7"), ["choices"]),
    "kept side": (lambda: foreseen(keep="dr"), ["choices"]),
    "skip": (lambda: foreseen(skip=["application"]), ["choices"]),
    "steps": (lambda: foreseen({**NOW, "compared": False}), ["steps"]),
    "gates": (lambda: foreseen(of=edited(lambda one: one["replication"].update(ready_below=1 << 30))), ["gates"]),
}


@pytest.mark.parametrize("part", OTHERS)
def test_the_hash_changes_with(part: str) -> None:
    other, names = OTHERS[part]
    now, then = other().bound, foreseen().bound
    assert bound.hash_of(now) != bound.hash_of(then)
    assert bound.changed(then, now) == [bound.CHANGED[name] for name in names]


@given(
    st.one_of(st.integers(0, 16 << 20), st.just("unknown")),
    st.floats(0, 1e6),
    st.floats(0, 2e9),
    st.integers(0, 1000),
    st.floats(1e9, 2e9),
)
def test_the_hash_does_not_change_with_lag_and_times(lag: int | str, age: float, since: float, attempt: int, now: float) -> None:
    moved = {**NOW, "replication_lag": lag, "replication_lag_age": age, "since": since, "attempt": attempt, "state": "REVERSING"}
    window = {"until": now, "rollback": 1.0, "how": "assumed"}
    assert hashed(moved, window=window, now=now, attestation="") == hashed()


def test_gates_that_close_meanwhile_are_the_gates_business() -> None:
    now = {**NOW, "unreachable": ["fra-hv1"], "replication_lag": 1 << 40}
    assert [one.open for one in foreseen(now).gates] != [one.open for one in foreseen().gates]
    assert hashed(now) == hashed()


def test_an_approval_opens_no_gate() -> None:
    """The gate decides anew at the start, whatever was approved while it was open."""
    behind = {**NOW, "replication_lag": 1 << 40}
    reads = {host: {"replication": []} for host in HOSTS}
    bound.check(SHOP, foreseen(behind).bound, brought(foreseen()))
    with pytest.raises(XdrError, match="more than ready_below") as refusal:
        decide("failback", SHOP, View.from_json(behind), reads, {"approved": brought(foreseen())})
    assert refusal.value.code == "gate_refused"


# -- at the start --------------------------------------------------------------------------------------------------


WANTS = {**SHOP, "approval": {"four_eyes": ["failback", "reverse-replication"]}}


def brought(then: Foreseen) -> dict[str, Any]:
    return {"hash": bound.hash_of(then.bound), "parts": then.bound}


def test_what_was_approved_is_let_through() -> None:
    bound.check(SHOP, foreseen().bound, {})
    for of in (SHOP, WANTS):
        bound.check(of, foreseen().bound, brought(foreseen()))
    bound.check(WANTS, foreseen().bound, {"override": True})


@pytest.mark.parametrize("part", OTHERS)
def test_what_is_not_as_approved_is_refused_and_told(part: str) -> None:
    other, names = OTHERS[part]
    with pytest.raises(XdrError, match="what was approved is not what would be done") as refusal:
        bound.check(SHOP, other().bound, brought(foreseen()))
    assert refusal.value.code == "gate_refused"
    assert all(bound.CHANGED[name] in refusal.value.what for name in names)
    assert "Make a new preview" in refusal.value.sentence()


@pytest.mark.parametrize("changes", [{"hash": "0" * 64}, {"parts": {}}, {"parts": {**foreseen().bound, "epoch": 9}}])
def test_an_approval_whose_parts_are_not_those_of_its_hash(changes: dict[str, Any]) -> None:
    with pytest.raises(XdrError, match="what was approved is not"):
        bound.check(SHOP, foreseen().bound, {**brought(foreseen()), **changes})


@pytest.mark.parametrize(("action", "refused"), [("failback", True), ("reverse_replication", True), ("rollback", False)])
def test_four_eyes_without_an_approval(action: str, refused: bool) -> None:
    now = foreseen(action=action, of=WANTS).bound
    if not refused:
        return bound.check(WANTS, now, {})
    with pytest.raises(XdrError, match="takes an approval by a second person") as refusal:
        bound.check(WANTS, now, {})
    assert refusal.value.code == "gate_refused"
    return None


# -- who brings which ----------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = stores.opened(tmp_path)
    yield one
    one.close()


def previewed(store: Store, number: int = 1) -> Run:
    run = Run(f"r{number}", "webshop", "failback", check=True, exclusive=False)
    runs.request(store, run)
    told = check_result(run, SHOP, NOW)
    runs.finish(store, run.id, {**told, "preview": built(run, told, [])})
    return runs.get(store, run.id)


ALICE, BOB = Starter("alice", "portal 192.0.2.7"), Starter("bob", "command line")


def test_without_four_eyes_nothing_is_brought_unless_it_is_named(store: Store) -> None:
    run = previewed(store)
    made = approval.approve(store, run, who="alice", origin="portal 192.0.2.7", note="fine")
    assert approval.given(store, SHOP, "failback", ALICE) == {}
    found = approval.given(store, SHOP, "failback", ALICE, typed=made.hash[:12].upper())
    assert (found["hash"], found["parts"], found["by"]) == (made.hash, made.parts, "alice (portal)")


@pytest.mark.parametrize("typed", ["abc", "0" * 12, "*", "'; drop table runs"])
def test_a_hash_that_nobody_approved(store: Store, typed: str) -> None:
    approval.approve(store, previewed(store), who="alice", origin="portal")
    with pytest.raises(XdrError, match="nobody has approved") as refusal:
        approval.given(store, SHOP, "failback", BOB, typed=typed)
    assert refusal.value.code == "gate_refused"


def test_the_newest_of_another_person_counts(store: Store) -> None:
    with pytest.raises(XdrError, match="nobody has approved it"):
        approval.given(store, WANTS, "failback", BOB)
    run = previewed(store)
    approval.approve(store, run, who="alice", origin="portal")
    approval.approve(store, run, who="Bob ", origin="portal")
    assert approval.given(store, WANTS, "failback", BOB)["by"] == "alice (portal)"
    with pytest.raises(XdrError, match="takes an approval by a second person"):
        approval.given(store, WANTS, "reverse-replication", BOB)


def test_the_schedule_takes_anybodys_approval(store: Store) -> None:
    approval.approve(store, previewed(store), who="alice", origin="portal")
    assert approval.given(store, WANTS, "failback", Starter("alice", runs.SCHEDULE))["by"] == "alice (portal)"
    with pytest.raises(XdrError, match="only alice"):
        approval.given(store, WANTS, "failback", Starter("alice", "command line"))


@pytest.mark.parametrize(
    ("action", "of", "told"),
    [
        ("failback", WANTS, "only a failover may do without"),
        ("failover", SHOP, "takes no second person"),
    ],
)
def test_where_nobody_may_do_without(store: Store, action: str, of: Any, told: str) -> None:
    with pytest.raises(XdrError, match=told) as refusal:
        approval.given(store, of, action, ALICE, override="in haste")
    assert refusal.value.code == "usage"


def test_an_override_says_who_and_why(store: Store) -> None:
    of = {**SHOP, "approval": {"four_eyes": ["failover"]}}
    found = approval.given(store, of, "failover", ALICE, override=" nobody\n answers ")
    assert found == {
        "override": True,
        "by": "alice (portal)",
        "reason": "nobody answers",
        "told": "OVERRIDE: alice (portal) did without a second person: nobody answers",
    }
    with pytest.raises(XdrError, match="plain text"):
        approval.given(store, of, "failover", ALICE, override="{{ lookup('pipe', 'id') }}")


def test_approvals_are_only_appended(store: Store) -> None:
    approval.approve(store, previewed(store), who="alice", origin="portal")
    for change in (tables.approvals.update().values(who="bob"), tables.approvals.delete()):
        with pytest.raises(DatabaseError, match="approvals are only appended"), store.writing() as connection:
            connection.execute(change)
    assert [one.who for one in approvals.of_plan(store, "webshop")] == ["alice"]
