# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Writing to the log of a recovery point."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterable, Iterator
from typing import Callable

from . import blocks
from .blocks import Range
from .scanning import batches

RECORD = struct.Struct(">QIB")  # block, bytes, whether they are zeros and so not in the log

Kept = tuple[int, bytes]  # a block and its content
Batch = Callable[[Callable[[int], bool]], Iterable[Kept]]


class Log:
    """The end of a log of a volume of ``size`` bytes, written by several threads."""

    def __init__(self, fd: int, at: int, size: int) -> None:
        self._fd, self.at, self._size = fd, at, size
        self._lock = threading.Lock()

    def append(self, found: Iterable[Kept]) -> list[int]:
        """Some blocks in one write; their numbers."""
        parts: list[bytes] = []
        numbers = []
        for index, content in found:
            content = content[: blocks.length(index, self._size)]
            zeros = blocks.is_zero(content)
            parts += (RECORD.pack(index, len(content), zeros), b"" if zeros else content)
            numbers.append(index)
        total = sum(len(part) for part in parts)
        with self._lock:
            at, self.at = self.at, self.at + total
        done = os.pwritev(self._fd, parts, at) if parts else 0
        if done < total:
            blocks.write(self._fd, at + done, b"".join(parts)[done:])
        blocks.begin_writing(self._fd, at, total)
        return numbers


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
