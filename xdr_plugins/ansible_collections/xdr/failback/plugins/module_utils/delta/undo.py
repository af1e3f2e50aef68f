# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Recovery points: the blocks that cycles have overwritten since a point was opened.

``undo/<name>/meta.json``, ``log`` (records: index, length, zeros?, content) and ``digests`` of the volume at the opening,
when known. The log is valid up to ``log_bytes`` of the meta file, which is written after the log's fsync and before the
volume is touched; what lies behind is left of an interrupted cycle and cut off. Points of a volume are a chain: a block
goes to the newest, restoring an older one takes the newer first.
"""

from __future__ import annotations

import os
import shutil
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..durable import fsync_folder, read_json, write_json
from ..errors import XdrError
from ..site import checked_name
from . import blocks
from .state import read_digests, store_digests

_RECORD = struct.Struct(">QIB")


class RecoveryPoint:
    """One point, open for blocks as long as it is the newest.

    ``size`` is the volume's length in bytes at the opening (0 where there was no volume), ``cycle`` and ``read_started``
    its newest cycle then, ``epoch`` the plan's newest that this host knew.
    """

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        self.folder, self._meta = folder, meta
        self.name: str = folder.name
        self.number: int = meta["number"]
        self.opened_at: float = meta["opened_at"]
        self.size: int = meta["size"]
        self.cycle: int = meta["cycle"]
        self.epoch: int = meta["epoch"]
        self.read_started: float | None = meta["read_started"]

    @classmethod
    def open_new(cls, folder: Path, number: int, *, size: int, cycle: int, read_started: float | None, epoch: int) -> RecoveryPoint:
        meta: dict[str, Any] = {"number": number, "opened_at": time.time(), "log_bytes": 0}
        meta = {**meta, "size": size, "cycle": cycle, "read_started": read_started, "epoch": epoch}
        write_json(folder / "meta.json", meta)
        fsync_folder(folder.parent)
        return cls(folder, meta)

    @property
    def log_bytes(self) -> int:
        return int(self._meta["log_bytes"])

    @property
    def digests(self) -> bytes | None:
        found = read_digests(self.folder / "digests")
        return found[2] if found and found[1] == self.size else None

    def know(self, digests: bytes) -> None:
        """Keep the volume's digests of the opening, if they are not known and nothing was overwritten since."""
        if self.log_bytes == 0 and len(digests) == blocks.count(self.size) * blocks.DIGEST and self.digests is None:
            store_digests(self.folder / "digests", self.cycle, self.size, digests)

    def records(self) -> Iterator[tuple[int, int, int, bool]]:
        """Index, offset of the content in the log, length, zeros?"""
        at = 0
        if not self.log_bytes:
            return
        with (self.folder / "log").open("rb") as log:
            while at < self.log_bytes:
                log.seek(at)
                index, nbytes, zeros = _RECORD.unpack(log.read(_RECORD.size))
                yield index, at + _RECORD.size, nbytes, bool(zeros)
                at += _RECORD.size + (0 if zeros else nbytes)

    def kept(self) -> Iterator[tuple[int, bytes]]:
        """The blocks of the log, index and content."""
        if not self.log_bytes:
            return
        with (self.folder / "log").open("rb") as log:
            for index, offset, nbytes, zeros in self.records():
                log.seek(offset)
                yield index, bytes(nbytes) if zeros else log.read(nbytes)

    def keep(self, found: Iterable[tuple[int, bytes]]) -> None:
        """Add blocks that are not in the log yet, durably; a block beyond the volume's size at the opening is not wanted.

        Raises OSError (disk full) with the log as it was.
        """
        have = {record[0] for record in self.records()}
        fd = os.open(self.folder / "log", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, self.log_bytes)
            at = self.log_bytes
            for index, content in found:
                if index in have or index >= blocks.count(self.size):
                    continue
                have.add(index)
                at = _append(fd, at, index, content[: blocks.length(index, self.size)])
            os.fsync(fd)
        except OSError:
            os.ftruncate(fd, self.log_bytes)
            raise
        finally:
            os.close(fd)
        self._set(at)

    def empty(self) -> None:
        """Forget the blocks: the volume is at this point again."""
        self._set(0)
        (self.folder / "log").unlink(missing_ok=True)

    def _set(self, log_bytes: int) -> None:
        if log_bytes != self.log_bytes:
            self._meta = {**self._meta, "log_bytes": log_bytes}
            write_json(self.folder / "meta.json", self._meta)

    def describe(self) -> dict[str, Any]:
        """For reports: {"name", "opened_at", "cycle", "size", "blocks", "bytes"} (bytes on disk)."""
        number = sum(1 for _ in self.records())
        return {
            "name": self.name,
            "opened_at": self.opened_at,
            "cycle": self.cycle,
            "size": self.size,
            "blocks": number,
            "bytes": self.log_bytes,
        }

    def remove(self) -> None:
        (self.folder / "meta.json").unlink(missing_ok=True)  # without it the folder is no recovery point any more
        shutil.rmtree(self.folder)
        fsync_folder(self.folder.parent)


