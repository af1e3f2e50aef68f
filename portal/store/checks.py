# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What looks at the sites have found of each host, since when: a row for each change of a check's result, none for its mere repetition."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from .engine import Store
from .tables import checks as table

KEPT = 180 * 86400.0  # seconds after which what is over is forgotten
SHOWN = 200


@dataclass(frozen=True)
class Kept:
    """``result``: ok, degraded, failed; ``since``: the first look that found it so, ``seen`` the newest (Unix seconds)."""

    host: str
    check: str
    result: str
    evidence: str
    wanted: str
    since: float
    seen: float


def keep(store: Store, found: Iterable[Mapping[str, Any]]) -> None:
    """``found``: ``{"host", "check", "result", "found", "wanted"}`` of one look. A result that goes on only gets its newest evidence."""
    now = time.time()
    with store.writing() as connection:
        newest = {(row.host, row.check): row for row in connection.execute(_newest())}
        for one in found:
            told = {"evidence": str(one["found"]), "wanted": str(one["wanted"]), "seen": now}
            before = newest.get((one["host"], one["check"]))
            if before is not None and before.result == one["result"]:
                connection.execute(table.update().where(table.c.id == before.id).values(**told))
            else:
                named = {name: one[name] for name in ("host", "check", "result")}
                connection.execute(table.insert().values(**named, **told, since=now))
        connection.execute(table.delete().where(table.c.seen < now - KEPT))


def _newest() -> sa.Select[Any]:
    ids = sa.select(sa.func.max(table.c.id)).group_by(table.c.host, table.c.check)
    return sa.select(table).where(table.c.id.in_(ids))


def newest(store: Store, hosts: Iterable[str]) -> list[Kept]:
    """The newest of each check of these hosts, in no order."""
    with store.reading() as connection:
        return [_kept(row) for row in connection.execute(_newest().where(table.c.host.in_(list(hosts))))]


def history(store: Store, hosts: Iterable[str], limit: int = SHOWN) -> list[Kept]:
    """The changes of these hosts, the newest first."""
    wanted = sa.select(table).where(table.c.host.in_(list(hosts))).order_by(table.c.since.desc(), table.c.id.desc()).limit(limit)
    with store.reading() as connection:
        return [_kept(row) for row in connection.execute(wanted)]


def _kept(row: Any) -> Kept:
    return Kept(row.host, row.check, row.result, row.evidence, row.wanted, row.since, row.seen)
