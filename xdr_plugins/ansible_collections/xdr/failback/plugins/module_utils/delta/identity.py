# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Who wrote to a file: nobody but us, where its device, inode, size, mtime and ctime are what they were.

A write that comes within the clock's tick of the look would leave the same times. So a look counts only once the file's
times lie further back than any kernel's tick; and dirty pages are flushed first, as a process that has the file mapped is
noticed again only after that. File systems that keep these times loosely are not believed.
"""

from __future__ import annotations

import ctypes
import os
import stat
import time
from pathlib import Path

TICK = 12_000_000  # nanoseconds; CONFIG_HZ is 100 at the least
_EXACT = ("ext4", "ext3", "ext2", "xfs", "btrfs")
_MAGIC = {0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs"}  # statfs(2); ext2 and ext3 are told apart by nobody
_libc = ctypes.CDLL(None)

Identity = list[int]


def believed(path: Path) -> str:
    """Why the times of this file tell nothing, or an empty text."""
    if not stat.S_ISREG(path.stat().st_mode):
        return "a device does not tell who wrote to it"
    kind = file_system(path)
    return "" if kind in _EXACT else f"the file system {kind or 'here'} does not keep exact times of writes"


def look(fd: int) -> Identity:
    """[device, inode, size, mtime, ctime], as it is now."""
    found = os.fstat(fd)
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def settled(fd: int) -> Identity | None:
    """A look that tells of every write that comes after it; None where somebody writes just now."""
    os.fsync(fd)
    return look_after_sync(fd)


def look_after_sync(fd: int) -> Identity | None:
    """The second half of ``settled``, for whoever waits for several files together."""
    for _ in range(2):
        found = look(fd)
        wait = max(found[3], found[4]) + TICK - time.time_ns()
        if wait <= 0:
            return found
        time.sleep(min(wait, TICK) / 1e9)
    return None


def file_system(path: Path) -> str:
    """The type of the file system that the path lies on; empty where that is not known."""
    return _by_magic(path) or _by_mounts(path)


def _by_magic(path: Path) -> str:
    """Of the few that matter most, with one call: a host may have thousands of mounts."""
    found = (ctypes.c_long * 64)()  # struct statfs is smaller, and begins with the type
    return _MAGIC.get(found[0], "") if _libc.statfs(os.fsencode(path), found) == 0 else ""


def _by_mounts(path: Path) -> str:
    real, best, kind = os.path.realpath(path), "", ""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4].encode().decode("unicode_escape")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, after.split(" ")[0]
    return kind


def moment(nanoseconds: int) -> str:
    """As people read it: 2031-05-06 03:04:05 UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(nanoseconds / 1e9))
