# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The store's version, by Alembic: a new store is made, an older one waits for ``xdr db upgrade``, a newer one is refused."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from sqlalchemy.engine import Connection

from .engine import Store

FOLDER = Path(__file__).parent / "migrations"


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def head() -> str:
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    assert newest  # noqa: S101 - there is a first migration
    return newest


def version(store: Store) -> str | None:
    with store.reading() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def ready(store: Store) -> None:
    """Raises XdrError for a store of another version; makes the tables of a new one."""
    found = version(store)
    if found is None:
        upgrade(store)
    elif found != head():
        _known(store, found)
        raise XdrError(
            f"the store has version {found}, this program needs {head()}",
            where=_shown(store),
            todo="End worker and portal, make a copy of the store, then run: xdr db upgrade",
            code="store_older",
        )


def upgrade(store: Store) -> tuple[str | None, str]:
    """Bring the store to this program's version, in one transaction; the versions before and after. Raises XdrError: store_newer."""
    with store.writing() as connection:
        before = MigrationContext.configure(connection).get_current_revision()
        if before is not None:
            _known(store, before)
        if before != head():
            command.upgrade(_config(connection), "head")
    return before, head()


def _known(store: Store, found: str) -> None:
    script = ScriptDirectory.from_config(_config())
    if found not in {one.revision for one in script.walk_revisions()}:
        raise XdrError(
            f"the store was written by a newer version of this program (its version is {found}, known is {head()})",
            where=_shown(store),
            todo="Run the newer program; this one changes nothing in it",
            code="store_newer",
        )


def _shown(store: Store) -> str:
    return store.engine.url.render_as_string(hide_password=True)
