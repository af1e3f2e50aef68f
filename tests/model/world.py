# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A state of the model: three hosts, the runs at work on them, and what is still on its way."""

from __future__ import annotations

from typing import NamedTuple

PRIMARY, DR, WITNESS = range(3)
HOSTS = ("primary", "dr", "witness")
NO_GUARD, ASKING = -2, -1
NOBODY = -1
NEVER_LEASED, RUN_OUT = -1, 0

Pair = tuple[int, int]


class Host(NamedTuple):
    """``power``: up, cut (the controller cannot reach it, it runs on: frozen looks the same) or off. ``guard``: none, asking, or the
    number of the witness's record that it was told."""

    record: int
    power: str = "up"
    running: bool = False
    guard: int = NO_GUARD
    seen: Pair = (0, 0)  # the newest pair whose request was ever carried out here: the model's own memory, not the record's


class Ask(NamedTuple):
    """One module call on one host."""

    host: int
    kind: str
    arguments: str
    pair: Pair
    run_id: str
    attested: bool


class Run(NamedTuple):
    """A controller at work: what it knows (``facts``, by number), and the step it is at."""

    action: str
    name: str
    facts: int
    recovers: bool = False
    at: int = 0
    sent: tuple[int, ...] = ()  # hosts whose answer it waits for
    begun: tuple[int, ...] = ()  # of these, those where a start is under way
    failed: bool = False
    dropped: tuple[int, ...] = ()  # hosts that have left the play, as Ansible does with one that did not answer
    not_up: bool = False


class World(NamedTuple):
    hosts: tuple[Host, Host, Host]
    runs: tuple[Run, ...] = ()
    late: tuple[Ask, ...] = ()  # asks that nobody waits for any more, and that may still be carried out
    faults: int = 0  # left
    starts: int = 0  # left
    traffic: int = PRIMARY  # where clients are routed to
    ahead: int = NOBODY  # the site that has writes of clients which the other lacks
    lease: int = NEVER_LEASED  # the primary's, as the witness counts: the epoch that it was granted for, while it runs

    def with_host(self, which: int, **changes: object) -> World:
        hosts = list(self.hosts)
        hosts[which] = hosts[which]._replace(**changes)  # type: ignore[arg-type]
        return self._replace(hosts=tuple(hosts))  # type: ignore[arg-type]

    def with_run(self, index: int, *runs: Run) -> World:
        """The run replaced, or gone. Runs have no order: worlds that differ in it alone are one."""
        return self._replace(runs=tuple(sorted((*self.runs[:index], *runs, *self.runs[index + 1 :]))))

    def with_late(self, *asks: Ask) -> World:
        return self._replace(late=tuple(sorted({*self.late, *asks})))
