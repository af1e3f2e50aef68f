# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A volume as 64 KiB blocks: its size, the holes in it, reading and writing."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Union

from ..errors import XdrError

BLOCK = 64 * 1024
ZEROS = bytes(BLOCK)
CHUNK_BLOCKS = 64  # blocks in one piece of work: 4 MiB bounds the memory of each end and keeps both busy

Range = tuple[int, int]  # first block, number of blocks
Content = Union[bytes, bytearray, memoryview]


def count(size: int) -> int:
    """Blocks in a volume of ``size`` bytes; the last may be short."""
    return -(-size // BLOCK)


def length(index: int, size: int) -> int:
    """Bytes of block ``index`` in a volume of ``size`` bytes."""
    return min(BLOCK, size - index * BLOCK)


def nbytes(of: Range, size: int) -> int:
    """Bytes of a range of blocks in a volume of ``size`` bytes."""
    return min((of[0] + of[1]) * BLOCK, size) - of[0] * BLOCK


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


def chunks(of: Iterable[Range], most: int = CHUNK_BLOCKS) -> Iterator[Range]:
    """The ranges in pieces of at most ``most`` blocks."""
    for start, number in of:
        for first in range(start, start + number, most):
            yield first, min(most, start + number - first)


def clipped(of: Iterable[Range], total: int) -> list[Range]:
    """The part of the ranges that lies in a volume of ``total`` blocks."""
    return [(start, min(number, total - start)) for start, number in of if start < total]


def behind(of: Iterable[Range], done: int) -> list[Range]:
    """What is left of the ranges without their first ``done`` blocks."""
    left: list[Range] = []
    for start, number in of:
        skipped = min(done, number)
        done -= skipped
        if skipped < number:
            left.append((start + skipped, number - skipped))
    return left


def coarse(of: list[Range], most: int) -> list[Range]:
    """At most ``most`` sorted ranges that hold all these and, between them, more."""
    gap = 1
    while len(of) > most:
        joined: list[Range] = []
        for start, number in of:
            if joined and start - sum(joined[-1]) <= gap:
                joined[-1] = (joined[-1][0], start + number - joined[-1][0])
            else:
                joined.append((start, number))
        of, gap = joined, gap * 2
    return of


def joined(*of: Iterable[Range]) -> list[Range]:
    """The union of ranges, sorted and without overlap."""
    found: list[Range] = []
    for start, number in sorted(each for ranges_ in of for each in ranges_):
        if found and start <= sum(found[-1]):
            found[-1] = (found[-1][0], max(sum(found[-1]), start + number) - found[-1][0])
        else:
            found.append((start, number))
    return found


def extend(of: list[Range], index: int) -> None:
    """Add a block behind sorted ranges."""
    if of and sum(of[-1]) == index:
        of[-1] = (of[-1][0], of[-1][1] + 1)
    else:
        of.append((index, 1))


def is_zero(block: Content) -> bool:
    """Whether a block is nothing but zeros. Its first bytes tell of nearly every one that is not."""
    if not len(block) or block[0] or block[-1]:
        return not len(block)
    return not any(block[:16]) and bytes(block) == ZEROS[: len(block)]


def read(fd: int, size: int, of: Iterable[Range]) -> Iterator[tuple[int, bytes]]:
    """The blocks of some ranges, many in one read."""
    for start, number in chunks(of, 16):
        chunk = content(fd, start * BLOCK, nbytes((start, number), size))
        for offset in range(0, len(chunk), BLOCK):
            yield start + offset // BLOCK, chunk[offset : offset + BLOCK]


def content(fd: int, offset: int, nbytes: int) -> bytes:
    """Raises XdrError where the volume ends before."""
    chunk = os.pread(fd, nbytes, offset)
    while len(chunk) < nbytes:
        more = os.pread(fd, nbytes - len(chunk), offset + len(chunk))
        if not more:
            raise XdrError("the volume became shorter while it was read", todo="Run the cycle again")
        chunk += more
    return chunk


def fill(fd: int, offset: int, into: memoryview) -> None:
    """Like ``content``, into memory that is there."""
    while into:
        done = os.preadv(fd, [into], offset)
        if not done:
            raise XdrError("the volume became shorter while it was read", todo="Run the cycle again")
        into, offset = into[done:], offset + done


def drop_cache(fd: int) -> None:
    """Make the next read come from the disk."""
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def write(fd: int, offset: int, data: Content) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


_KEEP_SIZE, _PUNCH_HOLE, _RANGE_WRITE = 1, 2, 2
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


def has_holes(fd: int, size: int) -> bool:
    """Whether some of the first ``size`` bytes may have no place on the disk yet; space that was only promised counts as a hole."""
    try:
        return os.lseek(fd, 0, os.SEEK_HOLE) < size
    except OSError:  # an empty file, or a device that has no such thing
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


def begin_writing(fd: int, offset: int = 0, nbytes: int = 0) -> None:
    """Ask the kernel to start writing dirty pages out (``nbytes`` 0: up to the end), so that the fsync that follows finds little
    to do. Only a hint: nothing is durable because of it.
    """
    call = getattr(_libc, "sync_file_range", None)
    if call:
        call(ctypes.c_int(fd), ctypes.c_int64(offset), ctypes.c_int64(nbytes), ctypes.c_uint(_RANGE_WRITE))
