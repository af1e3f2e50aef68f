# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether the clones of several volumes, made one after the other, are one point in time."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path

_COARSE_NS = 20_000_000  # two of the slowest kernel's ticks (100 Hz): times of files are no finer


class Stillness:
    """Made before the first clone, asked after the last: was no volume written in between?

    Why the clones are then the volumes as they were when the last one was made. Each clone is one point in time of its volume:
    the kernel keeps writers out meanwhile and lets those that have begun end before. So only writes between a volume's own
    clone and the end matter. A write sets the file's ctime before it sets any byte, as does a store through a mapping: the
    clone has written the cache out and with that taken the right to write from all pages, so the next store faults, and
    a fault sets the time. The new time differs from the old one, because the old one was past by more than the clock's
    grain before the first clone was begun. So: the same ctime at the end, no write after any clone. The time before the first
    clone is in it too, where nothing needs to be proven; a volume that was written there is only asked for again.

    Not seen: XFS's invisible writes (root, by file handle, made for archives) and a clock that is set back onto the nanosecond.
    """

    def __init__(self, volumes: Iterable[Path]) -> None:
        self._fresh: list[Path] = []
        self._devices: list[Path] = []
        self._before: dict[Path, tuple[int, ...]] = {}
        for volume in volumes:
            now = time.time_ns()
            status = volume.stat()
            self._before[volume] = _identity(status)
            if not stat.S_ISREG(status.st_mode):
                self._devices.append(volume)
            elif status.st_ctime_ns > now - _COARSE_NS:
                self._fresh.append(volume)

    def broken(self) -> str:
        """Empty: the clones are one point in time. Else why that is not proven."""
        written = [volume for volume, before in self._before.items() if _identity(volume.stat()) != before]
        if written:
            return f"{_named(written)} written while the snapshots were made"
        if self._fresh:
            return f"{_named(self._fresh)} written just before the snapshots were made"
        if self._devices:
            return f"{_named(self._devices)} perhaps written while the snapshots were made: a device does not tell"
        return ""


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _named(volumes: list[Path]) -> str:
    return ", ".join(map(str, volumes)) + (" was" if len(volumes) == 1 else " were")
