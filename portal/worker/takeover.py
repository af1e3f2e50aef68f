# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Which workers are dead, so that what they had may be taken over: DBOS leaves it as it was.

A worker of this machine is dead when the kernel has opened its lock. One of another machine is dead when nobody here has seen its lease
renewed for ``workers.LEASE``, measured by this process's own clock, which nobody sets: its guardian has ended all it had before that.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from pathlib import Path

from ..processes import wait_gone
from ..store import Store, workers
from ..store.workers import Worker
from . import slot
from .slot import Standing

LOOK = 0.3  # seconds between two looks at one that is waited for

log = logging.getLogger("xdr.worker")


class Takeover:
    """Remembers when each lease was last seen to be renewed. Several threads may ask."""

    def __init__(self, store: Store, var: Path) -> None:
        self._store, self._var = store, var
        self._lock = threading.Lock()
        self._renewed: dict[str, tuple[float, float]] = {}  # worker -> its renewal, and when that was first seen here

    def look(self) -> None:
        """End the leases of the dead."""
        for worker in workers.known(self._store):
            if self._is_dead(worker) and workers.remove(self._store, worker):
                slot.forget(self._var, worker.id)
                log.warning("worker %s is dead", worker.id)

    def kill_frozen(self) -> None:
        """Kill the workers of this machine that have not renewed their lease for its whole time: nothing else can make them let go."""
        for worker in workers.known(self._store):
            if slot.standing(self._var, worker.id) is not Standing.LIVES or not self._silent(worker):
                continue
            if process := slot.holder(self._var, worker.id):
                log.error("worker %s, process %s, is frozen and is killed", worker.id, process.pid)
                process.signal(signal.SIGKILL)
                wait_gone([process], 2.0)

    def dead(self, worker_id: str) -> bool:
        """Whether it has no lease any more: an id is never used again."""
        return workers.get(self._store, worker_id) is None

    def dead_in_the_end(self, worker_id: str) -> bool:
        """The same, waited for where it is silent on another machine, until it is dead or renews its lease."""
        while True:
            self.look()
            worker = workers.get(self._store, worker_id)
            if worker is None:
                return True
            if worker.silent < workers.LET_GO or slot.standing(self._var, worker_id) is Standing.LIVES:
                return False
            time.sleep(LOOK)

    def _is_dead(self, worker: Worker) -> bool:
        standing = slot.standing(self._var, worker.id)
        return standing is Standing.DEAD or (standing is Standing.ELSEWHERE and self._silent(worker))

    def _silent(self, worker: Worker) -> bool:
        now = time.monotonic()  # after the row was read: a renewal is never taken for older than it is
        with self._lock:
            renewed, since = self._renewed.get(worker.id, (0.0, now))
            if renewed != worker.seen_at:
                self._renewed[worker.id] = (worker.seen_at, now)
                return False
        return now - since >= workers.LEASE
