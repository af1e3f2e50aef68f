# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Runs: requested by a person or the schedule, executed by a worker, one exclusive run of a plan at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from sqlalchemy.engine import Connection, RowMapping
from sqlalchemy.exc import IntegrityError

from . import audit, events, workers
from .engine import Store
from .holder import lock
from .tables import ASKED_FOR, SCHEDULED, UNENDED
from .tables import runs as table
from .workers import LeaseLost

STOP, STOP_AFTER, ROLLBACK, DEADLINE = "stop", "stop_after", "rollback", "deadline"  # stop_after: once the present step is done
MOVES = ("failback", "rollback")  # what may end in a question (portal/question.py)
TESTED = ("failback", "failover")  # of whose check runs the newest is the plan's last test
SCHEDULE, ADOPTED = "schedule", "adopted"  # origins beside portal and command line


@dataclass(frozen=True)
class Run:
    """Times are Unix seconds; ``result`` is RunResult.to_json() once it has ended."""

    id: str
    plan: str
    action: str
    check: bool = False
    exclusive: bool = True
    status: str = "queued"  # queued, running, ended
    origin: str = "command line"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    requested_by: str = ""
    requested_at: float = 0.0
    handed_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    attempts: int = 0
    worker: str = ""
    message: str = ""  # stop, stop_after, rollback, or deadline: a rollback that nobody asked for
    message_by: str = ""
    exit_code: int | None = None
    code: str = ""
    error: str = ""
    result: Mapping[str, Any] | None = None
    launches: Sequence[Mapping[str, Any] | None] | None = None

    @property
    def ended(self) -> bool:
        return self.status == "ended"

    @property
    def goes_back(self) -> bool:
        """Whether it was told to undo what it did; that is not taken back."""
        return self.message in (ROLLBACK, DEADLINE)

    @property
    def cycle(self) -> bool:
        """A replication cycle of the schedule: it gives way to any other exclusive run."""
        return self.origin == SCHEDULE and self.action == "replicate"


def _run(row: RowMapping) -> Run:
    return Run(**dict(row))


def request(store: Store, run: Run, also: Callable[[Connection], None] | None = None) -> Run:
    """Queue the run, with an audit entry in the same transaction, and let the plan's cycle give way to it. ``also``: what else is so then.

    Raises XdrError, naming what is in the way: run_active, or wrong_state for an answer to a question that is not asked any more; that
    leaves an audit entry too.
    """
    run = Run(**{**run.__dict__, "requested_at": run.requested_at or time.time()})
    try:
        with store.writing() as connection:
            if "answer" in run.arguments:
                _refuse_late(connection, run)
            if run.exclusive:
                _refuse_second(connection, run)
            if run.exclusive and not run.cycle:
                _send_cycles_away(connection, run)
            connection.execute(table.insert().values(**run.__dict__))
            if also:
                also(connection)
            if "answer" in run.arguments:
                told = f"{run.requested_by} answered: {run.arguments['answer']['told']}"
                events.add(connection, run.id, [_warning(told, run.requested_at)])
            if run.origin != SCHEDULE:
                detail = f"run {run.id}. {_detail(run)}".strip()
                audit.write(connection, run.requested_by, run.origin, run.action, f"plan {run.plan}", detail)
    except IntegrityError as error:  # two machines at once, on PostgreSQL
        raise _taken(run, active(store, run.plan)) from error
    except XdrError as error:
        audit.add(store, run.requested_by, run.origin, run.action, f"plan {run.plan}", error.sentence(), outcome="refused")
        raise
    return run


def _detail(run: Run) -> str:
    return ", ".join(f"{name}: {value['told'] if isinstance(value, Mapping) else value}" for name, value in run.arguments.items())


def _warning(text: str, at: float) -> dict[str, Any]:
    return {"kind": "message", "at": round(at, 3), "level": "warning", "text": text}


def _refuse_late(connection: Connection, run: Run) -> None:
    """Only the newest move of a plan asks."""
    newest = connection.execute(_newest_move_of(run.plan)).mappings().first()
    if not newest or newest["id"] != run.arguments["answer"]["of"]:
        raise _late(run)


