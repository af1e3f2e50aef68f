# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The transitions of the ownership record: each rule, each refusal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import Refused, XdrError
from ansible_collections.xdr.failback.plugins.module_utils.record import (
    Record,
    check_attempt,
    from_json,
    mark_done,
    mark_intent,
    transition,
)

NOW = 1000.0
PRIMARY = Record(plan="shop", site="primary", host="fra", epoch=4, owner="primary", standing="accepted", attempt=(4, 17))
DR = Record(plan="shop", site="dr", host="ams", epoch=4, owner="primary", standing="superseded", attempt=(4, 17))
WITNESS = Record(plan="shop", site="witness", host="edge", epoch=4, owner="primary", attempt=(4, 17))
DRAINING = replace(PRIMARY, draining=True)
RELEASED = replace(DRAINING, owner=None, standing="released", to="dr")
OFFER = {"epoch": 5, "to": "dr", "decided": False, "at": 1.0, "how": "handover"}
OFFERED = replace(WITNESS, offer=OFFER)
RUN = {"id": "r1", "action": "failback", "attempt": 17, "plan_hash": "h1", "started": 1.0, "ended": None, "outcome": None, "phases": {}}


def ask(record: Record, name: str, **values: Any) -> Record:
    return transition(record, {"request": name, **values}, NOW)


