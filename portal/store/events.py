# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The event ledger: for each run a sequence without gaps, which is only appended to."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import holder
from .engine import Store
from .tables import events as table
from .tables import runs

Event = dict[str, Any]


def append(store: Store, run_id: str, batch: Iterable[Event], *, by: str = "", after: int | None = None) -> int:
    """Number the events after those that are there and keep them; the number of the last one.

    An event is as portal/events.py describes; its own ``seq`` and ``run`` are replaced by the store's. ``after``: the number of the last
    one that the only writer knows of; where there are more, it tries again what had come through without an answer.
    Raises LeaseLost where they come ``by`` a worker that has the run no more.
    """
    with store.writing() as connection:
        holder.lock(connection, run_id, by)
        last = _last(connection, run_id)
        if after is not None and last > after:
            return last
        return add(connection, run_id, batch)


def add(connection: Connection, run_id: str, batch: Iterable[Event]) -> int:
    """The same, in the transaction of what they tell of, which has locked the run."""
    last = _last(connection, run_id)
    rows = [
        {"run_id": run_id, "seq": last + number, "at": event["at"], "kind": event["kind"], "body": _body(event)}
        for number, event in enumerate(batch, 1)
    ]
    if rows:
        connection.execute(table.insert(), rows)
    return last + len(rows)


def _last(connection: Connection, run_id: str) -> int:
    return int(connection.execute(sa.select(sa.func.max(table.c.seq)).where(table.c.run_id == run_id)).scalar() or 0)


def _body(event: Event) -> Event:
    return {key: value for key, value in event.items() if key not in ("seq", "run", "at", "kind")}


def after(store: Store, run_id: str, seq: int = 0, limit: int = 5000) -> list[Event]:
    """The run's events with a greater number, in order."""
    wanted = sa.select(table).where(table.c.run_id == run_id, table.c.seq > seq).order_by(table.c.seq).limit(limit)
    with store.reading() as connection:
        rows = connection.execute(wanted).mappings().all()
    return [{"seq": row["seq"], "at": row["at"], "run": run_id, "kind": row["kind"], **row["body"]} for row in rows]


def last(store: Store, run_id: str) -> int:
    """The number of the newest event, 0 for none."""
    with store.reading() as connection:
        return _last(connection, run_id)


def lasts(store: Store, run_ids: Collection[str]) -> dict[str, int]:
    """The same for several runs; those without events are left out."""
    newest = sa.select(sa.func.max(table.c.seq)).where(table.c.run_id == runs.c.id).scalar_subquery()  # grouped, all of them were counted
    wanted = sa.select(runs.c.id, newest).where(runs.c.id.in_(run_ids))
    with store.reading() as connection:
        return {run_id: int(seq) for run_id, seq in connection.execute(wanted) if seq} if run_ids else {}
