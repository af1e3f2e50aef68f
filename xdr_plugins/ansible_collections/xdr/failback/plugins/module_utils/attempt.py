# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Changing a plan on this host: under its lock, for the newest attempt only, with the phase marked in the record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from . import record as records
from .durable import locked
from .record import Record
from .site import load_plan, plan_dir

Pair = tuple[int, int]


class Holding:
    """The record of the plan while a change is under way."""

    def __init__(self, state_dir: Path, plan: str, pair: Pair, timeout: float) -> None:
        self._state_dir, self._plan, self._pair, self._timeout = Path(state_dir), plan, pair, timeout
        self.record = records.load(self._state_dir, plan)

    def save(self, record: Record) -> Record:
        """Write the record durably, if it is another one, and return it as it was written; only inside the lock."""
        if record != self.record:
            self.record = records.save(self._state_dir, record)
        return self.record

    @contextlib.contextmanager
    def locked(self) -> Iterator[Holding]:
        """Hold the plan's lock with a freshly read record; refuses when a newer attempt has come in between."""
        with locked(plan_dir(self._state_dir, self._plan) / "lock", timeout=self._timeout):
            self.record = records.load(self._state_dir, self._plan)
            records.check_attempt(self.record, self._pair)
            yield self

    def begin(self, run_id: str, phase: str) -> None:
        """Store the pair, and mark the phase's intent; inside the lock.

        A host that the run did not claim, because it did not answer then, takes it for its own unfinished one. That it has no plan hash
        says that this is a guess.
        """
        record = self.record
        run = record.run
        if self._pair != record.attempt or (run_id and (run is None or run["id"] != run_id)):
            action = run["action"] if run else ""
            request = {"request": "claimed", "attempt": self._pair, "run_id": run_id or (run or {}).get("id", ""), "action": action}
            record = records.transition(record, request, time.time())
            record = replace(record, run={**(record.run or {}), "plan_hash": ""})
        self.save(records.mark_intent(record, phase, time.time()) if phase else record)

    def end(self, phase: str) -> None:
        if phase:
            self.save(records.mark_done(self.record, phase, time.time()))


@contextlib.contextmanager
def held(state_dir: Path, plan: str, pair: Pair, *, run_id: str = "", phase: str = "", timeout: float = 30.0) -> Iterator[Holding]:
    """Do something short under the plan's lock.

    Marks ``phase`` as intended before and as done after; an exception leaves the mark open.
    Raises Refused (``stale_attempt``) for a pair [epoch, attempt] older than the newest seen, XdrError when the lock is not
    free within ``timeout`` seconds.
    """
    load_plan(state_dir, plan)
    holding = Holding(state_dir, plan, (int(pair[0]), int(pair[1])), timeout)
    with holding.locked():
        holding.begin(run_id, phase)
        yield holding
        holding.end(phase)


@contextlib.contextmanager
def tracked(state_dir: Path, plan: str, pair: Pair, *, run_id: str = "", phase: str = "", timeout: float = 30.0) -> Iterator[Holding]:
    """Do something long: the lock is held at the beginning and the end only, and the pair is checked both times.

    In between, ``with holding.locked():`` gives the lock, the check and a fresh ``holding.record`` for the moments that change something.
    """
    load_plan(state_dir, plan)
    holding = Holding(state_dir, plan, (int(pair[0]), int(pair[1])), timeout)
    with holding.locked():
        holding.begin(run_id, phase)
    yield holding
    with holding.locked():
        holding.end(phase)
