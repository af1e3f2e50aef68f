# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""How fast the ways between the sites are over time: one row for each look, kept for as long as a page shows it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from .engine import Store
from .tables import links as table

KEPT = 8 * 86400.0  # seconds
POINTS = 600  # at most, of an answer


@dataclass(frozen=True)
class Point:
    """The worst of the looks in ``at`` (Unix seconds) and after: the longest latency, the least throughput; None: not measured."""

    at: float
    latency_ms: float | None
    bytes_per_s: float | None


def keep(store: Store, legs: Iterable[Mapping[str, Any]]) -> None:
    """``legs``: what a look told of each way (portal/sites.py). Kept are those that were measured, now or ever before."""
    now, kept = time.time(), set(_pairs(store))
    rows = [
        {"origin": leg["from"], "target": leg["to"], "at": now, "latency_ms": leg.get("latency_ms"), "bytes_per_s": leg.get("bytes_per_s")}
        for leg in legs
        if leg.get("latency_ms") is not None or (leg["from"], leg["to"]) in kept
    ]
    with store.writing() as connection:
        connection.execute(table.delete().where(table.c.at < now - KEPT))
        if rows:
            connection.execute(table.insert(), rows)


def pairs(store: Store, hosts: Iterable[str]) -> list[tuple[str, str]]:
    """From, to: the ways from or to these hosts of which something is kept."""
    names = set(hosts)
    return [pair for pair in _pairs(store) if names & set(pair)]


def _pairs(store: Store) -> list[tuple[str, str]]:
    wanted = sa.select(table.c.origin, table.c.target).distinct().order_by(table.c.origin, table.c.target)
    with store.reading() as connection:
        return [(row.origin, row.target) for row in connection.execute(wanted)]


def over(store: Store, origin: str, target: str, since: float, until: float, points: int = POINTS) -> list[Point]:
    """In order, at most so many; a stretch of time without a look has none."""
    width = max((until - since) / (points - 1), 1e-9)
    number = sa.cast((table.c.at - since) / width, sa.Integer).label("number")
    figures = (sa.func.min(table.c.at), sa.func.max(table.c.latency_ms), sa.func.min(table.c.bytes_per_s))
    wanted = sa.select(*figures).where(table.c.origin == origin, table.c.target == target, table.c.at >= since, table.c.at < until)
    with store.reading() as connection:
        return [Point(*row) for row in connection.execute(wanted.group_by(number).order_by(number))]


def usual(store: Store, origin: str, target: str) -> float | None:
    """Bytes a second of the last measurements, the median; None where there are fewer than three."""
    wanted = sa.select(table.c.bytes_per_s).where(table.c.origin == origin, table.c.target == target, table.c.bytes_per_s.is_not(None))
    with store.reading() as connection:
        rates = [float(row[0]) for row in connection.execute(wanted.order_by(table.c.at.desc()).limit(20))]
    return statistics.median(rates) if len(rates) >= 3 else None
