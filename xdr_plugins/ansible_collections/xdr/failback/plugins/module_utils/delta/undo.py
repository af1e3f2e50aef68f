# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Recovery points: the blocks that cycles have overwritten since a point was opened.

``undo/<name>/meta.json``, ``log`` (records: index, length, zeros?, content), ``index`` (the blocks in the log, 8 bytes each) and
``manifest`` of the volume at the opening, when known. The log is valid up to ``log_bytes`` of the meta file, which is written after
the log's fsync and before the volume is touched; what lies behind is left of an interrupted cycle and cut off. Points of a volume
are a chain: a block goes to the newest, restoring an older one takes the newer first.
"""

from __future__ import annotations

import os
import shutil
import time
from array import array
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..durable import fsync_folder, read_json, write_json
from ..errors import XdrError
from ..site import checked_name
from . import blocks
from .hashes import DIGEST, NULL, Hash, function
from .manifest import Draft, Header, Manifest
from .scanning import look, ordered
from .undo_log import RECORD, Batch, Log

CYCLE = "cycle-"  # what the names of the states of cycles begin with
_WRITERS = 2  # threads that read old blocks and write them to a log


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
    def blocks(self) -> int:
        return int(self._meta.get("blocks", 0))

    def manifest(self) -> Manifest | None:
        return Manifest.load(self.folder / "manifest")

    def know(self, known: Manifest) -> None:
        """Keep the volume's digests of the opening, if they are not known and nothing was overwritten since."""
        if self.name.startswith(CYCLE) or self.log_bytes or known.header.size != self.size or (self.folder / "manifest").exists():
            return
        draft = Draft(self.folder / "manifest")
        for first, digests in known.windows():
            draft.put(first, digests)
        draft.publish(Header(known.header.hash, self.size, self.cycle))

    def records(self) -> Iterator[tuple[int, int, int, bool]]:
        """Index, offset of the content in the log, length, zeros?"""
        at = 0
        if not self.log_bytes:
            return
        with (self.folder / "log").open("rb") as log:
            while at < self.log_bytes:
                log.seek(at)
                index, nbytes, zeros = RECORD.unpack(log.read(RECORD.size))
                yield index, at + RECORD.size, nbytes, bool(zeros)
                at += RECORD.size + (0 if zeros else nbytes)

    def kept(self) -> Iterator[tuple[int, bytes]]:
        """The blocks of the log, index and content."""
        if not self.log_bytes:
            return
        for index, offset, nbytes, zeros in self.records():
            yield index, self.content(offset, nbytes, zeros)

    def content(self, offset: int, nbytes: int, zeros: bool) -> bytes:
        """Of one record."""
        if zeros:
            return bytes(nbytes)
        with (self.folder / "log").open("rb") as log:
            log.seek(offset)
            return log.read(nbytes)

    def keep(self, batches: Iterable[Batch]) -> None:
        """Add blocks that are not in the log yet, durably; a block beyond the volume's size at the opening is not wanted.

        A batch is called with the test for blocks that are wanted, and gives them; several at a time.
        Raises OSError (disk full) with the log as it was.
        """
        have = self._have()
        total = blocks.count(self.size)

        def is_wanted(index: int) -> bool:
            return index < total and not have[index >> 3] & 1 << (index & 7)

        log = os.open(self.folder / "log", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        index = os.open(self.folder / "index", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        added = array("Q")
        try:
            os.ftruncate(log, self.log_bytes)
            os.ftruncate(index, self.blocks * 8)
            end = Log(log, self.log_bytes, self.size)
            with ThreadPoolExecutor(max_workers=_WRITERS) as pool:
                for numbers in ordered(pool, lambda batch: end.append(batch(is_wanted)), batches):
                    added.extend(numbers)
            blocks.write(index, self.blocks * 8, added.tobytes())
            os.fdatasync(index)
            os.fdatasync(log)
        except OSError:
            os.ftruncate(log, self.log_bytes)
            raise
        finally:
            os.close(index)
            os.close(log)
        self._set(end.at, self.blocks + len(added))

    def _have(self) -> bytearray:
        """One bit for each block of the volume: whether it is in the log."""
        bits = bytearray(blocks.count(self.size) // 8 + 1)
        numbers = array("Q")
        if self.blocks:
            numbers.frombytes((self.folder / "index").read_bytes()[: self.blocks * 8])
        for number in numbers:
            bits[number >> 3] |= 1 << (number & 7)
        return bits

    def empty(self) -> None:
        """Forget the blocks: the volume is at this point again."""
        self._set(0, 0)
        (self.folder / "log").unlink(missing_ok=True)

    def _set(self, log_bytes: int, number: int) -> None:
        if log_bytes != self.log_bytes:
            self._meta = {**self._meta, "log_bytes": log_bytes, "blocks": number}
            write_json(self.folder / "meta.json", self._meta)

    def describe(self) -> dict[str, Any]:
        """For reports: {"name", "opened_at", "cycle", "size", "blocks", "bytes"} (bytes on disk)."""
        return {
            "name": self.name,
            "opened_at": self.opened_at,
            "cycle": self.cycle,
            "read_started": self.read_started,
            "size": self.size,
            "blocks": self.blocks,
            "bytes": self.log_bytes,
        }

    def remove(self) -> None:
        (self.folder / "meta.json").unlink(missing_ok=True)  # without it the folder is no recovery point any more
        shutil.rmtree(self.folder)
        fsync_folder(self.folder.parent)


def from_point(point: RecoveryPoint) -> Iterator[Batch]:
    """What another point's log holds."""
    for index, offset, nbytes, zeros in point.records():
        yield lambda is_wanted, index=index, offset=offset, nbytes=nbytes, zeros=zeros: (  # type: ignore[misc]
            [(index, point.content(offset, nbytes, zeros))] if is_wanted(index) else []
        )


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


def open_cycle(undo: Path, *, size: int, cycle: int, read_started: float | None, epoch: int) -> None:
    """Keep the state of a cycle, before the next one is applied."""
    name = f"{CYCLE}{cycle}"
    if name not in (point.name for point in points(undo)):
        open_point(undo, name, size=size, cycle=cycle, read_started=read_started, epoch=epoch)


def rotate(undo: Path, most: int) -> None:
    """Keep the newest states of cycles."""
    cycles = [point.name for point in points(undo) if point.name.startswith(CYCLE)]
    for name in cycles[: max(0, len(cycles) - most)]:
        forget(undo, name)


def forget(undo: Path, name: str) -> None:
    """Drop a point; its blocks go to the next older one, which needs them to stay whole."""
    older = None
    for point in points(undo):
        if point.name == name:
            if older:
                older.keep(from_point(point))
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
    if blocks.is_zero(content):
        blocks.clear(fd, index * blocks.BLOCK, len(content))
    else:
        blocks.write(fd, index * blocks.BLOCK, content)


def is_exact(fd: int, undo: Path, name: str) -> bool | None:
    """Whether putting a point back gives the very volume of its opening; None when that is not known.

    It does not where the volume was written by others than the delta sync meanwhile.
    """
    chain = points(undo)
    position = [point.name for point in chain].index(name)
    wanted = chain[position].manifest()
    if wanted is None:
        return None
    with wanted:
        digest = function(wanted.header.hash)
        kept: dict[int, bytes] = {}
        size = blocks.size_of(fd)
        for point in reversed(chain[position:]):
            size = min(size, point.size)
            kept.update((number, NULL if blocks.is_zero(content) else digest(content)) for number, content in point.kept())
        return all(_same(fd, size, kept, digest, each) for each in wanted.windows(blocks.CHUNK_BLOCKS))


def _same(fd: int, size: int, kept: dict[int, bytes], digest: Hash, wanted: tuple[int, bytes]) -> bool:
    """Whether blocks that are kept, else in the volume's first ``size`` bytes, else zeros, have the wanted digests."""
    first, digests = wanted
    number = len(digests) // DIGEST
    here = blocks.clipped([(first, number)], blocks.count(size))
    found = bytearray(look(fd, size, here, digest, None).digests).ljust(len(digests), b"\0")
    for index in range(first, first + number):
        if index in kept:
            found[(index - first) * DIGEST : (index - first + 1) * DIGEST] = kept[index]
    return bytes(found) == digests
