# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The worker's process.

Asked to end (SIGTERM, SIGINT), it ends as it would by a crash, but in good order: its playbooks get SIGTERM and clean up, their runs
stay ``running`` in the store and in the queue, and the next worker launches them again. To end a run, send it ``stop`` instead.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
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
from . import lease, slot
from .announcer import Announcer
from .cycles import Cycles
from .execution import Executor, Prepare, requested
from .lease import Lease
from .ledger import Leaving
from .openings import Openings
from .overdue import Overdue
from .plans import Plans
from .watch import Watch

TICK = 0.2
PAUSE = 1.0
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
    stop = stop or threading.Event()
    served = False
    with _opened(inventory, store) as opened, _signals(stop.set):
        while not stop.is_set():
            try:
                with lease.held(opened, var_folder(inventory), stop) as mine:
                    executor = Executor(opened, inventory, var_folder(inventory), mine.id, mine.ending, prepare)
                    worker = _Worker(executor, mine, looks=looks)
                    try:
                        worker.work()
                    finally:
                        served = served or worker.served
            except Exception as error:  # it lost its lease because the store did not answer, and has to wait for it
                if not served:
                    raise
                log.warning("the worker waits: %s", error)
                stop.wait(PAUSE)
    return 0


def run_one(
    inventory: Path, run_id: str, on_event: Listener | None = None, *, store: Store | None = None, prepare: Prepare = requested
) -> Run:
    """Execute this one run, whose row is in the store, and return its row when it has ended: for a command line without a worker.

    In the main thread a signal sends the run ``stop``; elsewhere the caller does that (store/runs.py send). A run that is executed
    by a worker already is waited for.
    """
    with _opened(inventory, store) as opened, lease.held(opened, var_folder(inventory), threading.Event(), once=True) as mine:
        run = runs.get(opened, run_id)
        runs.handed(opened, run_id)

        def send_stop() -> None:
            with contextlib.suppress(Exception):
                runs.send(opened, run_id, runs.STOP, by=run.requested_by, origin=run.origin)

        executor = Executor(opened, inventory, var_folder(inventory), mine.id, mine.ending, prepare, on_event)
        thread = threading.Thread(target=_execute, args=(executor, run_id), name=f"run-{run_id}")
        with _signals(lambda: threading.Thread(target=send_stop).start()):
            thread.start()
            thread.join()
        return runs.get(opened, run_id)


def _execute(executor: Executor, run_id: str) -> None:
    with contextlib.suppress(Leaving):  # another one goes on with it
        executor.execute(run_id)


class _Worker:
    def __init__(self, executor: Executor, mine: Lease, *, looks: bool) -> None:
        self._executor, self._lease, self._looks = executor, mine, looks
        self._store, self._ending = executor.store, executor.ending
        self._plans = Plans(executor.inventory)
        self._cycles = Cycles(self._store, self._plans)
        self._overdue = Overdue(self._store, self._plans)
        self._openings = Openings(self._store, self._plans)
        self._watch = Watch(self._store, executor.inventory, self._plans, self._leads, self._ending, executor.prepare)
        self._announcer = Announcer(self._store, executor.inventory, self._plans, self._leads, self._ending, executor.worker)
        self._reaped = self._tidied = 0.0
        self._active: set[str] = set()
        self.served = False  # that far it came: store and queue have answered

    def work(self) -> None:
        from . import queue  # DBOS takes a while to import, and no lent worker needs it

        self._queue = queue
        if self._looks:
            self._executor.on_end = self._watch.ended
        sides = [threading.Thread(target=each.work, name=name) for name, each in (("watch", self._watch), ("announcer", self._announcer))]
        queue.launch(self._executor.var, self._executor.worker, self._carry_out)
        log.info("worker %s serves %s", self._executor.worker, self._executor.inventory)
        self.served = True
        try:
            self._resume()
            for side in sides if self._looks else []:
                side.start()
            while not self._ending.wait(TICK):
                self._tick()
        finally:
            self._ending.set()
            self._end_runs()
            queue.close()
            for side in sides:
                if side.ident:
                    side.join()

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
                self._overdue.tick()
                self._openings.tick()
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
        slot.tidy(self._executor.var, {one.id for one in workers.known(self._store)})
        with contextlib.suppress(XdrError):  # a look that a dead worker left behind
            folders.end_leftovers(ALL_PLANS, self._executor.var)
        for run in runs.unended(self._store):
            self._queue.hand_over(run)

    def _reap(self) -> None:
        """Go on with the runs of workers that died, and of command lines that did."""
        takeover = self._executor.takeover
        if self._lease.fresh:  # else it may be the store that does not answer, to nobody
            takeover.kill_frozen()
        takeover.look()
        for holder in self._queue.holders() - {self._executor.worker}:
            if takeover.dead(holder):
                log.warning("%s runs of worker %s go on", self._queue.recover(holder), holder)
        for run in runs.unended(self._store):
            if workers.ONCE in run.worker and takeover.dead(run.worker):
                self._queue.hand_over(run)

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
