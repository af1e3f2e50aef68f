# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A backup of the store, made while somebody writes, and the way back from it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal.store import Store, accounts, damage, migration, runs, workers
from portal.store.accounts import Role
from portal.store.backup import Restored, backup, restore
from portal.store.runs import Run
from portal.store.workers import Worker


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'var' / 'xdr.sqlite'}"


def filled(url: str) -> Store:
    store = Store.open(url)
    accounts.add(store, "ann", Role.operator, "long enough a password")
    runs.request(store, Run("r1", "webshop", "failback", requested_by="ann"))
    return store


def test_there_and_back(url: str, tmp_path: Path) -> None:
    with contextlib.closing(filled(url)) as store:
        assert backup(url, tmp_path / "copy") == migration.head()
        runs.request(store, Run("r2", "other", "failback", requested_by="ann"))
    assert (tmp_path / "copy").stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "var"]
    assert restore(url, tmp_path / "copy", force=True) == Restored(migration.head(), ["r1"], None)
    with contextlib.closing(Store.open(url)) as store:
        assert [user.name for user in accounts.all_users(store)] == ["ann"]
        assert (runs.get(store, "r1").code, runs.unended(store)) == ("abandoned", [])
        with pytest.raises(XdrError):
            runs.get(store, "r2")


def test_on_a_new_machine(url: str, tmp_path: Path) -> None:
    filled(url).close()
    backup(url, tmp_path / "copy")
    new = f"sqlite:///{tmp_path / 'new' / 'xdr.sqlite'}"
    restore(new, tmp_path / "copy")
    assert (tmp_path / "new" / "xdr.sqlite").stat().st_mode & 0o077 == 0
    with contextlib.closing(Store.open(new)) as store:
        assert runs.get(store, "r1").ended


def test_a_transaction_that_is_under_way_is_not_in_it(url: str, tmp_path: Path) -> None:
    with contextlib.closing(filled(url)) as store:
        with store.writing() as connection:
            connection.exec_driver_sql("UPDATE runs SET plan = 'half'")
            backup(url, tmp_path / "copy")
        restore(url, tmp_path / "copy", force=True)
        assert runs.get(store, "r1").plan == "webshop"


def test_nothing_is_overwritten_without_being_told(url: str, tmp_path: Path) -> None:
    filled(url).close()
    (tmp_path / "copy").write_text("precious")
    with pytest.raises(XdrError, match="--force"):
        backup(url, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "precious"
    backup(url, tmp_path / "copy", force=True)
    with pytest.raises(XdrError, match="--force"):
        restore(url, tmp_path / "copy")


def test_a_store_that_a_worker_uses_is_left_alone(url: str, tmp_path: Path) -> None:
    with contextlib.closing(filled(url)) as store:
        backup(url, tmp_path / "copy")
        workers.enter(store, Worker("hv-0", "elsewhere", os.getpid(), ""))
    with pytest.raises(XdrError, match="worker hv-0 is at work"):
        restore(url, tmp_path / "copy", force=True)


def test_a_backup_of_a_newer_program_is_refused(url: str, tmp_path: Path) -> None:
    filled(url).close()
    backup(url, tmp_path / "copy")
    with contextlib.closing(sqlite3.connect(tmp_path / "copy")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(XdrError) as refused:
        restore(url, tmp_path / "copy", force=True)
    assert refused.value.code == "store_newer"


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"\1" * 5000])
def test_what_is_no_backup_is_refused(url: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "copy").write_bytes(content)
    with pytest.raises(XdrError, match="no backup"):
        restore(url, tmp_path / "copy")
    assert not (tmp_path / "var").exists()


def test_other_databases_have_their_own_tools(tmp_path: Path) -> None:
    with pytest.raises(XdrError, match="pg_dump") as refused:
        backup("postgresql+psycopg://ann:secret@db/xdr", tmp_path / "copy")
    assert "secret" not in refused.value.sentence()


def test_there_is_nothing_to_back_up(url: str, tmp_path: Path) -> None:
    with pytest.raises(XdrError, match="no store yet"):
        backup(url, tmp_path / "copy")


def harm(url: str) -> Path:
    """Overwrite all pages but the first two, as when two processes write without each other's locks."""
    file = Path(url.removeprefix("sqlite:///"))
    content = file.read_bytes()
    file.write_bytes(content[:8192] + b"\7" * (len(content) - 8192))
    return file


def no_database(url: str) -> Path:
    file = Path(url.removeprefix("sqlite:///"))
    file.write_bytes(b"not what it was " * 512)
    return file


@pytest.mark.parametrize("spoil", [harm, no_database])
def test_a_damaged_store_is_told_and_gives_way_to_a_backup(url: str, tmp_path: Path, spoil: Callable[[str], Path]) -> None:
    filled(url).close()
    backup(url, tmp_path / "copy")
    file = spoil(url)
    spoilt = file.read_bytes()
    with (
        pytest.raises(XdrError, match=r"the store is damaged .*xdr restore FILE --force") as told,
        contextlib.closing(Store.open(url)) as store,
    ):
        runs.get(store, "r1")
    assert (told.value.code, told.value.where) == (damage.CODE, url)
    with pytest.raises(XdrError, match="the store is damaged"):
        backup(url, tmp_path / "another")
    assert not (tmp_path / "another").exists()
    with pytest.raises(XdrError, match="--force"):
        restore(url, tmp_path / "copy")
    kept = restore(url, tmp_path / "copy", force=True).kept
    assert kept
    assert (kept.parent, kept.read_bytes()) == (file.parent, spoilt)
    with contextlib.closing(Store.open(url)) as store:
        assert (runs.get(store, "r1").ended, store.damage()) == (True, "")


def test_a_sound_store_is_told_so_while_somebody_writes(url: str) -> None:
    with contextlib.closing(filled(url)) as store, store.writing():
        assert store.damage() == ""
