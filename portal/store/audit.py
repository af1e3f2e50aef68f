# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The audit trail: who asked for what, from where, and whether it was done; only appended to, and each entry seals those before it.

An entry's ``hash`` is the SHA-256 of the JSON of the hash before it and its own parts, so that none can be changed, left out or put in
between without all later ones being wrong. What is cut off at the end is noticed by whoever has kept a hash of it (``xdr audit verify
--expect``).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from sqlalchemy.engine import Connection

from .engine import Store
from .tables import audit as table

ONE_BY_ONE = 0x584452_A  # PostgreSQL's lock under which an entry is added: it seals the one before it
BATCH = 5000


@dataclass(frozen=True)
class Entry:
    """``outcome``: done or refused; ``at``: Unix seconds."""

    id: int
    at: float
    who: str
    origin: str
    action: str
    subject: str
    outcome: str
    detail: str
    hash: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def seal(self, previous: str) -> str:
        """What its hash is, after an entry with that hash."""
        parts = [previous, self.at, self.who, self.origin, self.action, self.subject, self.outcome, self.detail]
        return hashlib.sha256(json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def write(connection: Connection, who: str, origin: str, action: str, subject: str, detail: str, outcome: str = "done") -> None:
    """In the transaction of what it tells of. The last thing that transaction does: until its end nobody else adds an entry."""
    if connection.dialect.name != "sqlite":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ONE_BY_ONE)))
    entry = Entry(0, time.time(), who, origin, action, subject, outcome, detail, "")
    values = {**entry.to_json(), "hash": entry.seal(_head(connection))}
    del values["id"]
    connection.execute(table.insert().values(**values))


def add(store: Store, who: str, origin: str, action: str, subject: str, detail: str = "", outcome: str = "done") -> None:
    with store.writing() as connection:
        write(connection, who, origin, action, subject, detail, outcome)


def _head(connection: Connection) -> str:
    return str(connection.execute(sa.select(table.c.hash).order_by(table.c.id.desc()).limit(1)).scalar() or "")


def latest(store: Store, limit: int = 200, before: int | None = None) -> list[Entry]:
    """The newest first; ``before``: those with a smaller id."""
    wanted = sa.select(table).order_by(table.c.id.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(table.c.id < before)
    with store.reading() as connection:
        return [Entry(**dict(row)) for row in connection.execute(wanted).mappings()]


def after(store: Store, number: int = 0) -> Iterator[Entry]:
    """All entries with a greater id, in order."""
    while True:
        wanted = sa.select(table).where(table.c.id > number).order_by(table.c.id).limit(BATCH)
        with store.reading() as connection:
            found = [Entry(**dict(row)) for row in connection.execute(wanted).mappings()]
        if not found:
            return
        yield from found
        number = found[-1].id


def of_plan(store: Store, plan: str, since: float, until: float) -> list[Entry]:
    """What was asked for about a plan and its runs in that time (Unix seconds), in order."""
    about = sa.or_(table.c.subject == f"plan {plan}", table.c.subject.endswith(f" of plan {plan}", autoescape=True))
    wanted = sa.select(table).where(about, table.c.at >= since, table.c.at <= until).order_by(table.c.id)
    with store.reading() as connection:
        return [Entry(**dict(row)) for row in connection.execute(wanted).mappings()]


@dataclass(frozen=True)
class Verdict:
    """``head``: the newest hash, to be kept elsewhere; ``wrong``: what does not fit, empty where all does."""

    entries: int
    head: str
    wrong: str = ""


def verify(store: Store, expect: str = "") -> Verdict:
    """Go through the whole trail. ``expect``: a hash that was told before and must be in it, or 12 or more of its first characters.

    Raises XdrError, code usage, for an ``expect`` that is no such beginning.
    """
    if expect and not (len(expect) >= 12 and set(expect) <= set("0123456789abcdef")):
        raise XdrError(f"{expect!r} is no hash", todo="Give 12 or more of its characters 0-9 and a-f", code="usage")
    count, previous, found = 0, "", not expect
    for entry in after(store):
        if entry.hash != entry.seal(previous):
            return Verdict(count, previous, f"entry {entry.id} is not the one that was written after the {count} before it")
        count, previous, found = count + 1, entry.hash, found or entry.hash.startswith(expect)
    return Verdict(
        count, previous, "" if found else f"no entry has the hash {expect}: entries were cut off at the end, or all written anew"
    )
