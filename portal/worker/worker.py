# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The worker's process.

Asked to end (SIGTERM, SIGINT), it ends as it would by a crash, but in good order: its playbooks get SIGTERM and clean up, their runs
stay ``running`` in the store and in the queue, and the next worker launches them again. To end a run, send it ``stop`` instead.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import FrameType

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .. import runs as folders
from .. import var_folder
from ..actions import ALL_PLANS
from ..events import Listener
from ..store import Store, runs, workers
from ..store.engine import url_of
from ..store.runs import Run
from ..store.workers import Worker
from . import slot
from .cycles import Cycles
from .execution import Executor, Prepare, requested
from .ledger import Leaving
from .plans import Plans
from .slot import Slot
from .watch import Watch

TICK = 0.2
REAP = 2.0  # seconds between two looks for workers that died
TIDY = 60.0  # seconds between two rounds of removing what ended long ago

log = logging.getLogger("xdr.worker")


def serve(
    inventory: Path,
    *,
    store: Store | None = None,
    stop: threading.Event | None = None,
    prepare: Prepare = requested,
    looks: bool = True,
) -> int:
    """Execute whatever is requested of this environment, until a signal or ``stop``. The exit code.

    ``prepare`` makes a run's launch; ``looks``: with cycles and observations. Raises XdrError for a store of another version.
    """
    ending = stop or threading.Event()
    with _opened(inventory, store) as opened, _signals(ending.set), _present(opened, var_folder(inventory)) as place:
        executor = Executor(opened, inventory, var_folder(inventory), place.id, ending, prepare)
        _Worker(executor, looks=looks).work()
    return 0


def run_one(
    inventory: Path, run_id: str, on_event: Listener | None = None, *, store: Store | None = None, prepare: Prepare = requested
) -> Run:
    """Execute this one run, whose row is in the store, and return its row when it has ended: for a command line without a worker.

    In the main thread a signal sends the run ``stop``; elsewhere the caller does that (store/runs.py send). A run that is executed
    by a worker already is waited for.
    """
    ending = threading.Event()
    with _opened(inventory, store) as opened, _present(opened, var_folder(inventory), once=True) as place:
        run = runs.get(opened, run_id)
        runs.handed(opened, run_id)

        def send_stop() -> None:
            with contextlib.suppress(Exception):
                runs.send(opened, run_id, runs.STOP, by=run.requested_by, origin=run.origin)

        executor = Executor(opened, inventory, var_folder(inventory), place.id, ending, prepare, on_event)
        thread = threading.Thread(target=executor.execute, args=(run_id,), name=f"run-{run_id}")
        with _signals(lambda: threading.Thread(target=send_stop).start()):
            thread.start()
            thread.join()
        return runs.get(opened, run_id)


class _Worker:
    def __init__(self, executor: Executor, *, looks: bool) -> None:
        self._executor, self._looks = executor, looks
        self._store, self._ending = executor.store, executor.ending
        self._plans = Plans(executor.inventory)
        self._cycles = Cycles(self._store, self._plans)
        self._watch = Watch(self._store, executor.inventory, self._plans, self._leads, self._ending, executor.prepare)
        self._reaped = self._tidied = 0.0
        self._active: set[str] = set()

    def work(self) -> None:
        from . import queue  # DBOS takes a while to import, and no lent worker needs it

        self._queue = queue
        if self._looks:
            self._executor.on_end = self._watch.ended
        watch = threading.Thread(target=self._watch.work, name="watch")
        queue.launch(self._executor.var, self._executor.worker, self._carry_out)
        log.info("worker %s serves %s", self._executor.worker, self._executor.inventory)
        try:
            self._resume()
            if self._looks:
                watch.start()
            while not self._ending.wait(TICK):
                self._tick()
        finally:
            self._ending.set()
            self._end_runs()
            queue.close()
            if watch.ident:
                watch.join()

    def _carry_out(self, run_id: str) -> None:
        self._active.add(run_id)
        try:
            if self._ending.is_set():
                raise Leaving
            self._executor.execute(run_id)
        finally:
            self._active.discard(run_id)

    def _end_runs(self) -> None:
        while self._active:
            time.sleep(0.02)

    def _tick(self) -> None:
        try:
            self._hand_over()
            if self._looks and self._leads():
                self._cycles.tick()
            if time.monotonic() - self._reaped >= REAP:
                self._reap()
                self._reaped = time.monotonic()
            if time.monotonic() - self._tidied >= TIDY:
                self._tidied = time.monotonic()
                self._queue.forget()
        except Exception:  # the store or the queue does not answer: what was not done now is done later
            log.exception("the worker could not do its round")
            self._ending.wait(1.0)

    def _hand_over(self) -> None:
        for run in runs.unended(self._store):
            if run.handed_at is None:
                self._queue.hand_over(run)
                runs.handed(self._store, run.id)

    def _resume(self) -> None:
        """All that has not ended goes into the queue, if it is not there: the queue's file may be lost, the store is what counts."""
        with contextlib.suppress(XdrError):  # a look that a dead worker left behind
            folders.end_leftovers(ALL_PLANS, self._executor.var)
        for run in runs.unended(self._store):
            self._queue.hand_over(run)

    def _reap(self) -> None:
        """Go on with the runs of workers that died, and of command lines that did."""
        for holder in self._queue.holders() - {self._executor.worker}:
            if self._dead(holder):
                log.warning("worker %s is dead: %s of its runs go on", holder, self._queue.recover(holder))
        for run in runs.unended(self._store):
            if workers.ONCE in run.worker and self._dead(run.worker):
                self._queue.hand_over(run)

    def _dead(self, worker: str) -> bool:
        return slot.dead(self._store, self._executor.var, worker)

    def _leads(self) -> bool:
        """Of the workers that live, one makes the cycles and the regular looks."""
        return min((one.id for one in workers.alive(self._store) if one.serves), default="") == self._executor.worker


@contextlib.contextmanager
def _opened(inventory: Path, store: Store | None) -> Iterator[Store]:
    if store is not None:
        yield store
        return
    opened = Store.open(url_of(var_folder(inventory)))
    try:
        yield opened
    finally:
        opened.close()


@contextlib.contextmanager
def _present(store: Store, var: Path, *, once: bool = False) -> Iterator[Slot]:
    """Have a slot, and beat."""
    place = slot.take(var, once=once)
    over = threading.Event()
    me = Worker(place.id, socket.gethostname(), os.getpid(), _version(), time.time(), time.time())

    def beat() -> None:
        while not over.wait(workers.BEAT):
            try:
                workers.beat(store, me)
            except Exception as error:
                log.warning("no heartbeat: %s", error)

    thread = threading.Thread(target=beat, name="heartbeat")
    try:
        workers.beat(store, me)
        thread.start()
        yield place
    finally:
        over.set()
        if thread.ident:
            thread.join()
        with contextlib.suppress(Exception):  # its lock tells, too
            workers.left(store, place.id)
        place.release()


def _version() -> str:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version("xdr-failback")
    return "unknown"


@contextlib.contextmanager
def _signals(ask: Callable[[], None]) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP ask for the end (only the main thread can hear them)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def heard(number: int, frame: FrameType | None) -> None:
        ask()

    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
