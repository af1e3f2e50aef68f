# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Reading a volume: digests of its blocks, and the content of those that differ from what is known of them."""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Callable, TypeVar

from . import blocks
from .blocks import BLOCK, CHUNK_BLOCKS, Range
from .hashes import DIGEST, NULL, Hash

READERS = 2  # threads of one session that read and hash; both let go of Python's lock
AHEAD = 4  # chunks that wait for their turn: what bounds the memory of a session
_AT_ONCE = 4  # blocks in one read: they are hashed while the processor's cache still has them

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Known = Callable[[int, int], bytes]  # first block, number of blocks → their digests, as the other end has them
Run = tuple[Range, bytes, bytes]  # blocks, their content, their digests


@dataclass
class Chunk:
    """Some blocks as they were read, with their digests in the order of ``parts``.

    ``runs``: content that differs from what was known; ``zeros``: blocks that became zeros.
    """

    parts: list[Range]
    digests: bytes
    runs: list[Run] = field(default_factory=list)
    zeros: list[Range] = field(default_factory=list)

    @property
    def touched(self) -> list[Range]:
        return sorted([*(run[0] for run in self.runs), *self.zeros])

    def each(self) -> Iterator[tuple[Range, bytes]]:
        """Each part with its digests."""
        at = 0
        for part in self.parts:
            yield part, self.digests[at : at + part[1] * DIGEST]
            at += part[1] * DIGEST


def pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="read")


def ordered(workers: ThreadPoolExecutor, work: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
    """The answers in the order of the items, a few of them made ahead. Closed early, it waits for what was begun."""
    waiting: deque[Future[Answer]] = deque()
    try:
        for item in items:
            waiting.append(workers.submit(work, item))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        for future in waiting:
            if not future.cancelled():
                future.exception()


def scan(fd: int, size: int, of: Iterable[Range], digest: Hash, workers: ThreadPoolExecutor, known: Known | None = None) -> Iterator[Chunk]:
    """The digests of some blocks, chunk by chunk; with the content of what differs from the known ones, where these are given."""
    return ordered(workers, lambda parts: look(fd, size, parts, digest, known), batches(of))


def batches(of: Iterable[Range]) -> Iterator[list[Range]]:
    """The ranges in pieces of work of a few MiB, however small or large they are."""
    batch: list[Range] = []
    room = CHUNK_BLOCKS
    for start, number in of:
        while number:
            part = min(number, room)
            batch.append((start, part))
            start, number, room = start + part, number - part, room - part
            if not room:
                yield batch
                batch, room = [], CHUNK_BLOCKS
    if batch:
        yield batch


def look(fd: int, size: int, parts: list[Range], digest: Hash, known: Known | None) -> Chunk:
    """Read at most CHUNK_BLOCKS blocks, holes left out."""
    wanted = b"".join(known(*part) for part in parts) if known else None
    buffer = memoryview(_buffer())
    found = bytearray()
    at = 0
    for part in parts:
        found += _digests(fd, size, part, digest, buffer[at * BLOCK :])
        at += part[1]
    chunk = Chunk(parts, bytes(found))
    if wanted is not None and chunk.digests != wanted:
        _compare(chunk, wanted, buffer, size)
    return chunk


def _digests(fd: int, size: int, part: Range, digest: Hash, buffer: memoryview) -> bytearray:
    """Of one range of blocks, whose content is then in the buffer; holes are neither read nor cleared there."""
    found = bytearray(NULL * part[1])
    for start, number in _with_data(fd, size, part):
        for first, some in blocks.chunks([(start, number)], _AT_ONCE):
            at = (first - part[0]) * BLOCK
            piece = buffer[at : at + blocks.nbytes((first, some), size)]
            blocks.fill(fd, first * BLOCK, piece)
            for position in range(some):
                block = piece[position * BLOCK : (position + 1) * BLOCK]
                if not blocks.is_zero(block):
                    place = first - part[0] + position
                    found[place * DIGEST : (place + 1) * DIGEST] = digest(block)
    return found


def _compare(chunk: Chunk, wanted: bytes, buffer: memoryview, size: int) -> None:
    """Fill in what differs."""
    place = 0
    for start, number in chunk.parts:
        data: list[Range] = []
        for index in range(start, start + number):
            at = (place + index - start) * DIGEST
            digest = chunk.digests[at : at + DIGEST]
            if digest != wanted[at : at + DIGEST]:
                blocks.extend(chunk.zeros if digest == NULL else data, index)
        for run in data:
            at = place + run[0] - start
            content = bytes(buffer[at * BLOCK : at * BLOCK + blocks.nbytes(run, size)])
            chunk.runs.append((run, content, chunk.digests[at * DIGEST : (at + run[1]) * DIGEST]))
        place += number


_local = threading.local()


def _buffer() -> bytearray:
    """This thread's own, made once: fresh memory costs more than the read into it."""
    if not hasattr(_local, "buffer"):
        _local.buffer = bytearray(CHUNK_BLOCKS * BLOCK)
    buffer: bytearray = _local.buffer
    return buffer


def _with_data(fd: int, size: int, part: Range) -> Iterator[Range]:
    """Ranges of blocks that may hold something else than zeros; where holes cannot be asked for, all."""
    at, stop = part[0] * BLOCK, min(sum(part) * BLOCK, size)
    covered = part[0]
    while at < stop:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), stop) if start < stop else stop
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            start, end = at, stop
        if start >= stop:
            return
        first, last = max(start // BLOCK, covered), blocks.count(end)
        if last > first:
            yield first, last - first
            covered = last
        at = max(end, start + 1)
