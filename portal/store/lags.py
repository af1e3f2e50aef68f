# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A plan's replication_lag over time: one row for each look at it, kept for as long as a page shows it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from .engine import Store
from .tables import lags as table

KEPT = 8 * 86400.0  # seconds
POINTS = 600  # at most, of an answer


@dataclass(frozen=True)
class Point:
    """The worst of the looks in ``at`` (Unix seconds) and after; None where one of them did not know: that is worse than any number."""

    at: float
    bytes: float | None
    age: float | None


def add(store: Store, plan: str, nbytes: Any, age: Any) -> None:
    """What a look has seen now; what is not a number is unknown."""
    now = time.time()
    values = {"plan": plan, "at": now, "bytes": _number(nbytes), "age": _number(age)}
    with store.writing() as connection:
        connection.execute(table.delete().where(table.c.plan == plan, table.c.at < now - KEPT))
        connection.execute(table.insert().values(**values))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def over(store: Store, plan: str, since: float, until: float, points: int = POINTS) -> list[Point]:
    """In order, at most so many; a stretch of time without a look has none."""
    width = max((until - since) / (points - 1), 1e-9)
    number = sa.cast((table.c.at - since) / width, sa.Integer).label("number")  # rounded or cut off, as the database does it
    known = [sa.func.count(column) == sa.func.count() for column in (table.c.bytes, table.c.age)]
    worst = [sa.case((all_known, sa.func.max(column))) for all_known, column in zip(known, (table.c.bytes, table.c.age), strict=True)]
    wanted = sa.select(sa.func.min(table.c.at), *worst).where(table.c.plan == plan, table.c.at >= since, table.c.at < until)
    with store.reading() as connection:
        return [Point(*row) for row in connection.execute(wanted.group_by(number).order_by(number))]


@dataclass(frozen=True)
class Sum:
    """Of the looks in a span: how many, how many did not know the age, how many were over a limit, and the greatest age known."""

    looks: int
    unknown: int
    over: int
    worst: float | None


def summed(store: Store, plan: str, since: float, limit: float) -> Sum:
    """``limit``: seconds of age."""
    over_limit = sa.func.sum(sa.case((table.c.age > limit, 1), else_=0))
    unknown = sa.func.count() - sa.func.count(table.c.age)
    wanted = sa.select(sa.func.count(), unknown, over_limit, sa.func.max(table.c.age)).where(table.c.plan == plan, table.c.at >= since)
    with store.reading() as connection:
        looks, without, beyond, worst = connection.execute(wanted).one()
    return Sum(int(looks), int(without), int(beyond or 0), worst)
