# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Asks for a run and follows it in the store; where no worker is alive, one is lent to it."""

from __future__ import annotations

import contextlib
import getpass
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from . import var_folder
from .events import Listener
from .results import RunResult
from .store import Store, events, observations, runs
from .store.accounts import Role
from .store.engine import Pulse, url_of
from .store.runs import Run
from .worker import slot
from .worker.takeover import Takeover

if TYPE_CHECKING:
    from .question import Question

EVERY = 0.15  # seconds between two looks at the store


def open_store(inventory: Path) -> Store:
    """The environment's store. Raises XdrError: store_older, store_newer."""
    return Store.open(url_of(var_folder(inventory)))


def has_store(inventory: Path) -> bool:
    """For what only looks: no store is made for it."""
    var = var_folder(inventory)
    return not url_of(var).startswith("sqlite") or (var / "xdr.sqlite").exists()


def last_seen(plan: str, inventory: Path) -> dict[str, Any]:
    """The document of portal/status.py that a worker last put into the store; empty without one."""
    if not has_store(inventory):
        return {}
    with contextlib.closing(open_store(inventory)) as store:
        seen = observations.get(store, observations.of_plan(plan))
    return (seen.document if seen else None) or {}


def asked(store: Store, plan: Mapping[str, Any], document: Mapping[str, Any]) -> Question | None:
    """What the plan asks a person, by the document of portal/status.py that was read just now."""
    from .question import question

    if runs.active(store, plan["name"]):
        return None
    return question(plan, runs.newest_move(store, plan["name"]), document, time.time(), Role.dr_admin)


def me() -> str:
    """Who asks, for the audit trail: the account of this machine."""
    return getpass.getuser()


def execute(store: Store, inventory: Path, wanted: Run, on_event: Listener) -> RunResult:
    """Request the run and follow it to its end. Ctrl-C stops a run that this process works on, and leaves any other alone.

    Raises XdrError, code run_active; KeyboardInterrupt where the run goes on in a worker.
    """
    var = var_folder(inventory)
    if not slot.serving(store, var):
        runs.abandon(store, wanted.plan, Takeover(store, var).dead_in_the_end)
    run = runs.request(store, wanted)
    with _interruptible(), _worker(store, inventory, run) as lent:
        while True:
            try:
                return result_of(follow(store, run.id, on_event, lent))
            except KeyboardInterrupt:
                if not lent:
                    raise
                runs.send(store, run.id, runs.STOP, by=run.requested_by, origin=run.origin)


def follow(store: Store, run_id: str, on_event: Listener, lent: threading.Thread | None = None) -> Run:
    """Hand on each event as it comes, until the run has ended. ``lent``: the worker of this process, without which no end would come.

    Raises XdrError, code worker_lost, when that has let go of the run.
    """
    seq, before = 0, None
    with contextlib.closing(Pulse(store)) as pulse:
        while True:
            gone = lent is not None and not lent.is_alive()
            now = pulse.beat()
            if now == before and not gone:
                time.sleep(EVERY)
                continue
            before = now
            run = runs.get(store, run_id)
            while batch := events.after(store, run_id, seq):
                for event in batch:
                    seq = event["seq"]
                    on_event(event)
            if run.ended:
                return run
            if gone:
                raise XdrError(
                    "the worker of this command has let go of the run: it was taken for dead, or its store broke",
                    where=f"run {run_id}",
                    todo="Give the same command again: it goes on from there",
                    code="worker_lost",
                )


def result_of(run: Run) -> RunResult:
    """How a run that has ended came out."""
    told = dict(run.result or {"exit_code": run.exit_code, "code": run.code, "error": run.error})
    return RunResult.from_json({**told, "run_id": run.id, "action": run.action, "plan": run.plan})


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP are heard as Ctrl-C is."""
    numbers = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _worker(store: Store, inventory: Path, run: Run) -> Iterator[threading.Thread | None]:
    """The worker that had to be lent: it works in this process for as long as the run lasts. None where one serves."""
    if slot.serving(store, var_folder(inventory)):
        yield None
        return
    from .worker.worker import run_one  # only here, because it brings paramiko along

    thread = threading.Thread(target=run_one, args=(inventory, run.id), name="worker")
    thread.start()
    try:
        yield thread
    finally:
        thread.join()
