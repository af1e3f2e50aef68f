# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The stores of tests: a SQLite file each, or a database each of one PostgreSQL server where ``XDR_TEST_DATABASE=postgresql`` says so."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from portal.store import Store
from portal.store.address import VARIABLE
from tests.support.postgresql import Server

ASKED = os.environ.get("XDR_TEST_DATABASE", "sqlite") == "postgresql"
Fill = Callable[[Store], None]
_templates: dict[Fill, str] = {}  # files, or names of databases, to be copied: making one takes half a second
_server: Server | None = None
_connections: list[Any] = []


def use(server: Server) -> None:
    """From here on stores are databases of this server."""
    global _server
    _server = server
    _templates.clear()
    sa.event.listen(sa.pool.Pool, "connect", lambda connection, record: _connections.append(connection))


def empty(store: Store) -> None:
    """As a new one is."""


def opened(folder: Path, fill: Fill = empty) -> Store:
    """A new store in the folder, filled so. What the test starts finds it: by its var folder, or by the environment, which has
    no address in it before (tests/conftest.py)."""
    template = _templates.get(fill) or _templates.setdefault(fill, _made(fill))
    if _server is None:
        folder.mkdir(parents=True, exist_ok=True)
        return Store.open(f"sqlite:///{shutil.copyfile(template, folder / 'xdr.sqlite')}")
    os.environ[VARIABLE] = _server.database(template)
    return Store.open(os.environ[VARIABLE])


def leave() -> None:
    """At the end of a test: its address is not the next one's, and connections are closed that a command leaves to the end of its
    process. A store that is used again connects anew."""
    os.environ.pop(VARIABLE, None)
    while _connections:
        _connections.pop().close()


def _made(fill: Fill) -> str:
    if _server is None:
        folder = Path(tempfile.mkdtemp(prefix="xdr-stores-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        url, template = f"sqlite:///{folder / 'xdr.sqlite'}", str(folder / "xdr.sqlite")
    else:
        url = _server.database()
        template = url.rpartition("/")[2]
    store = Store.open(url)
    fill(store)
    store.close()
    return template


def tampered(store: Store, statement: str) -> None:
    """The audit trail changed as somebody with the database's own rights could."""
    with store.writing() as connection:
        if store.shared:
            connection.exec_driver_sql("ALTER TABLE audit DISABLE TRIGGER audit_kept")
        else:
            for change in ("update", "delete"):
                connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS audit_no_{change}")
        connection.exec_driver_sql(statement)
