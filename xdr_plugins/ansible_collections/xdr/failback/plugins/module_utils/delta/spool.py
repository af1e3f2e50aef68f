# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A unit's received cycle, before it is applied: ``spool/<unit>.<random>.part``, and its commit record ``spool/<unit>.commit``.

Without a commit record the cycle never was. With one it is applied, now or by whoever comes next: all volumes of the
unit, or none.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..durable import fsync_folder, read_json, write_json
from ..errors import XdrError
from .blocks import BLOCK

_RECORD = struct.Struct(">HQI")  # position of the volume in the commit record, block, bytes (0: a run of zeros follows)
_RUN = struct.Struct(">Q")  # number of blocks of zeros
Entry = tuple[int, int, int, bytes]  # volume, first block, number of blocks, content (empty: zeros)


class Spool:
    """Being received. The file is locked as long as its receiver lives, so that others leave it alone."""

    def __init__(self, folder: Path, unit: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._unit = folder, unit
        self._fd, name = tempfile.mkstemp(prefix=f"{unit}.", suffix=".part", dir=folder)
        self.path = Path(name)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._hash, self._size = hashlib.sha256(), 0
        self._committed: Path | None = None

    def add(self, volume: int, block: int, content: bytes) -> None:
        self._write(_RECORD.pack(volume, block, len(content)) + content)

    def add_zeros(self, volume: int, first: int, number: int) -> None:
        self._write(_RECORD.pack(volume, first, 0) + _RUN.pack(number))

    def _write(self, record: bytes) -> None:
        view = memoryview(record)
        while view:
            view = view[os.write(self._fd, view) :]
        self._hash.update(record)
        self._size += len(record)

    def sync(self) -> None:
        os.fsync(self._fd)

    def commit(self, record: dict[str, Any]) -> Path:
        """Make the cycle durable; from here on it will be applied. Returns the commit record's path."""
        if not self.path.exists():
            raise XdrError("the spool of this cycle was taken away", where=str(self.path), todo="Run the cycle again")
        path = self._folder / f"{self._unit}.commit"
        self._committed = path
        fsync_folder(self._folder)
        write_json(path, {"version": 1, "spool": self.path.name, "bytes": self._size, "sha256": self._hash.hexdigest(), **record})
        return path

    def entries(self) -> Iterator[Entry]:
        return _entries(self.path, self._size)

    def close(self) -> None:
        os.close(self._fd)

    def discard_uncommitted(self) -> None:
        """After a failure: remove the spool, unless its commit record may have been written."""
        if not (self._committed and self._committed.exists()):
            self.path.unlink(missing_ok=True)


def commits(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.commit")) if folder.is_dir() else []


def load_record(path: Path) -> dict[str, Any]:
    """Raises XdrError for what is no commit record."""
    record = read_json(path)
    if not isinstance(record, dict) or not {"spool", "bytes", "sha256", "cycle", "read_started", "volumes"} <= record.keys():
        raise XdrError("not a commit record", where=str(path), todo="Look at this host's disk", code="spool_damaged")
    return record


def load_commit(path: Path) -> tuple[dict[str, Any], Iterator[Entry]]:
    """The commit record and the entries of its spool, which is checked first.

    Raises XdrError for a spool that is not what was committed.
    """
    record = load_record(path)
    spool = path.with_name(Path(record["spool"]).name)
    digest = hashlib.sha256()
    with contextlib.suppress(FileNotFoundError), spool.open("rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    if digest.hexdigest() != record["sha256"]:
        raise XdrError(
            "the spool of a committed cycle is damaged, the volume may be between two states",
            where=str(spool),
            todo="Look at this host's disk; put a recovery point back, or remove the commit record and run a full cycle",
            code="spool_damaged",
        )
    return record, _entries(spool, record["bytes"])


def finish(path: Path) -> None:
    """A committed cycle is applied: remove the record first, then the spool."""
    record = load_record(path)
    path.unlink()
    fsync_folder(path.parent)
    path.with_name(Path(record["spool"]).name).unlink(missing_ok=True)


def leftovers(folder: Path) -> list[Path]:
    """Spools without a commit record whose receivers are dead, and commit records that were not finished.

    A living receiver's spool is left alone: the pair decides whether it may commit.
    """
    if not folder.is_dir():
        return []
    committed = {load_record(path)["spool"] for path in commits(folder)}
    spools = [path for path in folder.glob("*.part") if path.name not in committed and _is_dead(path)]
    return [*spools, *folder.glob(".*.commit.*")]


def _is_dead(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(fd)


def _entries(path: Path, nbytes: int) -> Iterator[Entry]:
    with path.open("rb") as stream:
        while stream.tell() < nbytes:
            volume, block, length = _RECORD.unpack(stream.read(_RECORD.size))
            if length > BLOCK:
                raise XdrError("a record of an impossible length", where=str(path), code="spool_damaged")
            if length:
                yield volume, block, 1, stream.read(length)
            else:
                yield volume, block, _RUN.unpack(stream.read(_RUN.size))[0], b""
