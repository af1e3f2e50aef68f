# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A volume as 64 KiB blocks: their digests, the holes between them, reading and writing them."""

from __future__ import annotations

import ctypes
import errno
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Optional, Union

from ..errors import XdrError

BLOCK = 64 * 1024
DIGEST = 32
ZEROS = bytes(BLOCK)
READ_BLOCKS = 16  # blocks in one read

Range = tuple[int, int]  # first block, number of blocks
Digests = Union[bytes, bytearray]
Seen = Callable[[int, Optional[bytes], bytes], None]  # index, content (None: zeros), digest
Told = Callable[[int], None]  # bytes looked at so far


def count(size: int) -> int:
    """Blocks in a volume of ``size`` bytes; the last may be short."""
    return -(-size // BLOCK)


def length(index: int, size: int) -> int:
    """Bytes of block ``index`` in a volume of ``size`` bytes."""
    return min(BLOCK, size - index * BLOCK)


@functools.lru_cache(maxsize=16)
def zero_digest(nbytes: int = BLOCK) -> bytes:
    return hashlib.sha256(ZEROS[:nbytes]).digest()


def digest(block: bytes) -> bytes:
    if block == ZEROS[: len(block)]:
        return zero_digest(len(block))
    return hashlib.sha256(block).digest()


def root(digests: Digests, size: int) -> str:
    """One digest for a volume's size and all its blocks."""
    return hashlib.sha256(size.to_bytes(8, "big") + digests).hexdigest()


def nth(digests: Digests, index: int) -> bytes:
    """The digest of one block, empty beyond the end."""
    return bytes(digests[index * DIGEST : (index + 1) * DIGEST])


def resized(digests: Digests, size: int) -> bytearray:
    """Digests for a volume cut or extended with zeros to ``size``; a last block of another length counts as extended too."""
    wanted = count(size)
    fresh = bytearray(digests[: wanted * DIGEST])
    missing = wanted - len(fresh) // DIGEST
    if missing > 0:
        fresh += zero_digest() * (missing - 1) + zero_digest(length(wanted - 1, size))
    return fresh


def size_of(fd: int) -> int:
    """Length in bytes of a file or block device."""
    return os.lseek(fd, 0, os.SEEK_END)


def resize(fd: int, size: int) -> None:
    """Cut or extend with a hole; a device keeps its size, so nothing is asked of it where nothing is to change."""
    if size_of(fd) != size:
        os.ftruncate(fd, size)


def size_at(path: Path) -> int | None:
    """Length in bytes of the volume, None where there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise XdrError(
            f"the volume cannot be read ({error.strerror})", where=str(path), todo="Look at its permissions and its disk"
        ) from error
    try:
        return size_of(fd)
    finally:
        os.close(fd)


def ranges(indexes: Iterable[int]) -> list[Range]:
    """Indexes in any order → sorted ranges without overlap."""
    found: list[Range] = []
    for index in sorted(set(indexes)):
        if found and sum(found[-1]) == index:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((index, 1))
    return found


def indexes(of: Iterable[Range]) -> Iterator[int]:
    for start, number in of:
        yield from range(start, start + number)


def with_data(fd: int, size: int) -> Iterator[Range]:
    """Ranges of blocks that may hold something else than zeros; where holes cannot be asked for, all."""
    at, covered = 0, 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            stop = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            start, stop = at, size
        first, last = max(start // BLOCK, covered), count(stop)
        if last > first and start < size:
            yield first, last - first
            covered = last
        at = max(stop, start + 1)


def scan(fd: int, size: int, seen: Seen | None = None, told: Told | None = None) -> bytearray:
    """Digests of all blocks. ``seen`` gets each block; ``told`` the bytes looked at, now and then."""
    total = count(size)
    digests = bytearray(zero_digest() * total)
    if total:
        digests[-DIGEST:] = zero_digest(length(total - 1, size))
    at = 0
    for start, number in with_data(fd, size):
        _holes(at, start, digests, seen)
        for index, block in read(fd, size, [(start, number)]):
            found = digest(block)
            digests[index * DIGEST : (index + 1) * DIGEST] = found
            if seen:
                seen(index, None if found == zero_digest(len(block)) else block, found)
            if told and index % 256 == 0:
                told(index * BLOCK)
        at = start + number
    _holes(at, total, digests, seen)
    return digests


def _holes(start: int, stop: int, digests: Digests, seen: Seen | None) -> None:
    if seen:
        for index in range(start, stop):
            seen(index, None, nth(digests, index))


def read(fd: int, size: int, of: Iterable[Range]) -> Iterator[tuple[int, bytes]]:
    """The blocks of some ranges, many in one read."""
    for start, number in of:
        for first in range(start, start + number, READ_BLOCKS):
            wanted = min(READ_BLOCKS, start + number - first)
            chunk = _exactly(fd, first * BLOCK, min(wanted * BLOCK, size - first * BLOCK))
            for offset in range(0, len(chunk), BLOCK):
                yield first + offset // BLOCK, chunk[offset : offset + BLOCK]


def digests_of(fd: int, size: int, of: Iterable[Range]) -> bytes:
    """Digests of some blocks, one after the other in the order asked for."""
    return b"".join(digest(block) for _, block in read(fd, size, of))


def _exactly(fd: int, offset: int, nbytes: int) -> bytes:
    chunk = os.pread(fd, nbytes, offset)
    while len(chunk) < nbytes:
        more = os.pread(fd, nbytes - len(chunk), offset + len(chunk))
        if not more:
            raise XdrError("the volume became shorter while it was read", todo="Run the cycle again")
        chunk += more
    return chunk


def drop_cache(fd: int) -> None:
    """Make the next read come from the disk."""
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def write(fd: int, offset: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV)


def _fallocate(fd: int, mode: int, offset: int, nbytes: int) -> bool:
    """True when done, False where the file system or device has no such thing."""
    call = _libc.fallocate
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    while call(fd, mode, offset, nbytes):
        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True


def reserve(fd: int, of: Iterable[Range]) -> None:
    """Take the disk space of these blocks without changing any content, so that writing them cannot fill the disk half way.

    Raises OSError (ENOSPC) with nothing changed.
    """
    for start, number in of:
        if not _fallocate(fd, _KEEP_SIZE, start * BLOCK, number * BLOCK):
            return


def clear(fd: int, offset: int, nbytes: int) -> None:
    """Make zeros: a hole where that can be made."""
    if nbytes > 0 and not _fallocate(fd, _KEEP_SIZE | _PUNCH_HOLE, offset, nbytes):
        for at in range(offset, offset + nbytes, BLOCK):
            write(fd, at, ZEROS[: min(BLOCK, offset + nbytes - at)])
