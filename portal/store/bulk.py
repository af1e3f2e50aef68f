# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Many rows at once, for who fills a store of their own: nothing here looks whether they fit together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from .engine import Store

BATCH = 10_000  # rows of one transaction


def insert(store: Store, table: sa.Table, rows: Iterator[dict[str, Any]]) -> Iterator[int]:
    """Yields how many rows are there after each transaction."""
    done = 0
    while batch := list(itertools.islice(rows, BATCH)):
        with store.writing() as connection:
            connection.execute(table.insert(), batch)
        done += len(batch)
        yield done


def settled(store: Store) -> None:
    """All is there: let the database count what it has, as it does by itself in time."""
    with store.writing() as connection:
        connection.execute(sa.text("ANALYZE"))
