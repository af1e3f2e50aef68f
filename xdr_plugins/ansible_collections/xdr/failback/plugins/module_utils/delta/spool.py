# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Received blocks before they are applied: ``spool/<random>.part``, and the commit record ``spool/<random>.commit``.

Without a commit record a cycle never was. With one it is applied, now or by whoever comes next: all of its volumes, or none.
A spool whose session was cut off stays: the next session goes on with it. Each of its blocks carries its digest, so what a
power cut tore is found and cut off.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from ..durable import fsync_folder, is_unlocked, read_json, write_json
from ..errors import XdrError
from . import blocks
from .blocks import BLOCK, CHUNK_BLOCKS, Content, Range
from .hashes import DIGEST, NULL, Hash, function

_RECORD = struct.Struct(">cHQII")  # kind, position of the volume in the header, first block, blocks, bytes that follow
_HEADER, _DATA, _ZEROS = b"H", b"D", b"Z"
_MAX_HEADER = 1 << 20
_MOST_DIGESTS = CHUNK_BLOCKS * DIGEST  # bytes
_FLUSH_EVERY = 8 << 20  # bytes after which the disk is told to begin with what was written


@dataclass(frozen=True)
class Entry:
    """Blocks of one volume. ``at`` is the place of their content in the spool, ``nbytes`` its length (0: blocks of zeros)."""

    volume: int
    run: Range
    digests: bytes
    at: int
    nbytes: int


Span = tuple[int, int]  # where in a spool all entries of a volume lie, with others between them; (0, 0): anywhere
Entries = Callable[[Span], Iterator[Entry]]
EVERYWHERE: Span = (0, 0)


