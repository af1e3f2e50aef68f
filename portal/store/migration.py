# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The store's version, by Alembic: a new store is made, an older one waits for ``xdr db upgrade``, a newer one is refused.

Alembic takes as long to import as the rest of the store, so it is imported only where there is something to migrate.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from sqlalchemy.engine import Connection

from . import address
from .engine import Store
from .tables import VERSION

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).parent / "migrations"
ALONE = 0x584452  # PostgreSQL's lock under which the tables are made


def _config(connection: Connection | None = None) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def head() -> str:
    return VERSION


def version(store: Store) -> str | None:
    with store.reading() as connection:
        return _version(connection)


def _version(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def ready(store: Store) -> None:
    """Raises XdrError for a store of another version; makes the tables of a new one."""
    found = version(store)
    if found is None:
        upgrade(store)
    elif found != head():
        known(found, store.where)
        raise XdrError(
            f"the store has version {found}, this program needs {head()}",
            where=store.where,
            todo="End worker and portal, make a copy of the store, then run: xdr db upgrade",
            code="store_older",
        )


def upgrade(store: Store) -> tuple[str | None, str]:
    """Bring the store to this program's version, in one transaction; the versions before and after.

    Raises XdrError: store_newer, database.
    """
    from alembic import command

    try:
        with store.writing() as connection:
            if store.shared:  # several may start at once
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ALONE)))
            before = _version(connection)
            if before is not None:
                known(before, store.where)
            if before != head():
                command.upgrade(_config(connection), "head")
    except sa.exc.ProgrammingError as error:
        raise XdrError(
            f"the store's tables cannot be made: {address.reason(store.url, error)}",
            where=store.where,
            todo="Make the account the owner of the database: ALTER DATABASE … OWNER TO …",
            code="database",
        ) from error
    return before, head()


def known(found: str, where: str) -> None:
    """Raises XdrError, store_newer, for a version that this program has no migration to."""
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(_config())
    if found not in {one.revision for one in script.walk_revisions()}:
        raise XdrError(
            f"the store was written by a newer version of this program (its version is {found}, known is {head()})",
            where=where,
            todo="Run the newer program; this one changes nothing in it",
            code="store_newer",
        )
