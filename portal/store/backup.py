# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A copy of the store in one file, made while worker and portal use it, and the way back from it. SQLite only."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from . import address, damage, migration, runs, workers
from .engine import Store, make_private
from .tables import sessions

RESTORED = "it had not ended when the backup was made that the store was restored from; the sites' records say how far it came"


@dataclass(frozen=True)
class Restored:
    """``ended``: the runs that had not ended when the backup was made, which end here; ``kept``: where a damaged store is now."""

    version: str
    ended: list[str]
    kept: Path | None


def backup(url: str, file: Path, *, force: bool = False) -> str:
    """Write the store as it is at one moment to a file of its owner's alone; the store's version. Raises XdrError: usage, store_damaged."""
    source = _file_of(url)
    if not source.exists():
        raise XdrError("there is no store yet", where=str(source), todo="Nothing needs a backup", code="usage")
    _refuse_existing(file, force)
    if words := damage.look(source):
        raise damage.told(str(source), words)
    draft = file.with_name(f".{file.name}.part")
    draft.unlink(missing_ok=True)
    try:
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with _opened(source) as there, _opened(draft) as here:
            there.backup(here)
            here.execute("PRAGMA journal_mode=DELETE")  # one file, no log beside it
        found = _checked(draft)
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(file)
    except OSError as error:
        raise XdrError(f"the backup cannot be written ({error.strerror})", where=str(file), todo="Name another file") from error
    finally:
        draft.unlink(missing_ok=True)
    return found


def restore(url: str, file: Path, *, force: bool = False) -> Restored:
    """Put a backup in the store's place; a damaged store is kept beside it. Everybody has to log in again.

    Raises XdrError: usage, store_newer, and where a worker is at work on the store.
    """
    target = _file_of(url)
    if not file.is_file():
        raise XdrError("there is no such file", where=str(file), todo="Name a file that xdr backup wrote", code="usage")
    found = _checked(file)
    _refuse_existing(target, force)
    _refuse_working(url, target)
    kept = damage.put_aside(target) if target.exists() and damage.look(target) else None
    target.parent.mkdir(parents=True, exist_ok=True)
    make_private(target)
    with _opened(file) as there, _opened(target) as here:
        there.backup(here)
    for suffix in ("", "-wal", "-shm"):  # the queue knows runs of the former store; the worker makes it anew from the rows
        target.with_name(f"dbos.sqlite{suffix}").unlink(missing_ok=True)
    return Restored(found, _settle(url), kept)


def _settle(url: str) -> list[str]:
    """What was at work then is not any more, and must not be begun anew by the next worker."""
    store = Store(url)
    try:
        migration.upgrade(store)
        left = [run.id for run in runs.unended(store)]
        for run_id in left:
            runs.finish(store, run_id, {"exit_code": 1, "code": "abandoned", "error": RESTORED})
        with store.writing() as connection:
            connection.execute(sessions.delete())
    finally:
        store.close()
    return left


def _file_of(url: str) -> Path:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise XdrError(
            "this store is no SQLite file", where=address.shown(url), todo="Use the database's own tools, such as pg_dump", code="usage"
        )
    return Path(parsed.database)


def _refuse_existing(file: Path, force: bool) -> None:
    if file.exists() and not force:
        raise XdrError("the file exists already", where=str(file), todo="Name another one, or overwrite it with --force", code="usage")


def _refuse_working(url: str, target: Path) -> None:
    if not target.exists():
        return
    with contextlib.closing(Store(url)) as store:
        try:
            working = workers.alive(store) if migration.version(store) == migration.head() else []
        except XdrError as error:
            if error.code != damage.CODE:
                raise
            return  # nobody can work on what cannot be read
    if working:
        raise XdrError(f"worker {working[0].id} is at work on the store", where=str(target), todo="End worker and portal first")


def _checked(file: Path) -> str:
    """The version of the store in the file. Raises XdrError for a file that is none, is damaged, or is of a newer program."""
    try:
        with _opened(file) as database:
            [(sound,)] = database.execute("PRAGMA quick_check(1)").fetchall()
            [(found,)] = database.execute("SELECT version_num FROM alembic_version").fetchall()
    except (sqlite3.Error, ValueError) as error:
        raise XdrError("this is no backup of a store", where=str(file), todo="Name a file that xdr backup wrote", code="usage") from error
    if sound != "ok":
        raise XdrError("the file is damaged", where=str(file), todo="Take another backup", code="usage")
    migration.known(str(found), str(file))
    return str(found)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(file, timeout=20.0)) as connection:
        yield connection
