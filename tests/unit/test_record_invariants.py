# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Two sites and a witness under any interleaving of attempts: lost replies, late and repeated requests, dead sites, attestations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import Refused
from ansible_collections.xdr.failback.plugins.module_utils.record import Record, check_attempt, transition
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

SITES = ("primary", "dr")
FATES = ("answered", "answered", "answered", "twice", "reply lost", "late")


@dataclass
class Controller:
    """One attempt. It does one thing after the other, and believes only what was answered to it."""

    pair: tuple[int, int]
    source: str
    target: str
    off: str | None  # the site attested to be off
    released: bool = False
    back: bool = False  # it has given up the move: it goes no step forward any more
    offered: int = 0
    accepted: int = 0
    declined: int = 0
    retaken: int = 0
    witness: Record | None = None  # as read under this attempt


@dataclass
class Message:
    host: str
    pair: tuple[int, int]
    request: dict[str, Any]


class HandOver(RuleBasedStateMachine):
    @initialize()
    def found(self) -> None:
        self.now = 0.0
        self.number = 0
        self.records = {site: Record("shop", site, site) for site in (*SITES, "witness")}
        self.controllers: list[Controller] = []
        self.late: list[Message] = []
        for host in self.records:
            self.execute(Message(host, (0, 0), {"request": "founded"}))

    # -- hosts and network

    def execute(self, message: Message) -> Record:
        before = self.records[message.host]
        check_attempt(before, message.pair)
        seen = replace(before, attempt=max(before.attempt, message.pair))
        self.now += 1
        after = transition(seen, message.request, self.now)
        assert transition(after, message.request, self.now + 1) == after, "a repeated request changes nothing"
        assert after.epoch >= before.epoch, "epochs never go back"
        if before.standing == "released" and after.owns:
            assert message.request["request"] in ("retaken", "accepted")
        self.records[message.host] = after
        return after

    def send(self, by: Controller, host: str, fate: str, then: Callable[[Record], None], /, **request: Any) -> None:
        message = Message(host, by.pair, request)
        if host == by.off:
            return
        if fate == "late":
            self.late.append(message)
            return
        try:
            answer = self.execute(message)
            if fate == "twice":
                answer = self.execute(message)
        except Refused as refused:
            if refused.code == "split_brain":
                raise
            return
        if fate != "reply lost":
            then(answer)

    # -- what happens

    @rule(off=st.sampled_from([None, None, None, *SITES]))
    def begin(self, off: str | None) -> None:
        """A new run: towards the other site, or away from the site that is off. Every host that answers is told first."""
        owner = next((site for site in SITES if self.records[site].owns), None)
        source = off or owner or next((site for site in SITES if self.records[site].standing == "released"), "primary")
        target = SITES[SITES.index(source) - 1]
        self.number += 1
        reached = [host for host in self.records if host != off]
        # not only the epochs: the site that accepted the newest may be off, and the others have seen it in a pair
        epoch = max(max(self.records[host].epoch, self.records[host].attempt[0]) for host in reached)
        by = Controller((epoch, self.number), source, target, off)
        for host in reached:
            self.execute(Message(host, by.pair, {"request": "claimed", "attempt": by.pair, "run_id": str(self.number), "action": "move"}))
        by.released = source != off and self.records[source].standing == "released"
        self.controllers.append(by)

    @precondition(lambda self: self.late)
    @rule(pick=st.integers(0, 50), keep=st.booleans())
    def late_request_arrives(self, pick: int, keep: bool) -> None:
        message = self.late[pick % len(self.late)]
        if not keep:
            self.late.remove(message)
        try:
            self.execute(message)
        except Refused as refused:
            if refused.code == "split_brain":
                raise

    def some(self, pick: int) -> Controller:
        """Mostly the newest attempt, sometimes one that was overtaken."""
        return self.controllers[-1 if pick > 2 else -1 - pick % len(self.controllers)]

    @precondition(lambda self: self.controllers)
    @rule(pick=st.integers(0, 9), fate=st.sampled_from(FATES))
    def drain_and_release(self, pick: int, fate: str) -> None:
        by = self.some(pick)
        if by.back:
            return
        self.send(by, by.source, "answered", lambda _: None, request="draining")
        self.send(by, by.source, fate, lambda _: setattr(by, "released", True), request="released", to=by.target)

    @precondition(lambda self: self.controllers)
    @rule(pick=st.integers(0, 9))
    def read_witness(self, pick: int) -> None:
        by = self.some(pick)
        if self.records["witness"].attempt == by.pair:  # a newer attempt is seen at the next claim at the latest
            by.witness = self.records["witness"]

    @precondition(lambda self: self.controllers)
    @rule(pick=st.integers(0, 9), fate=st.sampled_from(FATES))
    def offer(self, pick: int, fate: str) -> None:
        by = self.some(pick)
        if by.back or by.witness is None or not (by.released or by.off == by.source):
            return
        open_one = by.witness.offer if by.witness.offer_is_open else None
        epoch = open_one["epoch"] if open_one and open_one["to"] == by.target else by.witness.next_epoch
        self.send(
            by,
            "witness",
            fate,
            lambda _: setattr(by, "offered", epoch),
            request="offered",
            epoch=epoch,
            to=by.target,
            **self.evidence(by),
        )

    def evidence(self, by: Controller) -> dict[str, str]:
        return {"how": "attested", "by": "ann", "text": f"{by.off} is off"} if by.off == by.source else {"how": "handover"}

    @precondition(lambda self: self.controllers)
    @rule(pick=st.integers(0, 9), fate=st.sampled_from(FATES))
    def accept(self, pick: int, fate: str) -> None:
        by = self.some(pick)
        if by.offered and not by.back:
            self.send(
                by,
                by.target,
                fate,
                lambda _: setattr(by, "accepted", by.offered),
                request="accepted",
                epoch=by.offered,
                **self.evidence(by),
            )

    @precondition(lambda self: self.controllers)
    @rule(pick=st.integers(0, 9), fate=st.sampled_from(FATES))
    def decide(self, pick: int, fate: str) -> None:
        by = self.some(pick)
        if by.accepted:
            self.send(by, "witness", fate, lambda _: None, request="decided", epoch=by.accepted)
            self.send(by, by.source, fate, lambda _: None, request="known", epoch=by.accepted, owner=by.target)

    @precondition(lambda self: self.controllers)
    @rule(pick=st.integers(0, 9), fate=st.sampled_from(FATES), retake_fate=st.sampled_from(FATES))
    def go_back(self, pick: int, fate: str, retake_fate: str) -> None:
        """Take the release back, by what the witness holds."""
        by = self.some(pick)
        if not by.back and not by.accepted:
            by.back, by.witness = True, None  # what was read before may be older than the own offer
        if by.accepted or by.witness is None:
            return
        offer = by.witness.offer
        if by.witness.offer_is_open and offer and offer["to"] == by.target:
            self.send(by, by.target, fate, lambda _: setattr(by, "declined", offer["epoch"]), request="declined", epoch=offer["epoch"])
            if by.declined == offer["epoch"]:
                self.retake(by, retake_fate, declined_by_other=True, epoch=by.declined)
        elif not by.witness.offer_is_open and by.witness.epoch <= self.records[by.source].epoch:
            self.retake(by, retake_fate, no_offer=True)

    def retake(self, by: Controller, fate: str, **evidence: Any) -> None:
        self.send(by, by.source, fate, lambda answer: setattr(by, "retaken", answer.epoch), request="retaken", **evidence)

    @precondition(lambda self: self.controllers)
    @rule(pick=st.integers(0, 9), fate=st.sampled_from(FATES), by_name=st.booleans())
    def tell_of_the_retake(self, pick: int, fate: str, by_name: bool) -> None:
        by = self.some(pick)
        if by.declined and by_name:
            self.send(by, "witness", fate, lambda _: None, request="declined", epoch=by.declined)
        elif by.retaken:
            for host in ("witness", by.target):
                self.send(by, host, fate, lambda _: None, request="known", epoch=by.retaken, owner=by.source)

    @rule(teller=st.sampled_from([*SITES, "witness"]), listener=st.sampled_from([*SITES, "witness"]))
    def gossip(self, teller: str, listener: str) -> None:
        """A boot, or the gate, tells a host what another one knows."""
        told = self.records[teller]
        pair = self.records[listener].attempt
        self.execute(Message(listener, pair, {"request": "known", "epoch": told.epoch, "owner": told.owner}))

    # -- what must stay true

    @invariant()
    def an_epoch_belongs_to_one_site(self) -> None:
        taken: dict[int, str] = {}
        for site in SITES:
            for entry in self.records[site].history:
                if entry["owner"] == site and entry["how"] != "taken_over":
                    assert taken.setdefault(entry["epoch"], site) == site

    @invariant()
    def two_owners_only_after_an_attestation(self) -> None:
        owners = sorted((record for record in self.records.values() if record.owns), key=lambda record: record.epoch)
        if len(owners) == 2:
            older, newer = owners
            assert older.epoch < newer.epoch
            assert any(entry["how"] == "attested" and entry["epoch"] > older.epoch for entry in newer.history)


HandOver.TestCase.settings = settings(max_examples=300, stateful_step_count=40)
TestHandOver = HandOver.TestCase


def test_an_overtaken_attempt_cannot_offer_what_was_retaken() -> None:
    """Attempt 1 freezes before its offer, attempt 2 finds no offer and takes the release back, attempt 1 wakes up."""
    world = HandOver()
    world.found()
    world.begin(off=None)
    world.drain_and_release(pick=9, fate="answered")
    world.read_witness(pick=9)
    world.begin(off=None)
    frozen, newer = world.controllers
    world.go_back(pick=9, fate="answered", retake_fate="answered")
    world.read_witness(pick=9)
    world.go_back(pick=9, fate="answered", retake_fate="answered")
    assert newer.retaken == 1
    world.offer(pick=1, fate="answered")
    world.accept(pick=1, fate="answered")
    assert frozen.offered == 0
    world.two_owners_only_after_an_attestation()
    assert world.records["primary"].owns