def _late(run: Run) -> XdrError:
    of = run.arguments["answer"]["of"]
    what = f"run {of} does not ask any more: it was answered, or another run came after it"
    return XdrError(what, where=f"plan {run.plan}", todo=f"xdr status {run.plan} shows what is so now", code="wrong_state")


def _refuse_second(connection: Connection, run: Run) -> None:
    other = connection.execute(_active_of(run.plan)).mappings().first()
    if other:
        raise _taken(run, _run(other))


def _active_of(plan: str) -> sa.Select[Any]:
    return sa.select(table).where(table.c.plan == plan, UNENDED, table.c.exclusive)


def _taken(run: Run, other: Run | None) -> XdrError:
    return _late(run) if "answer" in run.arguments else _active(run, other)


def _active(run: Run, other: Run | None) -> XdrError:
    what = "another run has just begun"
    if other:
        since = datetime.fromtimestamp(other.requested_at).strftime("%H:%M:%S")
        what = f"run {other.id} ({other.action}, asked for by {other.requested_by} at {since}) is active"
    todo = f"Wait until it ends, or stop it: xdr run stop {other.id}" if other else "Try again"
    return XdrError(what, where=f"plan {run.plan}", todo=todo, code="run_active")


def _send_cycles_away(connection: Connection, run: Run) -> None:
    cycles = (table.c.plan == run.plan, table.c.status != "ended", table.c.origin == SCHEDULE, table.c.action == "replicate")
    connection.execute(table.update().where(*cycles, table.c.message == "").values(message=STOP, message_by=f"run {run.id}"))


def get(store: Store, run_id: str) -> Run:
    """Raises XdrError, code usage, for an id that the store does not have."""
    with store.reading() as connection:
        row = connection.execute(sa.select(table).where(table.c.id == run_id)).mappings().first()
    if row is None:
        raise XdrError(f"no run is named {run_id!r}", todo="xdr run list shows them", code="usage")
    return _run(row)


def active(store: Store, plan: str) -> Run | None:
    """The plan's exclusive run that has not ended."""
    with store.reading() as connection:
        row = connection.execute(_active_of(plan)).mappings().first()
    return _run(row) if row else None


def unended(store: Store, worker: str | None = None) -> list[Run]:
    """All runs that have not ended, oldest first; only those that a worker has begun, where one is named."""
    wanted = sa.select(table).where(UNENDED).order_by(table.c.requested_at)
    if worker is not None:
        wanted = wanted.where(table.c.worker == worker)
    with store.reading() as connection:
        return [_run(row) for row in connection.execute(wanted).mappings()]


