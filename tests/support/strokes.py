# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a guest, or an administrator, may do to a raw image: one stroke at a time, and which blocks each touches."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK, count
from hypothesis import strategies as st

Stroke = tuple[str, int, int, int]  # name of a function below, offset, length, seed

PAGE = 4096
FURTHEST = 48 * BLOCK
_KEEP_SIZE, _PUNCH, _ZERO = 1, 2, 16
_CLONE_RANGE = 0x4020940D


def bytes_of(seed: int, length: int) -> bytes:
    """Seed 0 is zeros; even seeds make bytes that compress, odd ones bytes that do not."""
    return random.Random(seed).randbytes(length) if seed % 2 else bytes([seed]) * length  # noqa: S311


def write(fd: int, offset: int, length: int, seed: int) -> None:
    os.pwrite(fd, bytes_of(seed, length), offset)


def write_through(fd: int, offset: int, length: int, seed: int) -> None:
    """As QEMU with cache=none: O_DIRECT, whole pages."""
    offset, length = offset // PAGE * PAGE, -(-length // PAGE) * PAGE
    with mmap.mmap(-1, length) as page:
        page.write(bytes_of(seed, length))
        direct = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_DIRECT)
        try:
            os.pwrite(direct, page, offset)
        finally:
            os.close(direct)


def write_again(fd: int, offset: int, length: int, seed: int) -> None:
    """The same content."""
    os.pwrite(fd, os.pread(fd, length, offset), offset)


def store(fd: int, offset: int, length: int, seed: int) -> None:
    """Through a mapping, as far as the file goes."""
    size = os.fstat(fd).st_size
    if offset < size:
        with mmap.mmap(fd, size) as memory:
            memory[offset : offset + length] = bytes_of(seed, min(length, size - offset))


def punch(fd: int, offset: int, length: int, seed: int) -> None:
    fallocate(fd, _KEEP_SIZE | _PUNCH, offset, length)


def zero(fd: int, offset: int, length: int, seed: int) -> None:
    """Zeros without writing them: extents that are allocated but not written."""
    fallocate(fd, _ZERO | _KEEP_SIZE, offset, length)


def allocate(fd: int, offset: int, length: int, seed: int) -> None:
    """Odd seeds keep the size: space beyond the end."""
    fallocate(fd, _KEEP_SIZE if seed % 2 else 0, offset, length)


def truncate(fd: int, offset: int, length: int, seed: int) -> None:
    os.ftruncate(fd, offset)


def share(fd: int, offset: int, length: int, seed: int) -> None:
    """A part of the file becomes a clone of another part, as "cp" in a guest over NFS may do."""
    source, target = (seed * BLOCK) % FURTHEST, offset // PAGE * PAGE
    length = -(-length // PAGE) * PAGE
    if source + length <= os.fstat(fd).st_size and abs(source - target) >= length:
        fcntl.ioctl(fd, _CLONE_RANGE, struct.pack("=qQQQ", fd, source, length, target))


def sync(fd: int, offset: int, length: int, seed: int) -> None:
    os.fsync(fd)


STROKES: tuple[Callable[[int, int, int, int], None], ...] = (
    write,
    write_through,
    write_again,
    store,
    punch,
    zero,
    allocate,
    truncate,
    share,
    sync,
)
_BY_NAME = {stroke.__name__: stroke for stroke in STROKES}

offsets = st.one_of(st.integers(0, FURTHEST // BLOCK).map(lambda number: number * BLOCK), st.integers(0, FURTHEST))
lengths = st.one_of(st.integers(1, 3 * PAGE), st.sampled_from([PAGE, BLOCK, 3 * BLOCK + 1, 12 * BLOCK]))
strokes = st.lists(st.tuples(st.sampled_from(sorted(_BY_NAME)), offsets, lengths, st.integers(0, 255)), max_size=8)


def play(path: Path, some: list[Stroke]) -> set[int]:
    """Returns the blocks that may be touched."""
    touched: set[int] = set()
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for name, offset, length, seed in some:
            before = os.fstat(fd).st_size
            _BY_NAME[name](fd, offset, length, seed)
            after = os.fstat(fd).st_size
            touched |= _touched(name, offset, length, before, after)
    finally:
        os.close(fd)
    return touched


def _touched(name: str, offset: int, length: int, before: int, after: int) -> set[int]:
    """``before`` and ``after`` are sizes. From the old end on where the file grew; all that XFS has in one large folio with a store."""
    first, end = min(offset // PAGE * PAGE, before if after > before else after), offset + length + PAGE
    if name in ("truncate", "store"):
        first, end = first if name == "truncate" else 0, max(before, after)
    return set(range(first // BLOCK, count(end)))


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    call = ctypes.CDLL(None, use_errno=True).fallocate
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if call(fd, mode, offset, length):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
