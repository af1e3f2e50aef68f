# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The audit trail: who asked for what, from where, and whether it was done; only appended to."""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .engine import Store
from .tables import audit as table


@dataclass(frozen=True)
class Entry:
    id: int
    at: float
    who: str
    origin: str
    action: str
    subject: str
    outcome: str  # done, refused
    detail: str


def write(connection: Connection, who: str, origin: str, action: str, subject: str, detail: str, outcome: str = "done") -> None:
    """In the transaction of what it tells of."""
    values = {"who": who, "origin": origin, "action": action, "subject": subject, "detail": detail, "outcome": outcome}
    connection.execute(table.insert().values(at=time.time(), **values))


def add(store: Store, who: str, origin: str, action: str, subject: str, detail: str = "", outcome: str = "done") -> None:
    with store.writing() as connection:
        write(connection, who, origin, action, subject, detail, outcome)


def latest(store: Store, limit: int = 200, before: int | None = None) -> list[Entry]:
    """The newest first; ``before``: those with a smaller id."""
    wanted = sa.select(table).order_by(table.c.id.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(table.c.id < before)
    with store.reading() as connection:
        return [Entry(**dict(row)) for row in connection.execute(wanted).mappings()]
