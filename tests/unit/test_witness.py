# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A witness that is mute: what it refuses, who may let it speak again, and what the runs do about it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import NotReached, Refused, XdrError
from ansible_collections.xdr.failback.plugins.module_utils.guard import _witness_record
from ansible_collections.xdr.failback.plugins.module_utils.record import Record, transition
from ansible_collections.xdr.failback.plugins.module_utils.site import parse_plan
from ansible_collections.xdr.failback.plugins.module_utils.witness import check_speaks
from ansible_collections.xdr.failback.plugins.plugin_utils.gate import RULES, Decision, decide
from ansible_collections.xdr.failback.plugins.plugin_utils.recovery import Remedy, recover
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import View, derive

from tests.support.world import PLAN, World


def witness(**fields: Any) -> Record:
    return Record(**{"plan": "shop", "site": "witness", "host": "wit", "epoch": 2, "owner": "primary", "mute": "restored", **fields})


def told(site: str, epoch: int, owner: str | None, declined: int = 0, heard: int = 0) -> dict[str, Any]:
    return {"site": site, "epoch": epoch, "owner": owner, "declined": declined, "heard": heard}


BOTH = [told("primary", 4, "dr", heard=7), told("dr", 4, "dr", declined=3, heard=9)]


@pytest.mark.parametrize("request_", ["offered", "decided", "declined"])
def test_it_refuses(request_: str) -> None:
    with pytest.raises(Refused) as refusal:
        transition(witness(), {"request": request_, "epoch": 5, "to": "dr"}, 1.0)
    assert refusal.value.code == "witness_mute"
    assert "xdr run vouch" in refusal.value.todo


@pytest.mark.parametrize(
    ("records", "by", "epoch", "owner", "how"),
    [
        (BOTH, "", 4, "dr", "vouched"),
        ([told("primary", 4, "dr"), told("dr", 4, None)], "", 4, "dr", "vouched"),  # given up, and nobody has accepted
        ([told("primary", 4, "primary"), told("dr", 3, "dr")], "", 4, "primary", "vouched"),
        ([told("primary", 4, "primary"), told("dr", 4, "dr")], "", 4, None, "vouched"),  # a split brain: it names no owner
        ([told("primary", 1, "primary"), told("dr", 1, "primary")], "", 2, "primary", "vouched"),  # it knows more than they
        ([told("dr", 4, "dr")], "ann", 4, "dr", "overridden"),
    ],
)
def test_vouched(records: list[dict[str, Any]], by: str, epoch: int, owner: str | None, how: str) -> None:
    offer = {"epoch": 3, "to": "dr", "decided": False, "at": 1.0, "how": "handover"}
    after = transition(witness(offer=offer), {"request": "vouched", "records": records, "by": by, "text": by and "seen"}, 5.0)
    assert (after.epoch, after.owner, after.mute, after.offer) == (epoch, owner, "", None)
    entry = after.history[-1]
    assert (entry["how"], entry["epoch"], entry["owner"], entry["by"], entry["at"]) == (how, epoch, owner, by, 5.0)
    assert after.next_epoch > epoch + 2, "an epoch that it may have offered before is not offered again"
    assert transition(after, {"request": "vouched", "records": records}, 6.0) == after


def test_it_is_newer_afterwards_than_anything_that_a_site_was_told() -> None:
    assert transition(witness(serial=3), {"request": "vouched", "records": BOTH}, 5.0).serial == 9


@pytest.mark.parametrize(("by", "text"), [("", ""), ("ann", " "), ("", "seen")])
@pytest.mark.parametrize("records", [[], [told("dr", 4, "dr")], [told("dr", 4, "dr"), told("primary", 0, None)]])
def test_one_site_alone_needs_a_person_s_word(records: list[dict[str, Any]], by: str, text: str) -> None:
    with pytest.raises(Refused) as refusal:
        transition(witness(), {"request": "vouched", "records": records, "by": by, "text": text}, 5.0)
    assert refusal.value.code == "attestation_missing"


def test_nobody_s_word_counts_where_no_site_tells_anything() -> None:
    with pytest.raises(Refused):
        transition(witness(), {"request": "vouched", "records": [], "by": "ann", "text": "seen"}, 5.0)


SITE = Record(plan="shop", site="primary", host="fra", epoch=1, owner="primary", standing="accepted", heard=7)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"serial": 7, "mute": ""}, ""),
        ({"serial": 6, "mute": ""}, "restored: it tells its state 6 after it had told state 7"),
        ({"serial": 8}, "restored"),
        ({"serial": 8, "mute": "", "epoch": 0}, "it knows no epoch of the plan"),
    ],
)
def test_a_site_that_asks(fields: dict[str, Any], why: str) -> None:
    if not why:
        check_speaks(SITE, witness(**fields))
        return
    with pytest.raises(NotReached, match=why):
        check_speaks(SITE, witness(**fields))