def fields(record: Record, *names: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


CHANGES: list[tuple[str, Record, str, dict[str, Any], dict[str, Any]]] = [
    ("founded at the primary", Record("shop", "primary", "fra"), "founded", {}, {"epoch": 1, "owner": "primary", "standing": "accepted"}),
    (
        "founded at dr",
        Record("shop", "dr", "ams"),
        "founded",
        {"owner": "primary"},
        {"epoch": 1, "owner": "primary", "standing": "superseded"},
    ),
    ("founded at the witness", Record("shop", "witness", "edge"), "founded", {}, {"epoch": 1, "owner": "primary", "standing": "none"}),
    ("draining", PRIMARY, "draining", {}, {"draining": True, "standing": "accepted"}),
    ("released", DRAINING, "released", {"to": "dr"}, {"epoch": 4, "owner": None, "standing": "released", "to": "dr", "draining": True}),
    ("offered", WITNESS, "offered", {"epoch": 5, "to": "dr"}, {"epoch": 4, "owner": "primary", "offer": {**OFFER, "at": NOW}}),
    ("accepted", DR, "accepted", {"epoch": 5}, {"epoch": 5, "owner": "dr", "standing": "accepted", "draining": False}),
    ("accepted by a released site", RELEASED, "accepted", {"epoch": 7}, {"epoch": 7, "owner": "primary", "to": None, "draining": False}),
    ("decided", OFFERED, "decided", {"epoch": 5}, {"epoch": 5, "owner": "dr", "offer": {**OFFER, "decided": True}}),
    ("declined", DR, "declined", {"epoch": 5}, {"epoch": 4, "declined": 5, "standing": "declined"}),
    ("declined, while it owns", PRIMARY, "declined", {"epoch": 5}, {"declined": 5, "standing": "accepted"}),
    ("declined, after its release", RELEASED, "declined", {"epoch": 5}, {"declined": 5, "standing": "released"}),
    ("the witness closes a declined offer", OFFERED, "declined", {"epoch": 5}, {"offer": None, "declined": 5, "epoch": 4}),
    (
        "retaken, no offer",
        RELEASED,
        "retaken",
        {"no_offer": True},
        {"epoch": 4, "owner": "primary", "standing": "accepted", "draining": False},
    ),
    ("retaken, declined by the other", RELEASED, "retaken", {"declined_by_other": True}, {"epoch": 6, "owner": "primary"}),
    ("retaken, a later offer declined", RELEASED, "retaken", {"declined_by_other": True, "epoch": 8}, {"epoch": 9, "owner": "primary"}),
    ("a drain is ended", DRAINING, "retaken", {}, {"epoch": 4, "draining": False, "standing": "accepted"}),
    ("known", PRIMARY, "known", {"epoch": 5, "owner": "dr"}, {"epoch": 5, "owner": "dr", "standing": "superseded", "draining": False}),
    (
        "known after a release",
        RELEASED,
        "known",
        {"epoch": 5, "owner": "dr"},
        {"epoch": 5, "owner": "dr", "standing": "superseded", "to": None},
    ),
    ("known, this site: no licence", DR, "known", {"epoch": 6, "owner": "dr"}, {"epoch": 6, "owner": "dr", "standing": "none"}),
    (
        "known decides the offer",
        OFFERED,
        "known",
        {"epoch": 5, "owner": "dr"},
        {"epoch": 5, "owner": "dr", "offer": {**OFFER, "decided": True}},
    ),
    (
        "known, accepted and released again",
        OFFERED,
        "known",
        {"epoch": 5},
        {"epoch": 5, "owner": "dr", "offer": {**OFFER, "decided": True}},
    ),
    ("known, the owner comes later", replace(DR, owner=None), "known", {"epoch": 4, "owner": "primary"}, {"epoch": 4, "owner": "primary"}),
    ("known passes the offer", OFFERED, "known", {"epoch": 6, "owner": "primary"}, {"epoch": 6, "owner": "primary", "offer": None}),
    ("status", PRIMARY, "status", {"status": "READY"}, {"status": "READY", "status_since": NOW}),
    ("ended", replace(PRIMARY, run=RUN), "ended", {"outcome": "ok"}, {"run": {**RUN, "ended": NOW, "outcome": "ok"}}),
    ("marked sets both", replace(PRIMARY, run=RUN), "marked", {"status": "READY", "outcome": "ok"}, {"status": "READY"}),
]


@pytest.mark.parametrize(("record", "name", "values", "expected"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_change(record: Record, name: str, values: dict[str, Any], expected: dict[str, Any]) -> None:
    after = ask(record, name, **values)
    assert fields(after, *expected) == expected
    assert ask(after, name, **values) is after, "asked again, the same record"
    if (after.epoch, after.owner) != (record.epoch, record.owner):
        assert fields(after, "epoch", "owner") == {key: after.history[-1][key] for key in ("epoch", "owner")}
        assert len(after.history) == len(record.history) + 1


REFUSALS: list[tuple[str, Record, str, dict[str, Any], str]] = [
    ("a second founding", PRIMARY, "founded", {}, "wrong_state"),
    ("founded at dr for itself", Record("shop", "dr", "ams"), "founded", {"owner": "dr"}, "wrong_state"),
    ("draining what is not owned", DR, "draining", {}, "wrong_state"),
    ("draining at the witness", WITNESS, "draining", {}, "bad_request"),
    ("released without a drain", PRIMARY, "released", {"to": "dr"}, "wrong_state"),
    ("released by another", DR, "released", {"to": "primary"}, "wrong_state"),
    ("released to itself", DRAINING, "released", {"to": "primary"}, "bad_request"),
    ("offered by a site", PRIMARY, "offered", {"epoch": 5, "to": "dr"}, "bad_request"),
    ("offered, an old epoch", WITNESS, "offered", {"epoch": 4, "to": "dr"}, "older_epoch"),
    ("offered over an open offer", OFFERED, "offered", {"epoch": 7, "to": "primary"}, "offer_open"),
    ("the epoch after an open offer is reserved", OFFERED, "offered",
     {"epoch": 6, "to": "primary", "how": "attested", "by": "ann", "text": "off"}, "older_epoch"),
    ("the epoch after a declined offer is reserved", replace(WITNESS, declined=5), "offered", {"epoch": 6, "to": "dr"}, "older_epoch"),
    ("attested by nobody", DR, "accepted", {"epoch": 5, "how": "attested", "text": "off"}, "attestation_missing"),
    ("attested without a word", DR, "accepted", {"epoch": 5, "how": "attested", "by": "ann", "text": " "}, "attestation_missing"),
    ("accepted in no known way", DR, "accepted", {"epoch": 5, "how": "elected"}, "bad_request"),
    ("accepted, an old epoch", DR, "accepted", {"epoch": 4}, "older_epoch"),
    ("accepted after declining", replace(DR, declined=5), "accepted", {"epoch": 5}, "declined"),
    ("accepted by the witness", WITNESS, "accepted", {"epoch": 5}, "bad_request"),
    ("decided without an offer", WITNESS, "decided", {"epoch": 5}, "wrong_state"),
    ("decided, another offer", OFFERED, "decided", {"epoch": 6}, "wrong_state"),
    ("declined after accepting", ask(DR, "accepted", epoch=5), "declined", {"epoch": 5}, "accepted_already"),
    ("declined at the witness after the decision", ask(OFFERED, "decided", epoch=5), "declined", {"epoch": 5}, "older_epoch"),
    ("retaken blindly", RELEASED, "retaken", {}, "offer_unknown"),
    ("retaken by one that released nothing", DR, "retaken", {"no_offer": True}, "wrong_state"),
    ("both sites accepted", PRIMARY, "known", {"epoch": 4, "owner": "dr"}, "split_brain"),
    ("both sites accepted, then one released", RELEASED, "known", {"epoch": 4, "owner": "dr"}, "split_brain"),
    ("the offered epoch is owned by the other", OFFERED, "known", {"epoch": 5, "owner": "primary"}, "split_brain"),
    ("known, no such site", PRIMARY, "known", {"epoch": 5, "owner": "mars"}, "bad_request"),
    ("ended without a run", PRIMARY, "ended", {"outcome": "ok"}, "wrong_state"),
    ("ended twice", replace(PRIMARY, run={**RUN, "ended": 2.0, "outcome": "ok"}), "ended", {"outcome": "failed"}, "wrong_state"),
    ("accepted without an epoch", DR, "accepted", {}, "bad_request"),
    ("an older claim", PRIMARY, "claimed", {"attempt": (4, 16), "run_id": "r0", "action": "failback"}, "stale_attempt"),
    ("a number that is taken", replace(PRIMARY, run=RUN), "claimed", {"attempt": (4, 17), "run_id": "r2"}, "run_active"),
    ("another plan in an unfinished run", replace(PRIMARY, run=RUN), "claimed",
     {"attempt": (4, 18), "run_id": "r2", "action": "failback", "plan_hash": "h2"}, "plan_changed"),
    ("a claim over what the gate did not see", PRIMARY, "claimed",
     {"attempt": (4, 18), "run_id": "r2", "action": "rollback", "seen": {**PRIMARY.to_json(), "standing": "released"}}, "changed_since"),
    ("a claim over traffic that moved since", replace(PRIMARY, run={**RUN, "phases": {"switch_traffic": {}}}), "claimed",
     {"attempt": (4, 18), "run_id": "r2", "action": "rollback", "seen": replace(PRIMARY, run=RUN).to_json()}, "changed_since"),
    ("a mark that comes after the end", replace(PRIMARY, status="FAILED_BACK", run={**RUN, "ended": 2.0, "outcome": "ok"}), "marked",
     {"status": "FAILING_BACK"}, "wrong_state"),
]  # fmt: skip


@pytest.mark.parametrize(("record", "name", "values", "code"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_refusal(record: Record, name: str, values: dict[str, Any], code: str) -> None:
    with pytest.raises(XdrError) as refused:
        ask(record, name, **values)
    assert refused.value.code == code
    if isinstance(refused.value, Refused):
        assert record.host in refused.value.where
        assert refused.value.todo


def test_an_older_epoch_is_no_news() -> None:
    assert ask(PRIMARY, "known", epoch=3, owner="dr") is PRIMARY


def test_an_attestation_replaces_an_open_offer() -> None:
    after = ask(OFFERED, "offered", epoch=7, to="primary", how="attested", by="ann", text="dr has burnt down")
    assert after.offer == {"epoch": 7, "to": "primary", "decided": False, "at": NOW, "how": "attested"}
    assert ask(after, "decided", epoch=7).history[-1]["how"] == "attested"


def test_the_history_says_who_attested_and_under_which_attempt() -> None:
    after = ask(DR, "accepted", epoch=5, how="attested", by="ann", text="the site has no power")
    entry = {"epoch": 5, "owner": "dr", "how": "attested", "attempt": [4, 17], "at": NOW, "by": "ann", "text": "the site has no power"}
    assert after.history == [entry]


@pytest.mark.parametrize(
    ("record", "lowest"),
    [(WITNESS, 5), (OFFERED, 7), (replace(WITNESS, epoch=5, offer={**OFFER, "decided": True}), 6), (replace(WITNESS, declined=5), 7)],
    ids=["no offer", "open offer", "decided", "declined"],
)
def test_next_epoch_is_the_lowest_that_may_be_offered(record: Record, lowest: int) -> None:
    assert record.next_epoch == lowest
    for epoch, allowed in ((lowest - 1, False), (lowest, True)):
        values = {"epoch": epoch, "to": "primary", "how": "confirmed_stop"}
        if allowed:
            assert ask(record, "offered", **values).offer_is_open
        else:
            with pytest.raises(Refused):
                ask(record, "offered", **values)


@pytest.mark.parametrize(
    ("values", "phases", "started"),
    [
        ({"action": "failback"}, {"release": {"intent": 5.0, "done": 6.0}}, 1.0),
        ({"action": "failback", "fresh": True}, {}, NOW),
        ({"action": "rollback"}, {}, NOW),
    ],
    ids=["goes on", "fresh", "another action"],
)
def test_a_claim_keeps_the_phases_of_the_same_unfinished_action(values: dict[str, Any], phases: dict[str, Any], started: float) -> None:
    record = replace(PRIMARY, run={**RUN, "phases": {"release": {"intent": 5.0, "done": 6.0}}})
    run = ask(record, "claimed", attempt=(4, 18), run_id="r2", plan_hash="h1", **values).run
    assert run is not None
    assert (run["id"], run["attempt"], run["phases"], run["started"]) == ("r2", 18, phases, started)


def test_a_phase_is_marked_once() -> None:
    begun = mark_intent(replace(PRIMARY, run=RUN), "release", 2.0)
    done = mark_done(mark_intent(begun, "release", 3.0), "release", 4.0)
    assert done.run is not None
    assert done.run["phases"] == {"release": {"intent": 2.0, "done": 4.0}}
    assert mark_done(done, "release", 9.0) is done
    assert mark_done(PRIMARY, "release", 9.0) is PRIMARY


@pytest.mark.parametrize(("pair", "stale"), [((4, 16), True), ((3, 99), True), ((4, 17), False), ((4, 18), False), ((5, 1), False)])
def test_pairs_compare_epoch_first(pair: tuple[int, int], stale: bool) -> None:
    if stale:
        with pytest.raises(Refused, match=rf"attempt {pair[1]} of epoch {pair[0]} is older than attempt 17 of epoch 4") as refused:
            check_attempt(PRIMARY, pair)
        assert refused.value.code == "stale_attempt"
    else:
        check_attempt(PRIMARY, pair)


def test_a_record_survives_its_file() -> None:
    record = ask(replace(OFFERED, run=RUN), "decided", epoch=5)
    assert from_json(record.to_json()) == record


@pytest.mark.parametrize("change", [{"version": 2}, {"attempt": 3}, {"plan": None, "version": None}])
def test_a_record_of_another_form_is_an_error(change: dict[str, Any]) -> None:
    with pytest.raises(XdrError, match="not an ownership record"):
        from_json({**PRIMARY.to_json(), **change}, "/x/ownership.json")


def test_an_unknown_request_names_the_known_ones() -> None:
    with pytest.raises(XdrError, match=r"unknown request 'elected'.*founded, claimed"):
        ask(PRIMARY, "elected")


@pytest.mark.parametrize("run", [None, {**RUN, "action": "replicate"}, RUN])
def test_a_claim_goes_over_what_the_gate_saw_and_over_a_cycle(run: dict[str, Any] | None) -> None:
    seen = replace(PRIMARY, run=RUN if run == RUN else None).to_json()
    claimed = ask(replace(PRIMARY, run=run), "claimed", attempt=(4, 18), run_id="r2", action="rollback", seen=seen)
    assert claimed.attempt == (4, 18)
