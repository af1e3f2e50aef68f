# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Events on their way into the store, in batches: a run tells hundreds a second, and each transaction is one fsync."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from ..store import Store, events
from ..store.engine import may_pass
from ..store.events import Event
from ..store.runs import Run
from ..store.workers import LeaseLost

EVERY = 0.1  # seconds that an event waits at most
MANY = 200  # events that are not waited with
PAUSE = 1.0

Answer = TypeVar("Answer")
log = logging.getLogger("xdr.worker")


class Leaving(BaseException):
    """The worker ends, and leaves its run to the next one."""


def insist(what: Callable[[], Answer], ending: threading.Event) -> Answer:
    """Try until the store answers: a run must not be lost over a full disk or a database that is restarted.

    Raises Leaving, and what no further try would change.
    """
    told = False
    while True:
        try:
            return what()
        except LeaseLost:
            raise Leaving from None
        except Exception as error:
            if not may_pass(error):
                raise
            if not told:
                log.error("the store does not answer, trying again: %s", error)
            told = True
        if ending.wait(PAUSE):
            raise Leaving


def of_interest(run: Run) -> Callable[[Event], bool]:
    """Which events of a launch the store keeps.

    ``ended`` is told once, by the run itself, when no further launch follows. The schedule's cycles come every few seconds for
    years, and events are never removed: of them only the beginning, failures and what was sent of each volume.
    """
    return _of_a_cycle if run.cycle else (lambda event: event["kind"] != "ended")


def _of_a_cycle(event: Event) -> bool:
    match event["kind"]:
        case "started":
            return True
        case "result":
            return event["status"] in ("failed", "unreachable")
        case "progress":
            return bool(event.get("what") == "bytes" and event["done"] >= event["total"])
        case "message":
            return bool(event["level"] == "error")
    return False


class Ledger:
    """Takes a run's events from any thread, in order; leaving it waits until all are stored, and raises why they could not be."""

    def __init__(self, store: Store, run_id: str, worker: str, ending: threading.Event) -> None:
        self._store, self._run_id, self._worker, self._ending = store, run_id, worker, ending
        self._waiting: list[Event] = []
        self._last: int | None = None  # the number of the newest event
        self._news = threading.Condition()
        self._over = False
        self._broke: Exception | None = None
        self._thread = threading.Thread(target=self._work, name=f"events-{run_id}", daemon=True)

    def add(self, event: Event) -> None:
        with self._news:
            self._waiting.append(event)
            if len(self._waiting) >= MANY:
                self._news.notify()

    def __enter__(self) -> Ledger:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._news:
            self._over = True
            self._news.notify()
        self._thread.join()
        if self._broke and error is None:
            raise self._broke

    def _work(self) -> None:
        over = False
        while not over:
            with self._news:
                if not self._over:
                    self._news.wait(EVERY)
                batch, self._waiting, over = self._waiting, [], self._over
            if batch:
                try:
                    insist(lambda batch=batch: self._append(batch), self._ending)  # type: ignore[misc]
                except Leaving:
                    return  # the next worker finds them in the launch's own file
                except Exception as error:
                    self._broke = error
                    return

    def _append(self, batch: list[Event]) -> None:
        if self._last is None:
            self._last = events.last(self._store, self._run_id)
        self._last = events.append(self._store, self._run_id, batch, by=self._worker, after=self._last)