def test_an_agent_that_does_not_count_is_taken_at_its_word() -> None:
    document = witness(mute="").to_json()
    for name in ("serial", "heard", "mute"):
        document.pop(name)
    plan = parse_plan({"plan": "shop", "hash": "h", "site": "primary", "host": "fra", "witness": "wit", "record_host": True})
    assert _witness_record(json.dumps(document), plan, SITE).epoch == 2
    for nonsense in ("[]", "7", "no JSON"):
        with pytest.raises(NotReached):
            _witness_record(nonsense, plan, SITE)


def test_a_claim_tells_each_host_how_new_the_witness_was() -> None:
    claim = {"request": "claimed", "attempt": (4, 9), "run_id": "r", "action": "start", "heard": 8}
    assert transition(SITE, claim, 1.0).heard == 8
    assert transition(replace(SITE, heard=9), claim, 1.0).heard == 9
    assert transition(witness(serial=8, mute=""), claim, 1.0).mute == ""
    assert "after it had told state 8" in transition(witness(serial=7, mute=""), claim, 1.0).mute
    assert transition(witness(serial=7, mute="restored"), claim, 1.0).mute == "restored"


# -- what runs do ---------------------------------------------------------------------------------------------


def restored(world: World, epoch: int = 1) -> World:
    """The witness as it was when the plan was at home."""
    old = {"epoch": epoch, "owner": "primary" if epoch else None, "offer": None, "declined": 0, "attempt": (0, 0), "history": []}
    world.record["witness"] = replace(world.record["witness"], **old, mute="restored" if epoch else "")  # type: ignore[arg-type]
    return world


def view(world: World) -> View:
    return derive(PLAN, world.reads())


def decision(action: str, world: World, **options: Any) -> Decision:
    return decide(action, PLAN, view(world), world.reads(), options)


@pytest.mark.parametrize("epoch", [1, 0], ids=["restored", "lost its disk"])
@pytest.mark.parametrize("chapter", ["failed_over", "reversing", "released", "accepted", "decided"])
def test_with_both_sites_the_view_is_as_if_they_had_vouched(chapter: str, epoch: int) -> None:
    before = view(getattr(World(), chapter)())
    after = view(restored(getattr(World(), chapter)(), epoch))
    assert (after.state, after.owner, after.epoch, after.attempt) == (before.state, before.owner, before.epoch, before.attempt)
    assert after.mute
    assert after.offer is None
    assert after.next_epoch > before.next_epoch


def test_a_run_that_has_read_both_sites_lets_it_speak() -> None:
    assert decision("failback", restored(World().reversing())).vouch
    assert not decision("failback", World().reversing()).vouch
    assert not decision("status", restored(World().reversing())).vouch


@pytest.mark.parametrize("action", sorted(set(RULES) - {"status", "verify_primary", "vouch"}))
def test_without_one_site_nothing_that_needs_the_witness_begins(action: str) -> None:
    world = restored(World().active())
    world.dead = {"primary"}
    with pytest.raises(XdrError) as refusal:
        decision(action, world, attestation="power is off")
    assert refusal.value.code in ("witness_mute", "not_reached")
    assert refusal.value.code == "witness_mute" or "fra" in refusal.value.what


def test_the_failover_after_a_person_s_word() -> None:
    world = restored(World().active())
    world.dead = {"primary"}
    with pytest.raises(XdrError) as refusal:
        decision("vouch", world)
    assert (refusal.value.code, "frankfurt" in refusal.value.what) == ("gate_refused", True)
    assert decision("vouch", world, reason="ann: DR was never given the plan").vouch
    vouchers = list(view(world).vouchers)
    world.ask("witness", "vouched", records=vouchers, by="ann", text="DR was never given the plan")
    assert decision("failover", world, attestation="power is off").proceed


def test_vouching_leaves_an_unfinished_run_as_it_is() -> None:
    told = decision("vouch", restored(World().switching()))
    assert (told.claim_as, told.fresh) == ("failback", False)
    assert decision("vouch", restored(World().active())).claim_as == "vouch"


def test_there_is_nothing_to_vouch_for_where_it_speaks() -> None:
    told = decision("vouch", World().active())
    assert (told.proceed, told.reason) == (False, "the witness is not mute")


def test_a_founding_that_did_not_reach_the_witness_is_completed() -> None:
    world = World()
    world.claim("start")
    world.ask("primary", "founded", owner="primary")
    told = decision("start", world)
    assert (told.proceed, told.vouch) == (True, False)


def test_a_move_during_which_it_was_restored_waits() -> None:
    found = recover(PLAN, view(restored(World().released())))
    assert found.remedy is Remedy.WAIT
    assert "the witness is mute" in found.told


def test_a_view_of_an_older_version_is_read() -> None:
    document = view(World().active()).to_json()
    assert View.from_json(document) == view(World().active())
    for name in ("mute", "vouchers", "serial"):
        document.pop(name)
    assert View.from_json(document).mute == ""
