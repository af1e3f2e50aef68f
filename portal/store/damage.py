# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A SQLite store whose file is damaged: how it is told, looked for, and put aside."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

CODE = "store_damaged"
TODO = (
    "End worker and portal and put the newest backup back (xdr restore FILE --force keeps this file beside it), then ask the sites"
    " how far their plans came: xdr adopt. Without a backup move the file away instead, and adopt"
)
_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PARTS = ("", "-wal", "-shm")


def told(where: str, words: str) -> XdrError:
    return XdrError(f"the store is damaged ({words})", where=where, todo=TODO, code=CODE)


def by(error: BaseException | None) -> bool:
    """Whether SQLite's error says that the file is damaged, or no database at all."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _CODES


def look(file: Path) -> str:
    """What is wrong with it, in SQLite's words; empty where nothing is. It reads the whole file, beside all who write."""
    database = sqlite3.connect(file, timeout=20.0)
    try:
        [(words,)] = database.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.DatabaseError as error:
        if not by(error):
            raise
        words = str(error)
    finally:
        database.close()
    return "" if words == "ok" else " ".join(str(words).split())


def put_aside(file: Path) -> Path:
    """Move it and its log to names of their own, for who may read more of it than SQLite does; the new name."""
    kept = file.with_name(f"{file.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    for part in _PARTS:
        if (old := file.with_name(file.name + part)).exists():
            old.replace(kept.with_name(kept.name + part))
    return kept