class Spool:
    """Being received. The file is locked as long as its receiver lives, so that others leave it alone.

    ``volumes``: [{"name", "generation"}], what the positions in its entries mean.
    """

    def __init__(self, path: Path, fd: int, digest: str, volumes: list[dict[str, Any]], size: int) -> None:
        self.path, self.digest, self.volumes, self._fd, self._size = path, digest, volumes, fd, size
        self._hinted = size
        self._spans: dict[int, Span] = {}
        self._resumed = size > 0
        self._committed: Path | None = None

    @classmethod
    def create(cls, folder: Path, digest: str, volumes: list[dict[str, Any]]) -> Spool:
        folder.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(prefix="cycle-", suffix=".part", dir=folder)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        spool = cls(Path(name), fd, digest, volumes, 0)
        spool._write_header({"hash": digest, "volumes": volumes})
        return spool

    @property
    def empty(self) -> bool:
        return next(self.entries(), None) is None

    @classmethod
    def unnamed(cls, fd: int) -> Spool:
        """In a file of the caller's, for what never becomes a commit."""
        spool = cls(Path(), fd, "", [], 0)
        spool._write_header({})
        return spool

    def add(self, volume: int, data: Sequence[tuple[Range, Content, Content]], zeros: Sequence[Range] = ()) -> None:
        """Runs of blocks (range, digests, content) and of zeros, in one write."""
        parts: list[Content] = [_RECORD.pack(_ZEROS, volume, *run, 0) for run in zeros]
        for run, digests, content in data:
            parts += (_RECORD.pack(_DATA, volume, *run, len(content)), digests, content)
        if parts:
            begin = self._size
            self._write(*parts)
            self._spans[volume] = (self._spans.get(volume, (begin, 0))[0], self._size)

    def span(self, volume: int) -> Span:
        """Empty for a volume without entries."""
        return EVERYWHERE if self._resumed else self._spans.get(volume, (self._size, self._size))

    def holds_others(self, but: Collection[int]) -> bool:
        """Whether there may be entries of volumes besides these."""
        return self._resumed or not self._spans.keys() <= set(but)

    def _write_header(self, document: dict[str, Any]) -> None:
        text = json.dumps(document).encode()
        self._write(_RECORD.pack(_HEADER, 0, 0, 1, len(text)), hashlib.sha256(text).digest(), text)

    def _write(self, *parts: Content) -> None:
        total = sum(len(part) for part in parts)
        done = os.pwritev(self._fd, parts, self._size)
        if done < total:  # rare: a signal, or the disk is full, which the next write will say
            rest = memoryview(b"".join(parts))[done:]
            while rest:
                wrote = os.pwrite(self._fd, rest, self._size + done)
                rest, done = rest[wrote:], done + wrote
        self._size += total
        if self._size - self._hinted >= _FLUSH_EVERY:
            blocks.begin_writing(self._fd, self._hinted, self._size - self._hinted)
            self._hinted = self._size

    def sync(self) -> None:
        """Content and name."""
        os.fsync(self._fd)
        fsync_folder(self.path.parent)

    def commit(self, record: dict[str, Any]) -> Path:
        """Make the cycle durable, after ``sync``; from here on it will be applied. Returns the commit record's path."""
        if not self.path.exists():
            raise XdrError("the spool of this cycle was taken away", where=str(self.path), todo="Run the cycle again")
        path = self.path.with_suffix(".commit")
        self._committed = path
        write_json(path, {"version": 2, "spool": self.path.name, "bytes": self._size, "hash": self.digest, **record})
        return path

    def entries(self, span: Span = EVERYWHERE) -> Iterator[Entry]:
        return _entries(self._fd, self._size, str(self.path), span)

    @property
    def fd(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    def discard_uncommitted(self) -> None:
        """Remove the spool, unless its commit record may have been written."""
        if not (self._committed and self._committed.exists()):
            self.path.unlink(missing_ok=True)


def resume(path: Path) -> Spool | None:
    """Take over the spool of a dead session, up to the first entry that is torn; None where nothing can be taken."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        header, whole = _whole(fd, path)
        os.ftruncate(fd, whole)
        return Spool(path, fd, header["hash"], header["volumes"], whole)
    except (BlockingIOError, XdrError):
        os.close(fd)
        return None


def _whole(fd: int, path: Path) -> tuple[dict[str, Any], int]:
    """The header, and how many bytes of the spool are what they claim to be. Raises XdrError where there is no header."""
    size = os.fstat(fd).st_size
    header, at = _header(fd, size, str(path))
    digest = function(header["hash"])
    with contextlib.suppress(XdrError):
        for entry in _entries(fd, size, str(path)):
            if not _is_intact(fd, entry, digest):
                break
            at = entry.at + entry.nbytes
    return header, at


def _is_intact(fd: int, entry: Entry, digest: Hash) -> bool:
    content = os.pread(fd, entry.nbytes, entry.at)
    return len(content) == entry.nbytes and entry.digests == digests_of(content, digest, entry.run[1])


def digests_of(content: Content, digest: Hash, number: int) -> bytes:
    """Digests of the blocks in a run's content; of zeros where there is no content."""
    view = memoryview(content)
    return b"".join(digest(view[at : at + BLOCK]) for at in range(0, len(view), BLOCK)) if len(view) else NULL * number


def _header(fd: int, size: int, where: str) -> tuple[dict[str, Any], int]:
    kind, _, _, _, nbytes = _RECORD.unpack(os.pread(fd, _RECORD.size, 0).ljust(_RECORD.size, b"\0"))
    known = os.pread(fd, DIGEST, _RECORD.size)
    text = os.pread(fd, nbytes, _RECORD.size + DIGEST) if kind == _HEADER and nbytes <= _MAX_HEADER else b""
    if not text or hashlib.sha256(text).digest() != known:
        raise _damaged(where)
    header: dict[str, Any] = json.loads(text)
    return header, _RECORD.size + DIGEST + nbytes


def _entries(fd: int, size: int, where: str, span: Span = EVERYWHERE) -> Iterator[Entry]:
    """Raises XdrError at what is no entry."""
    at, stop = span if span != EVERYWHERE else (_header(fd, size, where)[1], size)
    while at < stop:
        head = os.pread(fd, _RECORD.size + _MOST_DIGESTS, at)
        if len(head) < _RECORD.size:
            raise _damaged(where)
        kind, volume, first, number, nbytes = _RECORD.unpack(head[: _RECORD.size])
        at += _RECORD.size
        data = kind == _DATA and 0 < nbytes <= CHUNK_BLOCKS * BLOCK and -(-nbytes // BLOCK) == number
        if not data and not (kind == _ZEROS and nbytes == 0 and number):
            raise _damaged(where)
        digests = head[_RECORD.size : _RECORD.size + number * DIGEST] if data else b""
        at += len(digests)
        if at + nbytes > size or (data and len(digests) != number * DIGEST):
            raise _damaged(where)
        yield Entry(volume, (first, number), digests, at, nbytes)
        at += nbytes


def _damaged(where: str) -> XdrError:
    return XdrError(
        "the spool of a committed cycle is damaged, the volume may be between two states",
        where=where,
        todo="Look at this host's disk; put a recovery point back, or remove the commit record and run a full cycle",
        code="spool_damaged",
    )


def commits(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.commit")) if folder.is_dir() else []


def load_record(path: Path) -> dict[str, Any]:
    """Raises XdrError for what is no commit record."""
    record = read_json(path)
    if not isinstance(record, dict) or not {"spool", "bytes", "hash", "volumes"} <= record.keys():
        raise XdrError("not a commit record", where=str(path), todo="Look at this host's disk", code="spool_damaged")
    return record


@contextlib.contextmanager
def committed(path: Path) -> Iterator[tuple[dict[str, Any], int, Entries]]:
    """The commit record that an interruption left, its spool open for reading, and its entries, each held against its digest.

    Raises XdrError for a spool that is not what was committed.
    """
    record = load_record(path)
    spool = path.with_name(Path(record["spool"]).name)
    try:
        fd = os.open(spool, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _damaged(str(spool)) from None
    try:
        digest = function(record["hash"])

        def entries(span: Span = EVERYWHERE) -> Iterator[Entry]:
            return _entries(fd, record["bytes"], str(spool), span)

        if not all(_is_intact(fd, entry, digest) for entry in entries() if entry.nbytes):
            raise _damaged(str(spool))
        yield record, fd, entries
    finally:
        os.close(fd)


def finish(path: Path) -> None:
    """A committed cycle is applied: remove the record first, then the spool."""
    record = load_record(path)
    path.unlink()
    fsync_folder(path.parent)
    path.with_name(Path(record["spool"]).name).unlink(missing_ok=True)


def abandoned(folder: Path) -> list[Path]:
    """Spools without a commit record whose receivers are dead, the newest first. A living receiver's is left alone."""
    if not folder.is_dir():
        return []
    committed_to = {load_record(path)["spool"] for path in commits(folder)}
    dead = [path for path in folder.glob("*.part") if path.name not in committed_to and is_unlocked(path)]
    return sorted(dead, key=lambda path: path.name if not path.exists() else str(path.stat().st_mtime_ns), reverse=True)


def leftovers(folder: Path) -> list[Path]:
    """Abandoned spools, and commit records that were not finished."""
    return [*abandoned(folder), *folder.glob(".*.commit.*")] if folder.is_dir() else []
