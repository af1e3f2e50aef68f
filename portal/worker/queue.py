# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""All of DBOS: the durable queue of runs. A run is a workflow of the same id, which is gone on with after any death."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from dbos import DBOS, DBOSConfig

from ..store import address
from ..store import engine as store_engine
from ..store.runs import Run

NAME = "runs"
VERSION = "1"  # of the workflow's steps, not of the program: a new program goes on with the runs of the one before it
AT_ONCE = 4  # runs of one worker
EVERY = 0.2  # seconds between two looks at the queue
KEPT = 3600.0  # seconds that a run stays in the queue's tables after its end

_carry_out: Callable[[str], None] | None = None


@DBOS.step(name="carry_out")
def _step(run_id: str) -> None:
    assert _carry_out is not None  # noqa: S101 - nothing runs before launch()
    _carry_out(run_id)


@DBOS.workflow(name="execute", max_recovery_attempts=None)
def _workflow(run_id: str) -> None:
    """One step: what to launch and what was launched is in the store and on disk, so any repetition of it finds its way."""
    _step(run_id)


def url_of(var: Path) -> str:
    """Its tables lie beside the store's: in the same PostgreSQL database, in the schema ``dbos``, or in a file of their own."""
    url = store_engine.url_of(var)
    return f"sqlite:///{var / 'dbos.sqlite'}" if url.startswith("sqlite") else url


def launch(var: Path, worker: str, carry_out: Callable[[str], None]) -> None:
    """Take runs from the queue. Raises XdrError, code queue."""
    global _carry_out
    _carry_out = carry_out
    url = url_of(var)
    try:
        _open(url, worker)
    except Exception as error:
        DBOS.destroy()
        todo = "See that the database is there, and that this account may write to it and make a schema in it"
        raise XdrError(
            f"the queue cannot be opened ({address.reason(url, error)})", where=address.shown(url), todo=todo, code="queue"
        ) from error


def _open(url: str, worker: str) -> None:
    if url.startswith("sqlite:///"):
        _prepare(Path(url.removeprefix("sqlite:///")))
    config: DBOSConfig = {
        "name": "xdr",
        "system_database_url": url,
        "application_version": VERSION,
        "executor_id": worker,
        "log_level": "ERROR",
        "enable_otlp": False,
    }
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue(NAME, worker_concurrency=AT_ONCE, partition_concurrency=1, polling_interval_sec=EVERY, on_conflict="always_update")


def _prepare(file: Path) -> None:
    """With a write-ahead log readers and the writer do not wait for each other."""
    file.parent.mkdir(parents=True, exist_ok=True)
    store_engine.make_private(file)
    with contextlib.closing(sqlite3.connect(file, timeout=30)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def close() -> None:
    """Let go of everything; what has not ended stays in the queue under this worker's name."""
    DBOS.destroy()


def hand_over(run: Run) -> None:
    """Put it in the queue; a second time changes nothing. Runs of one partition never overlap."""
    partition = run.plan if run.exclusive or run.cycle else run.id
    DBOS.enqueue_workflow_with_options(
        {
            "workflow_name": "execute",
            "queue_name": NAME,
            "workflow_id": run.id,
            "queue_partition_key": partition,
            "app_version": VERSION,
        },
        run.id,
    )


def holders() -> set[str]:
    """The workers that have taken runs from the queue and not ended them."""
    pending = DBOS.list_workflows(status="PENDING", queue_name=NAME, load_input=False, load_output=False)
    return {one.executor_id for one in pending if one.executor_id}


def recover(worker: str) -> int:
    """Put back into the queue what a dead worker had; how many runs. In one statement for each, so it hits no run that another has taken.

    (DBOS's resume_workflow does not look at who has the workflow: it would also hit a run that has just been taken.)
    """
    return len(DBOS._recover_pending_workflows([worker]))


def forget() -> int:
    """Remove what has ended long ago; the store keeps the runs. How many."""
    before = datetime.fromtimestamp(time.time() - KEPT, UTC).isoformat()
    done = DBOS.list_workflows(status="SUCCESS", completed_before=before, limit=1000, load_input=False, load_output=False)
    if done:
        DBOS.delete_workflows([one.workflow_id for one in done])
    return len(done)
