# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Where a file's bytes lie on the disk (FIEMAP), and clones that share those places (FICLONERANGE)."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from ..blocks import BLOCK, Range, count

_CLONE_RANGE, _FIEMAP = 0x4020940D, 0xC020660B
_GET_FLAGS, _SET_FLAGS, _NO_COW = 0x80086601, 0x40086602, 0x00800000
_GET_XFLAGS, _REALTIME = 0x801C581F, 0x1

_SYNC = 1
_HEAD = struct.Struct("=QQLLLL")  # start, length, flags, mapped extents, room for extents, reserved
_EXTENT = struct.Struct("=QQQ16xL12x")  # logical, physical, length, flags
_ROOM = 1024  # extents in one answer: 57 KiB, and some milliseconds of the kernel, in which Python may stand still

_LAST, _UNWRITTEN, _SHARED = 0x1, 0x800, 0x2000
_PLAIN = _LAST | _SHARED  # no other flag leaves the place of an extent a place

TELL_PLACES = ("xfs", "btrfs")

Run = tuple[int, int]  # end in bytes, and the distance from each byte's offset in the file to its place on the disk
ZEROS, UNSURE = 1 << 64, 1 << 65  # no distances: it reads as zeros, or the place proves nothing


def file_system(fd: int) -> str:
    """``xfs``, ``btrfs``, ``ext4`` … of an open file, as the kernel names it; ``this file system`` where it does not say."""
    mount = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii").split("mnt_id:")[1].split()[0]
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="replace") as mounts:
        named = (line.rpartition(" - ")[2].split()[0] for line in mounts if line.split(" ", 1)[0] == mount)
        return next(named, "this file system")


def device(fd: int) -> tuple[int, bool]:
    """What the places of a file are counted on: XFS counts apart on its realtime device. Raises OSError."""
    attributes = array.array("I", bytes(28))  # struct fsxattr
    fcntl.ioctl(fd, _GET_XFLAGS, attributes)
    return os.fstat(fd).st_dev, bool(attributes[0] & _REALTIME)


def clone(source: int, target: int, nbytes: int) -> None:
    """Let the first ``nbytes`` of an empty file share the source's places: a multiple of 64 KiB, or the whole source.

    The kernel writes the source's cache to disk first and keeps writers out meanwhile, so the clone is one point in time
    (ioctl_ficlonerange(2)). The length is told, for without it XFS since Linux 4.20 may report a part as success.
    btrfs clones only between files that both have checksums or both have not; a file gets and loses them with the flag NO_COW.
    Raises OSError.
    """
    wanted = struct.pack("=qQQQ", source, 0, nbytes, 0)
    try:
        fcntl.ioctl(target, _CLONE_RANGE, wanted)
    except OSError as error:
        if error.errno != errno.EINVAL or not _turn_no_cow(target):
            raise
        fcntl.ioctl(target, _CLONE_RANGE, wanted)


def _turn_no_cow(fd: int) -> bool:
    flags = array.array("i", [0, 0])  # a long by name, of which the kernel uses an int
    try:
        fcntl.ioctl(fd, _GET_FLAGS, flags)
        flags[0] ^= _NO_COW
        fcntl.ioctl(fd, _SET_FLAGS, flags)
    except OSError:
        return False
    return True


def differing(old: int, new: int, size: int) -> list[Range]:
    """Blocks of the first ``size`` bytes that two open files, to which nobody writes, do not keep in one place.

    The file system may move them all the same. So the older one's places are asked for again after the newer one's: what
    stood where it is before and after, stood there meanwhile. Raises OSError, also when it was moved.
    """
    found: list[Range] = []
    at = 0
    while at < size:
        these = _answer(old, at, size)
        end = these[-1][0]
        those = runs(new, at, end)
        if runs(old, at, end) != these:
            raise OSError(errno.EAGAIN, "the file system moved it just then")
        for start, stop in _unequal(at, these, those):
            add(found, start, stop)
        at = end
    return found


def _unequal(at: int, these: list[Run], those: list[Run]) -> Iterator[tuple[int, int]]:
    others = iter(those)
    stop, place = at, ZEROS
    for end, wanted in these:
        while at < end:
            if stop == at:
                stop, place = next(others)
            upto = min(end, stop)
            if place != wanted or place == UNSURE:
                yield at, upto
            at = upto


def add(ranges: list[Range], start: int, end: int) -> None:
    """Add bytes, beyond or at the end of what is there, rounded out to blocks; of none, the block that they would split."""
    first, last = start // BLOCK, count(end)
    if ranges and first <= sum(ranges[-1]):
        first = ranges.pop()[0]
    if first < last:
        ranges.append((first, last - first))


def runs(fd: int, start: int, end: int) -> list[Run]:
    """The bytes from ``start`` to ``end``; neighbours differ: where the kernel cuts, by who else shares a place, does not show."""
    found: list[Run] = []
    while start < end:
        for run in _answer(fd, start, end):
            _join(found, *run)
        start = found[-1][0]
    return found


def _answer(fd: int, start: int, end: int) -> list[Run]:
    """Like ``runs``, as far as the kernel tells at once. Raises OSError."""
    answer = bytearray(_HEAD.size + _ROOM * _EXTENT.size)
    _HEAD.pack_into(answer, 0, start, end - start, _SYNC, 0, _ROOM, 0)
    fcntl.ioctl(fd, _FIEMAP, answer)
    mapped = _HEAD.unpack_from(answer)[3]
    found: list[Run] = []
    at = start
    for logical, physical, length, flags in _EXTENT.iter_unpack(memoryview(answer)[_HEAD.size :][: mapped * _EXTENT.size]):
        if logical + length <= at or logical < at != start:
            raise OSError(errno.EIO, "its extents are not in order")
        if logical > at:
            at = min(logical, end)
            _join(found, at, ZEROS)
        if at == end:
            break
        at = min(logical + length, end)
        _join(found, at, _distance(logical, physical, flags))
    if mapped < _ROOM and at < end:
        _join(found, end, ZEROS)
    return found


def _join(found: list[Run], end: int, place: int) -> None:
    if found and found[-1][1] == place:
        found.pop()
    found.append((end, place))


def _distance(logical: int, physical: int, flags: int) -> int:
    if not flags & ~_PLAIN:
        return physical - logical
    return ZEROS if not flags & ~(_PLAIN | _UNWRITTEN) else UNSURE