def _append(fd: int, at: int, index: int, content: bytes) -> int:
    zeros = content == blocks.ZEROS[: len(content)]
    record = _RECORD.pack(index, len(content), zeros) + (b"" if zeros else content)
    blocks.write(fd, at, record)
    return at + len(record)


def points(undo: Path) -> list[RecoveryPoint]:
    """The chain, oldest first. Needs no lock: what is half made or half removed is no point, and is left alone."""
    if not undo.is_dir():
        return []
    metas = ((folder, read_json(folder / "meta.json")) for folder in undo.iterdir())
    return sorted((_loaded(folder, meta) for folder, meta in metas if meta is not None), key=lambda point: point.number)


def _clear_removed(undo: Path) -> None:
    """Finish removals that were interrupted; under the plan's lock, so that no point is being made."""
    for folder in undo.iterdir() if undo.is_dir() else []:
        if not (folder / "meta.json").exists():
            shutil.rmtree(folder)


def _loaded(folder: Path, meta: Any) -> RecoveryPoint:
    try:
        return RecoveryPoint(folder, meta)
    except (KeyError, TypeError) as error:
        raise XdrError(f"not a recovery point ({error!r})", where=str(folder), todo="Restore it from its site's backup") from error


def open_point(undo: Path, name: str, *, size: int, cycle: int = 0, read_started: float | None = None, epoch: int = 0) -> RecoveryPoint:
    """Open a recovery point as the newest one; under a free name, ``name`` or ``name-2``, …"""
    _clear_removed(undo)
    chain = points(undo)
    taken = {point.name for point in chain}
    free, counter = checked_name(name, "recovery point"), 2
    while free in taken:
        free, counter = checked_name(f"{name}-{counter}", "recovery point"), counter + 1
    number = chain[-1].number + 1 if chain else 1
    return RecoveryPoint.open_new(undo / free, number, size=size, cycle=cycle, read_started=read_started, epoch=epoch)


def forget(undo: Path, name: str) -> None:
    """Drop a point; its blocks go to the next older one, which needs them to stay whole."""
    older = None
    for point in points(undo):
        if point.name == name:
            if older:
                older.keep(point.kept())
            point.remove()
            return
        older = point


def put_back(fd: int, undo: Path, name: str) -> RecoveryPoint:
    """Bring the open volume to a point, newest overwritten blocks first; may be repeated after an interruption.

    The point stays as the newest one, with nothing in its log.
    """
    chain = points(undo)
    position = [point.name for point in chain].index(name)
    for point in reversed(chain[position:]):
        blocks.resize(fd, point.size)
        for index, content in point.kept():
            put(fd, index, content)
    os.fsync(fd)
    for point in reversed(chain[position + 1 :]):
        point.remove()
    chain[position].empty()
    return chain[position]


def put(fd: int, index: int, content: bytes) -> None:
    if content == blocks.ZEROS[: len(content)]:
        blocks.clear(fd, index * blocks.BLOCK, len(content))
    else:
        blocks.write(fd, index * blocks.BLOCK, content)


def is_exact(fd: int, undo: Path, name: str) -> bool | None:
    """Whether putting a point back gives the very volume of its opening; None when that is not known.

    It does not where the volume was written by others than the delta sync meanwhile.
    """
    chain = points(undo)
    position = [point.name for point in chain].index(name)
    wanted = chain[position].digests
    if wanted is None:
        return None
    digests = blocks.scan(fd, blocks.size_of(fd))
    for point in reversed(chain[position:]):
        digests = blocks.resized(digests, point.size)
        for index, content in point.kept():
            digests[index * blocks.DIGEST : (index + 1) * blocks.DIGEST] = blocks.digest(content)
    return bytes(digests) == wanted
