# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The connection to the store: short transactions, and no work on a store of another version."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from sqlalchemy.engine import Connection, Engine, ExceptionContext

from . import address, damage

PASSING = (OSError, sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError, sa.exc.TimeoutError)
BUSY = 20_000  # milliseconds that a SQLite transaction waits for another one's end


def url_of(var: Path) -> str:
    """What XDR_DATABASE_URL names, else a SQLite file in the var folder. Raises XdrError, code database, for an URL that is none."""
    named = os.environ.get(address.VARIABLE, "")
    return address.checked(named) if named else f"sqlite:///{var / 'xdr.sqlite'}"


class Store:
    """Opened by ``Store.open``. Connections are per thread and short."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)

    @property
    def shared(self) -> bool:
        """Whether workers of other machines may use it: a file is one machine's."""
        return self.engine.dialect.name != "sqlite"

    @classmethod
    def open(cls, url: str) -> Store:
        """The store, made or migrated where that is safe (a new one), else refused.

        Raises XdrError: database (it does not answer), store_damaged, store_newer, store_older (with the command that upgrades it).
        """
        from . import migration

        store = cls(url)
        try:
            migration.ready(store)
        except BaseException:
            store.close()
            raise
        return store

    @property
    def where(self) -> str:
        """For people."""
        return address.shown(self.url)

    def damage(self) -> str:
        """What is wrong with the file of a SQLite store; empty where nothing is, and of PostgreSQL, which looks after its own."""
        file = self.engine.url.database
        return damage.look(Path(file)) if file and not self.shared else ""

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._connected() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A write transaction; on SQLite it has the write lock from its first statement on, so it never fails half way."""
        with self._connected().execution_options(xdr_writes=True) as connection, connection.begin():
            yield connection

    def _connected(self) -> Connection:
        try:
            return self.engine.connect()
        except sa.exc.DBAPIError as error:
            raise XdrError(
                f"the database does not answer: {address.reason(self.url, error)}",
                where=self.where,
                todo=f"See that it runs and is reached from here, and that {address.VARIABLE} is right"
                if self.shared
                else "See that the file is there and that this account may write to it",
                code="database",
            ) from error

    def close(self) -> None:
        self.engine.dispose()


class Pulse:
    """Whether anybody has written since: cheap enough to be asked many times a second."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._raw: Any = None if store.shared else store.engine.raw_connection()  # SQLite tells it for a connection

    def beat(self) -> object:
        """Differs from the one before wherever something was committed in between."""
        if self._raw is not None:
            return self._raw.execute("PRAGMA data_version").fetchone()[0]
        with self._store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return connection.execute(sa.text("SELECT pg_current_snapshot()::text")).scalar()

    def close(self) -> None:
        if self._raw is not None:
            self._raw.close()


def may_pass(error: Exception) -> bool:
    """Whether it is of a store that is away, full or busy. Anything else is a defect, and comes again however often it is tried."""
    if isinstance(error, XdrError):
        return error.code == "database"
    return isinstance(error, PASSING) or (isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated)


def clock(connection: Connection) -> sa.ColumnElement[float]:
    """Now, in Unix seconds, by the database's clock: machines have none in common. That of a file is its machine's."""
    if connection.dialect.name == "sqlite":
        return sa.literal(time.time())
    return sa.cast(sa.extract("epoch", sa.func.clock_timestamp(type_=sa.DateTime)), sa.Double)


def make_private(file: Path) -> None:
    """Make a database's file where there is none; one that is there is not opened. To close it would drop the locks of all connections
    that this process has to it (https://sqlite.org/howtocorrupt.html, 2.2), and the next process to leave would take their log away."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True)
    file = sa.make_url(url).database
    if file and file != ":memory:":
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        make_private(Path(file))  # it holds password hashes
    engine = sa.create_engine(url, connect_args={"timeout": BUSY / 1000})
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "handle_error", _tell_damage)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would come too late for IMMEDIATE
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY}"):
        connection.execute(f"PRAGMA {pragma}")


def _tell_damage(context: ExceptionContext) -> None:
    if damage.by(context.original_exception):
        where = address.shown(str(context.engine.url)) if context.engine else ""
        raise damage.told(where, str(context.original_exception)) from context.original_exception


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("xdr_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
