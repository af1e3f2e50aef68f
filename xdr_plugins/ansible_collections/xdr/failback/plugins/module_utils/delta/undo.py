# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Recovery points: the blocks that cycles have overwritten since a point was opened.

``undo/<name>/meta.json``, the segments of its log (records: index, length, zeros?, content), ``index`` (the blocks in the log, 8 bytes
each) and ``manifest`` of the volume at the opening, when known. A segment is valid up to the bytes that the meta file names, which is
written after the segment's fsync and before the volume is touched; what is not named is left of an interrupted cycle and removed. Points
of a volume are a chain: a block goes to the newest, restoring an older one takes the newer first.
"""

from __future__ import annotations

import os
import shutil
import time
from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from .. import slots
from ..durable import Steps, fsync_folder, is_unlocked, opened_folder, together
from ..errors import XdrError
from ..site import checked_name
from . import blocks
from .hashes import DIGEST, NULL, Hash, function
from .manifest import Draft, Header, Manifest
from .scanning import look
from .state import VolumeState
from .undo_log import PREFIX, RECORD, Batch, Segment

CYCLE = "cycle-"  # what the names of the states of cycles begin with
_SMALL = 16 << 20  # bytes: a smaller segment is copied to the end of the last one, as is one below a part of the log,
_PART = 256  # so that a log of any size has some hundred segments
_AT_ONCE = 1 << 20  # bytes that are copied


class Old(NamedTuple):
    """A record: the block, where its content is, and how much."""

    block: int
    segment: str
    at: int
    nbytes: int
    zeros: bool


class RecoveryPoint:
    """One point, open for blocks as long as it is the newest.

    ``size`` is the volume's length in bytes at the opening (0 where there was no volume), ``cycle`` and ``read_started``
    its newest cycle then, ``epoch`` the plan's newest that this host knew.
    """

    def __init__(self, folder: Path, meta: dict[str, Any], *, saved: bool = True) -> None:
        self.folder, self._meta, self._saved = folder, meta, saved
        self.name: str = folder.name
        self.number: int = meta["number"]
        self.opened_at: float = meta["opened_at"]
        self.size: int = meta["size"]
        self.cycle: int = meta["cycle"]
        self.epoch: int = meta["epoch"]
        self.read_started: float | None = meta["read_started"]

    @classmethod
    def unsaved(cls, folder: Path, number: int, *, size: int, cycle: int, read_started: float | None, epoch: int) -> RecoveryPoint:
        """A new one; it is open once something is kept in it, or it is saved."""
        meta: dict[str, Any] = {"number": number, "opened_at": time.time(), "log_bytes": 0}
        meta = {**meta, "size": size, "cycle": cycle, "read_started": read_started, "epoch": epoch}
        return cls(folder, meta, saved=False)

    @property
    def log_bytes(self) -> int:
        return int(self._meta["log_bytes"])

    @property
    def blocks(self) -> int:
        return int(self._meta.get("blocks", 0))

    @property
    def segments(self) -> list[tuple[str, int]]:
        """Names and bytes, in the order in which they were written."""
        older = [("log", self.log_bytes)] if self.log_bytes else []  # as logs were before they had segments
        return [(name, nbytes) for name, nbytes in self._meta.get("segments", older)]

    @property
    def aim(self) -> tuple[object, ...]:
        """What says which blocks it wants: where it is the same, they are."""
        return self.name, self.number, self.size, self.blocks, self.log_bytes

    def manifest(self) -> Manifest | None:
        return Manifest.load(self.folder / "manifest")

    @property
    def wants_digests(self) -> bool:
        """Whether those of the opening are not known, and nothing was overwritten since."""
        return not self.name.startswith(CYCLE) and not self.log_bytes and not (self.folder / "manifest").exists()

    def know(self, known: Manifest) -> None:
        """Keep the volume's digests, if they are of the opening."""
        if known.header.size != self.size:
            return
        draft = Draft(self.folder / "manifest")
        for first, digests in known.windows():
            draft.put(first, digests)
        draft.publish(Header(known.header.hash, self.size, self.cycle))

    def records(self) -> Iterator[Old]:
        for name, nbytes in self.segments:
            at = 0
            with (self.folder / name).open("rb") as log:
                while at < nbytes:
                    log.seek(at)
                    index, length, zeros = RECORD.unpack(log.read(RECORD.size))
                    yield Old(index, name, at + RECORD.size, length, bool(zeros))
                    at += RECORD.size + (0 if zeros else length)

    def kept(self) -> Iterator[tuple[int, bytes]]:
        """The blocks of the log, index and content."""
        return ((old.block, self.content(old)) for old in self.records())

    def content(self, old: Old) -> bytes:
        """Of one record."""
        if old.zeros:
            return bytes(old.nbytes)
        with (self.folder / old.segment).open("rb") as log:
            log.seek(old.at)
            return log.read(old.nbytes)

    def keep(self, batches: Iterable[Batch]) -> None:
        """Add blocks that are not in the log yet, durably. Raises OSError (disk full) with the log as it was."""
        with closing(self.segment()) as segment:
            segment.keep(batches)
            self.take(segment)

    def segment(self) -> Segment:
        """For blocks that it has not got yet."""
        return Segment(self.folder.parent, self.size, self._have())

    def take(self, segment: Segment) -> None:
        """Add a segment's blocks, durably. Raises OSError (disk full) with the log as it was."""
        together([self.taking(segment)])

    def taking(self, segment: Segment) -> Steps[None]:
        """``take``, to be done together with others."""
        if self.folder.exists() and not (self.folder / "meta.json").exists():  # left of one that was not removed to the end
            shutil.rmtree(self.folder)
        if not segment.numbers:
            yield from self._saving()
        elif self.segments and segment.nbytes < max(_SMALL, self.log_bytes // _PART):
            yield from self._appending(segment)
        else:
            yield from self._adopting(segment)

    def _adopting(self, segment: Segment) -> Steps[None]:
        name = f"log-{len(self.segments) + 1}"
        self.folder.mkdir(exist_ok=True)
        segment.path.replace(self.folder / name)
        try:
            yield from self._flushing(segment.fd, segment.numbers)
        except OSError:
            (self.folder / name).unlink()
            raise
        yield from self._setting([*self.segments, (name, segment.nbytes)], self.blocks + len(segment.numbers))

    def _appending(self, segment: Segment) -> Steps[None]:
        *before, (name, end) = self.segments
        log = os.open(self.folder / name, os.O_RDWR | os.O_CLOEXEC)
        try:
            for at in range(0, segment.nbytes, _AT_ONCE):
                blocks.write(log, end + at, os.pread(segment.fd, min(_AT_ONCE, segment.nbytes - at), at))
            yield from self._flushing(log, segment.numbers)
        except OSError:
            os.ftruncate(log, end)
            raise
        finally:
            os.close(log)
        yield from self._setting([*before, (name, end + segment.nbytes)], self.blocks + len(segment.numbers))

    def _flushing(self, log: int, numbers: array[int]) -> Steps[None]:
        """A segment's content and name, and the index: durable together, for the disk is waited for only once then."""
        index = os.open(self.folder / "index", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            blocks.write(index, self.blocks * 8, numbers.tobytes())
            with opened_folder(self.folder) as folder:
                yield [(os.fdatasync, log), (os.fdatasync, index), (os.fsync, folder)]
        finally:
            os.close(index)

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
        gone = self.segments
        together([self._setting([], 0)])
        for name, _ in gone:
            (self.folder / name).unlink(missing_ok=True)

    def _setting(self, segments: list[tuple[str, int]], number: int) -> Steps[None]:
        log_bytes = sum(nbytes for _, nbytes in segments)
        if log_bytes != self.log_bytes:
            self._saved = False
            self._meta = {**self._meta, "segments": segments, "log_bytes": log_bytes, "blocks": number}
        yield from self._saving()

    def save(self) -> None:
        """Durably, if it is not as it is here."""
        together([self._saving()])

    def _saving(self) -> Steps[None]:
        if not self._saved:
            new = not (self.folder / "meta.json").exists()
            yield from slots.writing(self.folder / "meta.json", self._meta)
            if new:
                with opened_folder(self.folder.parent) as fd:
                    yield [(os.fsync, fd)]
            self._saved = True

    def clear_leftovers(self) -> None:
        """Remove what was not written to its end, and segments that no meta file came to name."""
        known = {"meta.json", "index", "manifest", *(name for name, _ in self.segments)}
        for path in self.folder.iterdir():
            if path.name not in known:
                path.unlink()

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
    for old in point.records():
        yield lambda is_wanted, old=old: [(old.block, point.content(old))] if is_wanted(old.block) else []  # type: ignore[misc]


def points(undo: Path) -> list[RecoveryPoint]:
    """The chain, oldest first. Needs no lock: what is half made or half removed is no point, and is left alone."""
    if not undo.is_dir():
        return []
    metas = ((folder, slots.read(folder / "meta.json")) for folder in undo.iterdir() if not folder.name.startswith(PREFIX))
    return sorted((_loaded(folder, meta) for folder, meta in metas if meta is not None), key=lambda point: point.number)


def clear_leftovers(undo: Path) -> None:
    """Remove what interruptions left: segments of dead sessions, what was not yet or no longer a point; under the plan's lock, so
    that no point is being made.
    """
    for path in list(undo.iterdir()) if undo.is_dir() else []:
        if path.name.startswith(PREFIX):
            if is_unlocked(path):
                path.unlink(missing_ok=True)
        elif not (path / "meta.json").exists():
            shutil.rmtree(path)
    for point in points(undo):
        point.clear_leftovers()


def _loaded(folder: Path, meta: Any) -> RecoveryPoint:
    try:
        return RecoveryPoint(folder, meta)
    except (KeyError, TypeError) as error:
        raise XdrError(f"not a recovery point ({error!r})", where=str(folder), todo="Restore it from its site's backup") from error


def open_point(undo: Path, name: str, *, size: int, cycle: int = 0, read_started: float | None = None, epoch: int = 0) -> RecoveryPoint:
    """Open a recovery point as the newest one; under a free name, ``name`` or ``name-2``, …"""
    clear_leftovers(undo)
    chain = points(undo)
    taken = {point.name for point in chain}
    free, counter = checked_name(name, "recovery point"), 2
    while free in taken:
        free, counter = checked_name(f"{name}-{counter}", "recovery point"), counter + 1
    point = RecoveryPoint.unsaved(undo / free, _next(chain), size=size, cycle=cycle, read_started=read_started, epoch=epoch)
    point.save()
    return point


def due(undo: Path, state: VolumeState, *, size: int, epoch: int, states: int) -> RecoveryPoint | None:
    """The point that gets what the next cycle overwrites in a volume of ``size`` bytes: with ``states`` of cycles to be kept, a new one,
    not saved yet, for the state that the volume is in; else the newest, if there is one.
    """
    chain = points(undo)
    name = f"{CYCLE}{state.cycle}"
    if states and state.cycle and state.consistent and name not in (point.name for point in chain):
        known: dict[str, Any] = {"size": size, "cycle": state.cycle, "read_started": state.read_started, "epoch": epoch}
        return RecoveryPoint.unsaved(undo / name, _next(chain), **known)
    return chain[-1] if chain else None


def _next(chain: list[RecoveryPoint]) -> int:
    return chain[-1].number + 1 if chain else 1


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
