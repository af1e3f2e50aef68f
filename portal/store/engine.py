# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The connection to the store: short transactions, and no work on a store of another version."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

BUSY = 20_000  # milliseconds that a SQLite transaction waits for another one's end


def url_of(var: Path) -> str:
    """What XDR_DATABASE names (an SQLAlchemy URL, postgresql+psycopg://…), else a SQLite file in the var folder."""
    return os.environ.get("XDR_DATABASE") or f"sqlite:///{var / 'xdr.sqlite'}"


class Store:
    """Opened by ``Store.open``. Connections are per thread and short."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)

    @classmethod
    def open(cls, url: str) -> Store:
        """The store, made or migrated where that is safe (a new one), else refused.

        Raises XdrError: store_newer, store_older (with the command that upgrades it).
        """
        from . import migration

        store = cls(url)
        try:
            migration.ready(store)
        except BaseException:
            store.close()
            raise
        return store

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A write transaction; on SQLite it has the write lock from its first statement on, so it never fails half way."""
        with self.engine.connect().execution_options(xdr_writes=True) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True)
    file = sa.make_url(url).database
    if file and file != ":memory:":
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))  # it holds password hashes
    engine = sa.create_engine(url, connect_args={"timeout": BUSY / 1000})
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would come too late for IMMEDIATE
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("xdr_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
