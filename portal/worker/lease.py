# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""This worker's lease (store/workers.py): taken, renewed, and given up before another may take what it holds."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from ..store import Store, workers
from ..store.workers import LeaseLost, Worker
from . import slot
from .guardian import STRIKE, Guardian, now

TICK = 0.1

log = logging.getLogger("xdr.worker")


class Lease:
    """``id`` names the worker. ``ending`` is set when it is to end: it was asked to by ``stop``, or the lease runs out."""

    def __init__(self, store: Store, var: Path, worker_id: str, stop: threading.Event) -> None:
        self.id, self.ending = worker_id, threading.Event()
        self._store, self._stop, self._over = store, stop, threading.Event()
        self._renewed = now()
        # No other machine has a store that is a file, and a process of this one is known to live or not.
        self._guardian = Guardian(var, workers.KILL) if store.shared else None

    @property
    def fresh(self) -> bool:
        return now() - self._renewed < workers.LET_GO

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Renew it, until what was done under it has ended."""
        threads = [threading.Thread(target=work, name=work.__name__) for work in (self._renew, self._watch)]
        try:
            workers.enter(self._store, Worker(self.id, socket.gethostname(), os.getpid(), _version()))
            self._tell_guardian()
            for thread in threads:
                thread.start()
            yield
        finally:
            self._over.set()
            if self._guardian:
                self._guardian.farewell()
            for thread in threads:
                if thread.ident:
                    thread.join()
            with contextlib.suppress(Exception):  # it runs out, then
                workers.left(self._store, self.id)

    def _renew(self) -> None:
        while not self._over.wait(workers.BEAT):
            began = now()
            try:
                workers.beat(self._store, self.id)
            except LeaseLost:
                log.error("worker %s was taken for dead", self.id)
                if self._guardian:
                    self._guardian.tell(STRIKE)
                self.ending.set()
                return
            except Exception as error:
                log.warning("no heartbeat: %s", error)
            else:
                self._renewed = began
                self._tell_guardian()

    def _tell_guardian(self) -> None:
        if self._guardian:
            self._guardian.renewed(self._renewed)

    def _watch(self) -> None:
        """Does not wait for the store."""
        while not self._over.wait(TICK):
            if self._store.shared and not self.fresh and not self.ending.is_set():
                log.error("the store has not answered for %g s: worker %s lets go of its runs", workers.LET_GO, self.id)
                self.ending.set()
            if self._stop.is_set():
                self.ending.set()


@contextlib.contextmanager
def held(store: Store, var: Path, stop: threading.Event, *, once: bool = False) -> Iterator[Lease]:
    """Have a lease, and all that belongs to it."""
    place = slot.take(var, once=once)
    try:
        lease = Lease(store, var, place.id, stop)
        with lease.kept():
            yield lease
    finally:
        place.release()


def _version() -> str:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version("xdr-failback")
    return "unknown"
