# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What was last seen of a plan or of the sites, and when: pages show it with its age."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from .engine import Store
from .tables import observations as table

MANY = 500
SITES = "sites"  # the document of portal/sites.py tested()


def of_plan(name: str) -> str:
    """The subject of a plan's observation; its document is that of portal/status.py."""
    return f"plan/{name}"


@dataclass(frozen=True)
class Observation:
    """``document`` is the newest that could be had, ``at`` when; ``error`` says why a later look failed."""

    subject: str
    at: float
    document: dict[str, Any] | None
    error: str = ""


def put(store: Store, subject: str, document: dict[str, Any]) -> None:
    _upsert(store, subject, {"document": document, "at": time.time(), "error": ""})


def failed(store: Store, subject: str, error: str) -> None:
    """A look failed: what was seen before stays, with its time."""
    _upsert(store, subject, {"error": error})


def _upsert(store: Store, subject: str, values: dict[str, Any]) -> None:
    try:
        with store.writing() as connection:
            if not connection.execute(table.update().where(table.c.subject == subject).values(**values)).rowcount:
                connection.execute(table.insert().values(**{"subject": subject, "at": 0.0, "document": None, "error": "", **values}))
    except IntegrityError:  # another worker made the row a moment ago
        _upsert(store, subject, values)


def get(store: Store, subject: str) -> Observation | None:
    with store.reading() as connection:
        row = connection.execute(sa.select(table).where(table.c.subject == subject)).mappings().first()
    return Observation(**dict(row)) if row else None


def stamps(store: Store) -> dict[str, tuple[float, str]]:
    """By subject, in order: when it was seen, and why a later look failed. An observation that has the same is the same."""
    with store.reading() as connection:
        rows = connection.execute(sa.select(table.c.subject, table.c.at, table.c.error).order_by(table.c.subject)).all()
    return {subject: (at, error) for subject, at, error in rows}


def some(store: Store, subjects: Collection[str]) -> list[Observation]:
    """Those of the subjects that there are."""
    found: list[Observation] = []
    wanted = sorted(subjects)
    with store.reading() as connection:
        for at in range(0, len(wanted), MANY):  # a statement has not room for any number of them
            rows = connection.execute(sa.select(table).where(table.c.subject.in_(wanted[at : at + MANY]))).mappings()
            found += [Observation(**dict(row)) for row in rows]
    return found
