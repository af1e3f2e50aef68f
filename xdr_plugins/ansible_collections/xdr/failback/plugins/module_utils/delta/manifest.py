# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The digests of a volume's blocks as a cycle left them: the file ``manifest`` of a volume, at both ends.

A header of 4 KiB (JSON), then 32 bytes for each block. A block of zeros has 32 zero bytes, so a sparse volume has a sparse
manifest, and what lies behind the end of the file counts as zeros. Nothing here is ever read whole: a volume may have more
blocks than a host has memory for.

A changed manifest is invalid on disk before its first digest changes and valid again after the last is durable: whatever
is interrupted, a header that says ``whole`` stands before digests that belong to it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..durable import Steps, Wait, opened_folder, together
from .blocks import Content, count, write
from .hashes import DIGEST
from .identity import Identity

VERSION = 2
_HEAD = 4096
_AT_ONCE = 1 << 20

Changes = Iterable[tuple[int, bytes]]  # first block, digests of it and its successors


@dataclass(frozen=True)
class Header:
    """``state`` names the content: both ends derive it from the state before and what a cycle changed, so where it is the same,
    so is the content. ``identity``: of the volume when it was in that state. ``mark``: of the source's tracker for that cycle.
    ``epoch``: the newest in which this site had owned the plan by then. ``size`` in bytes.
    """

    hash: str
    size: int
    cycle: int = 0
    state: str = ""
    mark: str = ""
    identity: Identity | None = None
    epoch: int = 0


_FIELDS = tuple(each.name for each in fields(Header))


class Manifest:
    """A whole manifest, for reading; ``close`` it."""

    def __init__(self, fd: int, header: Header) -> None:
        self._fd, self.header = fd, header

    @classmethod
    def load(cls, path: Path) -> Manifest | None:
        """None where there is none, or one that is not whole."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        header = _parsed(os.pread(fd, _HEAD, 0))
        if header is None:
            os.close(fd)
            return None
        return cls(fd, header)

    def read(self, first: int, number: int) -> bytes:
        """Digests of blocks; those behind the end are of zeros."""
        found = os.pread(self._fd, number * DIGEST, _HEAD + first * DIGEST)
        return found + bytes(number * DIGEST - len(found))

    def windows(self, number: int = _AT_ONCE // DIGEST) -> Iterator[tuple[int, bytes]]:
        """All digests: first block, digests."""
        total = count(self.header.size)
        for first in range(0, total, number):
            yield first, self.read(first, min(number, total - first))

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Draft:
    """A manifest that is being made: digests are put into it, in any order, then it takes the place of the old one."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._fresh = path, path.with_name(f".{path.name}.{os.getpid()}-{id(self):x}")
        self._fd = os.open(self._fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def put(self, first: int, digests: Content) -> None:
        if any(digests) or first * DIGEST + _HEAD < os.fstat(self._fd).st_size:
            write(self._fd, _HEAD + first * DIGEST, digests)

    def read(self, first: int, number: int) -> bytes:
        return Manifest(self._fd, Header("", 0)).read(first, number)

    def publish(self, header: Header) -> None:
        """Durably in the place of the old one."""
        together([self.publishing(header)])

    def publishing(self, header: Header) -> Steps[bool]:
        """``publish``, to be done together with others; always True."""
        write(self._fd, 0, _text(header, whole=True))
        yield [(os.fsync, self._fd)]
        self._fresh.replace(self._path)
        with opened_folder(self._path.parent) as fd:
            yield [(os.fsync, fd)]
        self.close()
        return True

    def close(self) -> None:
        """Without ``publish``: nothing of it is left."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._fresh.unlink(missing_ok=True)


def update(path: Path, header: Header, changes: Changes) -> bool:
    """Change a whole manifest in place; False, with nothing done, where there is none of this kind of digest."""
    return together([updating(path, header.hash, lambda: header, changes)])[0]


def updating(path: Path, digest: str, header: Callable[[], Header], changes: Changes, beside: Sequence[Wait] = ()) -> Steps[bool]:
    """``update``, to be done together with others. ``beside``: what else must be durable before ``header`` is asked for."""
    with contextlib.ExitStack() as stack:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        stack.callback(os.close, fd)
        before = _parsed(os.pread(fd, _HEAD, 0))
        if before is None or before.hash != digest:
            return False
        write(fd, 0, _text(before, whole=False))
        yield [(os.fdatasync, fd), *beside]
        fresh = header()
        for first, digests in changes:
            write(fd, _HEAD + first * DIGEST, digests)
        if os.fstat(fd).st_size > _HEAD + count(fresh.size) * DIGEST:  # should it grow again, what was cut off is zeros
            os.ftruncate(fd, _HEAD + count(fresh.size) * DIGEST)
        yield [(os.fdatasync, fd)]
        write(fd, 0, _text(fresh, whole=True))
        yield [(os.fdatasync, fd)]
        return True


def _text(header: Header, *, whole: bool) -> bytes:
    return json.dumps({"version": VERSION, "whole": whole, **vars(header)}).encode().ljust(_HEAD - 1) + b"\n"


def _parsed(text: bytes) -> Header | None:
    try:
        document: Any = json.loads(text)
        if document["version"] != VERSION or document["whole"] is not True:
            return None
        return Header(**{name: document[name] for name in _FIELDS})
    except (ValueError, TypeError, KeyError):
        return None
