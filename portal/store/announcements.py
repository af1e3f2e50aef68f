# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What was announced to whom, so that nobody is told twice: a row is written before the message goes out, and completed after it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from .engine import Store
from .tables import announcements as table

SENDING, SENT, FAILED, UNKNOWN = "sending", "sent", "failed", "unknown"
TRIES = 5
PAUSE = 60.0  # seconds before the second try; each later one waits twice as long
GIVEN_UP = 180.0  # seconds after which whoever was sending must have died: no message takes so long


@dataclass(frozen=True)
class Announcement:
    """``kind``: ahead-<seconds>, start, end, ask, cancelled, skipped or missed; ``recipient``: a person's name or a channel's."""

    plan: str
    key: str
    kind: str
    recipient: str
    at: float = 0.0
    worker: str = ""
    outcome: str = SENDING
    tries: int = 0
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def claim(store: Store, wanted: Announcement, worker: str, now: float) -> Announcement | None:
    """The row, where it is this worker's to send now; a failed one is tried again after a while."""
    try:
        with store.writing() as connection:
            row = connection.execute(sa.select(table).where(*_same(wanted)).with_for_update()).mappings().first()
            before = Announcement(**dict(row)) if row else None
            if not open_to(before, now):
                return None
            mine = Announcement(
                wanted.plan, wanted.key, wanted.kind, wanted.recipient, now, worker, SENDING, before.tries + 1 if before else 1
            )
            if before:
                connection.execute(table.update().where(*_same(wanted)).values(**mine.to_json()))
            else:
                connection.execute(table.insert().values(**mine.to_json()))
            return mine
    except IntegrityError:  # another worker, on PostgreSQL
        return None


def open_to(before: Announcement | None, now: float) -> bool:
    """Whether it may be sent now, after what is known of it."""
    if before is None:
        return True
    return before.outcome == FAILED and before.tries < TRIES and now >= before.at + PAUSE * 2 ** (before.tries - 1)


def ended(store: Store, mine: Announcement, error: str) -> None:
    """It was sent, or not: ``error`` says why."""
    with store.writing() as connection:
        values = {"outcome": FAILED if error else SENT, "detail": error, "at": time.time()}
        connection.execute(table.update().where(*_same(mine), table.c.worker == mine.worker, table.c.outcome == SENDING).values(**values))


def give_up(store: Store, now: float) -> list[Announcement]:
    """Those whose worker died while it sent them: whether they went out, nobody knows, so they are not sent again."""
    old = (table.c.outcome == SENDING, table.c.at < now - GIVEN_UP)
    detail = "the worker ended while it was being sent: it may or may not have arrived, and is not sent again"
    with store.reading() as connection:  # nearly always none, and a write transaction has its cost
        found = [Announcement(**dict(row)) for row in connection.execute(sa.select(table).where(*old)).mappings()]
    for one in found:
        with store.writing() as connection:
            connection.execute(table.update().where(*_same(one), *old).values(outcome=UNKNOWN, detail=detail))
    return found


def of(store: Store, plan: str, keys: list[str]) -> list[Announcement]:
    wanted = sa.select(table).where(table.c.plan == plan, table.c.key.in_(keys)).order_by(table.c.at)
    with store.reading() as connection:
        return [Announcement(**dict(row)) for row in connection.execute(wanted).mappings()]


def lately(store: Store, plan: str, since: float) -> list[Announcement]:
    wanted = sa.select(table).where(table.c.plan == plan, table.c.at > since)
    with store.reading() as connection:
        return [Announcement(**dict(row)) for row in connection.execute(wanted).mappings()]


def _same(one: Announcement) -> tuple[sa.ColumnElement[bool], ...]:
    return (table.c.plan == one.plan, table.c.key == one.key, table.c.kind == one.kind, table.c.recipient == one.recipient)