def latest(store: Store, *, plan: str = "", limit: int = 50, cycles: bool = False, before: float | None = None) -> list[Run]:
    """The newest first; the schedule's cycles only where they are asked for. ``before``: those requested earlier than that."""
    wanted = sa.select(table).order_by(table.c.requested_at.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(table.c.requested_at < before)
    if not plan:
        return _newest(store, limit, wanted if cycles else wanted.where(ASKED_FOR))
    wanted = wanted.where(table.c.plan == plan)
    return _newest(store, limit, wanted.where(ASKED_FOR), *([wanted.where(SCHEDULED)] if cycles else []))


def _newest(store: Store, limit: int, *several: sa.Select[Any]) -> list[Run]:
    """Of what several queries find, each through its own index."""
    with store.reading() as connection:
        found = [_run(row) for wanted in several for row in connection.execute(wanted).mappings()]
    return sorted(found, key=lambda run: run.requested_at, reverse=True)[:limit]


def at_work(store: Store) -> dict[str, Run]:
    """The exclusive run that has not ended, by plan."""
    with store.reading() as connection:
        rows = connection.execute(sa.select(table).where(UNENDED, table.c.exclusive)).mappings()
        return {row["plan"]: _run(row) for row in rows}


def ended_since(store: Store, at: float) -> list[tuple[str, str, float]]:
    """Plan, id and end of each exclusive run that has ended at that time or later, the newest first."""
    columns = (table.c.requested_at, table.c.plan, table.c.id, table.c.ended_at)
    wanted = sa.select(*columns).where(table.c.ended_at >= at, table.c.exclusive, table.c.started_at.is_not(None))
    with store.reading() as connection:
        found = sorted(tuple(row) for row in connection.execute(wanted))
    return [(plan, run_id, end) for _, plan, run_id, end in reversed(found)]


def heads(store: Store, limit: int) -> list[tuple[str, str, str]]:
    """Id, status and message of the newest runs that a page lists."""
    wanted = sa.select(table.c.id, table.c.status, table.c.message).where(ASKED_FOR).order_by(table.c.requested_at.desc()).limit(limit)
    with store.reading() as connection:
        return [(run_id, status, message) for run_id, status, message in connection.execute(wanted)]


def some(store: Store, run_ids: Collection[str]) -> list[Run]:
    """Those of the ids that there are, without their results."""
    columns = [column for column in table.c if column.name not in ("result", "launches")]
    with store.reading() as connection:
        return [_run(row) for row in connection.execute(sa.select(*columns).where(table.c.id.in_(run_ids))).mappings()]


def newest_move(store: Store, plan: str) -> Run | None:
    """The newest failback or rollback that did not only check."""
    with store.reading() as connection:
        row = connection.execute(_newest_move_of(plan)).mappings().first()
    return _run(row) if row else None


def _newest_move_of(plan: str) -> sa.Select[Any]:
    moves = (table.c.plan == plan, table.c.action.in_(MOVES), sa.not_(table.c.check))
    return sa.select(table).where(*moves).order_by(table.c.requested_at.desc()).limit(1)


def newest_test(store: Store, plan: str) -> Run | None:
    """The newest check run of a failback or failover that has ended: the hosts were asked for real, nothing was changed."""
    checks = (table.c.plan == plan, table.c.action.in_(TESTED), table.c.check, table.c.status == "ended")
    with store.reading() as connection:
        row = connection.execute(sa.select(table).where(*checks).order_by(table.c.requested_at.desc()).limit(1)).mappings().first()
    return _run(row) if row else None


def answer_to(store: Store, run: Run) -> Run | None:
    """The run that the answer to this one's question led to."""
    moves = (table.c.plan == run.plan, table.c.action.in_(MOVES), table.c.requested_at > run.requested_at)
    wanted = sa.select(table).where(*moves, table.c.arguments["answer"]["of"].as_string() == run.id)
    with store.reading() as connection:
        row = connection.execute(wanted).mappings().first()
    return _run(row) if row else None


def last_begun(store: Store, plan: str, action: str) -> float | None:
    """When the newest run of the action began, or was requested where it has not begun; None where there was none."""
    newest = sa.select(sa.func.coalesce(table.c.started_at, table.c.requested_at)).where(table.c.plan == plan, table.c.action == action)
    with store.reading() as connection:
        found = connection.execute(newest.order_by(table.c.requested_at.desc()).limit(1)).scalar()
    return None if found is None else float(found)


def handed(store: Store, run_id: str) -> None:
    """The queue has it."""
    with store.writing() as connection:
        connection.execute(table.update().where(table.c.id == run_id, table.c.handed_at.is_(None)).values(handed_at=time.time()))


def _is_free(connection: Connection, run_id: str, worker: str) -> bool:
    before = lock(connection, run_id)
    return before in ("", worker) or not workers.there(connection, before)


def claim(store: Store, run_id: str, worker: str) -> bool:
    """Whether the run is this worker's now: not for as long as another that had it keeps its lease. Raises LeaseLost: its own is gone."""
    with store.writing() as connection:
        free = _is_free(connection, run_id, worker)
        if not workers.there(connection, worker):
            raise LeaseLost
        if free:
            connection.execute(table.update().where(table.c.id == run_id, table.c.status != "ended").values(worker=worker))
        return free


def begin(store: Store, run_id: str, worker: str, launches: Sequence[Mapping[str, Any] | None] = ()) -> int:
    """A worker launches it: the number of this attempt, from 1; 0 for a run that has ended. ``launches``: what came of those before.

    Raises LeaseLost where another worker has it.
    """
    with store.writing() as connection:
        if not _is_free(connection, run_id, worker):
            raise LeaseLost
        row = connection.execute(sa.select(table).where(table.c.id == run_id)).mappings().one()
        if row["status"] == "ended":
            return 0
        values = {"status": "running", "attempts": row["attempts"] + 1, "worker": worker, "started_at": row["started_at"] or time.time()}
        connection.execute(table.update().where(table.c.id == run_id).values(**values, launches=list(launches)))
        return int(values["attempts"])


def finish(store: Store, run_id: str, result: Mapping[str, Any], *, by: str = "") -> None:
    """Record how it ended; a second time changes nothing. ``result``: exit_code, code, error and whatever else a RunResult has.

    Raises LeaseLost where it is the word ``by`` a worker that has it no more.
    """
    with store.writing() as connection:
        lock(connection, run_id, by)
        connection.execute(table.update().where(table.c.id == run_id, table.c.status != "ended").values(**_ended(result)))


def _ended(result: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: result[name] for name in ("exit_code", "code", "error")}
    return {"status": "ended", "ended_at": time.time(), "result": dict(result), **own}


def _never_begun(by: str) -> dict[str, Any]:
    error = f"the run was stopped by {by} before it had begun; nothing was changed"
    return {"exit_code": 1, "code": "stopped", "error": error, "stopped": True}


def adopt(store: Store, run: Run) -> bool:
    """Keep a run that another controller began, as one that is over here; whether it was not known yet."""
    over = {"status": "ended", "ended_at": time.time(), "exit_code": 1, "code": "abandoned"}
    with store.writing() as connection:
        if connection.execute(sa.select(table.c.id).where(table.c.id == run.id)).first():
            return False
        connection.execute(table.insert().values(**{**run.__dict__, **over}))
    return True


ABANDONED = "the process that worked on it died, and another command took its place; what it had finished is marked in the sites' records"


def abandon(store: Store, plan: str, dead: Callable[[str], bool]) -> list[str]:
    """End the runs of a plan that a worker had which is dead, so that the next one can begin; their ids."""
    left = [run for run in unended(store) if run.plan == plan and run.worker and dead(run.worker)]
    for run in left:
        finish(store, run.id, {"exit_code": 1, "code": "abandoned", "error": ABANDONED})
    return [run.id for run in left]


def send(store: Store, run_id: str, message: str, *, by: str, origin: str, told: str = "") -> Run:
    """Give the active run a message, ``stop``, ``stop_after``, ``rollback`` or ``deadline``; the last one counts, but a rollback is not
    taken back, a stop is not put off, and the deadline takes no message's place but that of a stop that waits for its step. ``told``
    becomes an event of the run.

    A run that no worker has begun is stopped at once.

    Raises XdrError: usage (no such run), wrong_state (it has ended, or it is none that can be rolled back or stops after a step).
    """
    run = get(store, run_id)
    subject = f"run {run.id} of plan {run.plan}"
    try:
        with store.writing() as connection:
            run = _run(connection.execute(sa.select(table).where(table.c.id == run_id).with_for_update()).mappings().one())
            if run.ended:
                raise XdrError(f"run {run.id} ({run.action}) has ended already", where=f"plan {run.plan}", code="wrong_state")
            if message != STOP and (run.action != "failback" or run.check):
                what = "stops after a step" if message == STOP_AFTER else "is rolled back"
                raise XdrError(f"run {run.id} is a {run.action}, only a failback {what}", where=f"plan {run.plan}", code="wrong_state")
            if message in (STOP, STOP_AFTER) and run.status == "queued":
                connection.execute(table.update().where(table.c.id == run_id).values(**_ended(_never_begun(by))))
            if message == DEADLINE and run.message not in ("", STOP_AFTER):
                return run
            if (run.message, message) != (STOP, STOP_AFTER) and (not run.goes_back or (run.message, message) == (DEADLINE, ROLLBACK)):
                connection.execute(table.update().where(table.c.id == run_id).values(message=message, message_by=by))
            if told:
                events.add(connection, run_id, [_warning(told, time.time())])
            audit.write(connection, by, origin, message, subject, told)
    except XdrError as error:
        audit.add(store, by, origin, message, subject, error.sentence(), outcome="refused")
        raise
    return get(store, run_id)


def message(store: Store, run_id: str) -> str:
    with store.reading() as connection:
        return str(connection.execute(sa.select(table.c.message).where(table.c.id == run_id)).scalar() or "")
