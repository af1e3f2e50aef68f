# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Old blocks of a volume on their way to a recovery point."""

from __future__ import annotations

import fcntl
import os
import struct
import tempfile
import threading
from array import array
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable

from . import blocks
from .blocks import Range
from .scanning import batches, ordered

RECORD = struct.Struct(">QIB")  # block, bytes, whether they are zeros and so not in the log
PREFIX = ".old-"
_WRITERS = 2  # threads that read old blocks and write them to a segment

Kept = tuple[int, bytes]  # a block and its content
Batch = Callable[[Callable[[int], bool]], Iterable[Kept]]


class Segment:
    """Records in a file of their own, below ``undo``, until a recovery point takes them.

    ``size``: of the volume when the point was opened; what lies beyond is not wanted. ``have``: one bit for each block that the point has.
    The file is locked as long as its writer lives: one that nobody locks is left of an interruption.
    """

    def __init__(self, undo: Path, size: int, have: bytearray) -> None:
        undo.mkdir(parents=True, exist_ok=True)
        self.fd, name = tempfile.mkstemp(prefix=PREFIX, dir=undo)
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        self.path = Path(name)
        self.nbytes, self.numbers = 0, array("Q")
        self._size, self._have, self._total = size, have, blocks.count(size)
        self._lock = threading.Lock()

    def _is_wanted(self, index: int) -> bool:
        return index < self._total and not self._have[index >> 3] & 1 << (index & 7)

    def keep(self, several: Iterable[Batch]) -> None:
        """Add what these batches have of blocks that are wanted; a batch is called with the test for that. Raises OSError (disk full)."""
        with ThreadPoolExecutor(max_workers=_WRITERS) as pool:
            for _ in ordered(pool, self.add, several):
                pass

    def add(self, batch: Batch) -> None:
        """One batch, in one write; by several threads at a time."""
        parts: list[bytes] = []
        numbers = array("Q")
        for index, content in batch(self._is_wanted):
            content = content[: blocks.length(index, self._size)]
            zeros = blocks.is_zero(content)
            parts += (RECORD.pack(index, len(content), zeros), b"" if zeros else content)
            numbers.append(index)
        total = sum(len(part) for part in parts)
        with self._lock:
            at, self.nbytes = self.nbytes, self.nbytes + total
            self.numbers.extend(numbers)
            for index in numbers:
                self._have[index >> 3] |= 1 << (index & 7)
        done = os.pwritev(self.fd, parts, at) if parts else 0
        if done < total:
            blocks.write(self.fd, at + done, b"".join(parts)[done:])
        blocks.begin_writing(self.fd, at, total)

    def close(self) -> None:
        """What no point has taken is removed. May be called again."""
        if self.fd >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self.fd)
            self.fd = -1


def from_volume(fd: int, size: int, of: Iterable[Range]) -> Iterator[Batch]:
    """What is in some blocks of a volume, for a log."""

    def batch(parts: list[Range]) -> Batch:
        return lambda is_wanted: (each for part in parts for run in _wanted(part, is_wanted) for each in blocks.read(fd, size, [run]))

    return (batch(parts) for parts in batches(of))


def _wanted(part: Range, is_wanted: Callable[[int], bool]) -> list[Range]:
    runs: list[Range] = []
    for index in range(part[0], sum(part)):
        if is_wanted(index):
            blocks.extend(runs, index)
    return runs
