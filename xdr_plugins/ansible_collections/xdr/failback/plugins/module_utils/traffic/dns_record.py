# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A DNS record, moved between the sites by updates of its zone's primary server.

Item: ``name``, ``zone``, ``record``, ``type``, ``values: {primary, dr}``, ``ttl``, ``lowered_ttl``, ``servers`` (the first is the zone's
primary), ``resolvers``, ``key``, ``key_file``, ``propagation``, ``require_lowered_ttl``. Each of the module's states is one thing that is
done to the record: ``switched`` its values, ``lowered`` and ``restored`` its TTL, ``reverted`` both, as they were before.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import dns_names
from ..errors import NotReached, XdrError
from ..parallel import each
from ..waiting import Deadline
from . import tsig
from .dns_client import Client, RRset
from .dns_memory import Memory
from .interface import NO_ANSWER, OTHER, Gate, Occasion, Seen, Switch

MARGIN = 5.0  # seconds, for a resolver to let go of what it holds once its time is over
LOOK_EVERY = 0.2  # seconds


@dataclass(frozen=True)
class Update(Switch):
    """``server`` is the record."""

    old: RRset
    new: RRset


class DNSRecord:
    """The traffic driver of ``traffic.dns``."""

    def __init__(self, item: Mapping[str, Any], occasion: Occasion) -> None:
        self._item, self._occasion = item, occasion
        name = dns_names.absolute(str(item["record"]), str(item["zone"]))
        self._client = Client(dns_names.domain(str(item["zone"])), name, str(item["type"]), f"DNS record {item['name']}")
        self._values = {side: tuple(sorted(dns_names.value(one, item["type"]) for one in item["values"][side])) for side in OTHER}
        self._ttl, self._lowered = int(item["ttl"]), int(item["lowered_ttl"])
        self._servers, self._resolvers = list(item["servers"]), list(item["resolvers"])
        self._memory = Memory(occasion.folder, str(item["name"]))

    def side(self) -> str:
        return self._side(self._now())

    def _now(self) -> RRset:
        return self._client.ask(self._servers[0])

    def _side(self, now: RRset) -> str:
        return next((side for side, values in self._values.items() if now.values == values), "none")

    # before a move

    def check(self) -> str:
        now = self._now()
        self._client.try_update(self._servers[0], self._key(), now)
        silent = [*self._others(self._servers[1:], recursive=False), *self._others(self._resolvers, recursive=True)]
        return " ".join([*silent, *self._still_high(now)])

    def _key(self) -> tsig.Key:
        return tsig.load(Path(self._item["key_file"]), str(self._item["key"]))

    def _others(self, servers: Sequence[str], *, recursive: bool) -> list[str]:
        """What is out of reach, where that is allowed: nobody hears something wrong from a server that does not answer."""
        failed = [said for said in each(lambda server: self._said(server, recursive), servers) if isinstance(said, XdrError)]
        for error in failed:
            if self._occasion.must_answer or not isinstance(error, NotReached):
                raise error
        return [f"{error.what[0].upper()}{error.what[1:]}." for error in failed]

    def _still_high(self, now: RRset) -> list[str]:
        left = self._memory.stale_until - time.time()
        if now.ttl > self._lowered:
            told = f"The TTL of {self._client.shown} is {now.ttl} s, so clients may go to the old site for that long"
        elif left > self._lowered:
            told = f"The TTL of {self._client.shown} was lowered, but for another {left:.0f} s resolvers may hold it with the former one"
        else:
            return []
        if self._item["require_lowered_ttl"] and self._occasion.must_answer:
            todo = "Lower it (xdr run lower-ttl), wait until the former TTL is over, then try again; nothing was changed"
            raise XdrError(told, where=self._client.where, todo=todo, code="gate_refused")
        return [f"{told}."]

    # what is to be done

    def plan(self, to: str) -> list[Switch]:
        now = self._now()
        wanted = {"switched": self._switched, "reverted": self._reverted, "lowered": self._with_low_ttl, "restored": self._with_full_ttl}
        new = wanted.get(self._occasion.state, self._switched)(now, to)
        return [] if new == now else [Update(self._client.shown, str(now), str(new), now, new)]

    def _switched(self, now: RRset, to: str) -> RRset:
        """The TTL stays low if it is low: the record may be moved again, until it is settled."""
        values = self._values[to]
        return now if now.values == values else RRset(min(now.ttl, self._ttl) if now.values else self._ttl, values)

    def _with_low_ttl(self, now: RRset, to: str) -> RRset:
        return RRset(min(now.ttl, self._lowered), now.values)

    def _with_full_ttl(self, now: RRset, to: str) -> RRset:
        return RRset(max(now.ttl, self._ttl), now.values) if now.values == self._values[to] else now

    def _reverted(self, now: RRset, to: str) -> RRset:
        """What was captured, but for a record that somebody else has changed since, or that was captured for another move."""
        prior = self._memory.prior_rrset
        ours = (self._values[OTHER[to]], prior.values if prior else ())
        if prior and prior.values and (self._memory.prior or {})["to"] in (OTHER[to], "none") and now.values in ours:
            return prior
        return self._switched(now, to)

    # and doing it

    def switch(self, switches: Sequence[Switch], to: str, deadline: float, gate: Gate = contextlib.nullcontext) -> list[Seen]:
        updates = [one for one in switches if isinstance(one, Update)]
        for update in updates:
            key = self._key()
            with gate():
                self._capture(update.old, to)
                self._memory.expect(update.old)
                self._client.update(self._servers[0], key, update.old, update.new)
                self._memory.changed(update.old, update.new, self._occasion.run)
        wanted = updates[-1].new if updates else self._now()
        seen = self._wait(self._servers, wanted, float(self._item["propagation"]))
        if self._occasion.state in ("switched", "reverted"):
            seen += self._wait(self._resolvers, wanted, max(deadline, self._memory.stale_until - time.time() + MARGIN), recursive=True)
        if self._memory.prior and (self._occasion.state == "reverted" or (self._occasion.state == "restored" and self._side(wanted) == to)):
            with gate():
                self._memory.settle()
        return seen

    def _capture(self, old: RRset, to: str) -> None:
        """Where the TTL was lowered for this move, the one before that counts."""
        prior = self._memory.prior_rrset
        if self._occasion.state == "lowered":
            self._memory.capture(old, OTHER.get(self._side(old), "none"), self._occasion.run)
        elif self._occasion.state == "switched":
            ttl = max(prior.ttl, old.ttl) if prior and old.ttl <= self._lowered else old.ttl
            self._memory.capture(RRset(ttl, old.values), to, self._occasion.run)

    def _wait(self, servers: Sequence[str], wanted: RRset, patience: float, *, recursive: bool = False) -> list[Seen]:
        """Until each of them says what is wanted; a resolver counts the TTL down."""
        limit, seen, last = Deadline(patience), dict[str, Seen](), dict[str, str]()
        kind = "resolver" if recursive else "authoritative server"

        def all_say_so() -> bool:
            asked = [one for one in servers if one not in seen]
            for server, said in zip(asked, each(lambda server: self._said(server, recursive), asked)):
                last[server] = str(said)
                if isinstance(said, RRset) and said.values == wanted.values and (recursive or said.ttl == wanted.ttl):
                    seen[server] = Seen(f"{kind} {server}", f"{self._client.shown}: {said}")
                elif isinstance(said, NotReached) and not self._occasion.must_answer and server != self._servers[0]:
                    seen[server] = Seen(f"{kind} {server}", NO_ANSWER)
            return len(seen) == len(servers)

        if not limit.wait_for(all_say_so, every=LOOK_EVERY):
            wrong = "; ".join(f"{server} says {last[server]}" for server in servers if server not in seen)
            raise XdrError(
                f"not every {kind} says {self._client.shown}: {wanted} after {round(patience, 1):g} s: {wrong}",
                where=self._client.where,
                todo="See why it does not follow, then run it again: it goes on from what is there",
            )
        return [seen[server] for server in servers]

    def _said(self, server: str, recursive: bool) -> RRset | XdrError:
        try:
            return self._client.ask(server, recursive=recursive)
        except XdrError as error:
            return error
