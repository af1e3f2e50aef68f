# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The largest memory that the Python processes below one process have had, as the kernel notes it (VmHWM)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


class Peak:
    """``look()`` now and then while they run: a process that is gone keeps what was seen of it last.

    The kernel keeps the high-water mark itself, so only what a process takes between the last look and its end can be missed.
    """

    def __init__(self, root: int) -> None:
        self.root = root
        self._seen: dict[int, int] = {}

    def look(self) -> None:
        for pid in _family(self.root):
            program = _program(pid)
            if program.startswith("python"):
                self._seen[pid] = max(_high_water(pid), self._seen.get(pid, 0))
            elif program:  # it was seen between its fork and its exec
                self._seen.pop(pid, None)

    @property
    def nbytes(self) -> int:
        """The peaks of all of them added: at most this much at one moment."""
        return sum(self._seen.values())


def _family(root: int) -> Iterator[int]:
    """The process and all below it. The kernel lists children, which costs less than a look at every process."""
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        for thread in _threads(pid):
            waiting.extend(int(child) for child in _text(thread / "children").split())


def _threads(pid: int) -> list[Path]:
    try:
        return list((PROC / str(pid) / "task").iterdir())
    except OSError:
        return []  # it has ended


def _program(pid: int) -> str:
    """The name of the file it runs; empty for one that has ended, or that belongs to another account."""
    try:
        return (PROC / str(pid) / "exe").readlink().name
    except OSError:
        return ""


def _high_water(pid: int) -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", _text(PROC / str(pid) / "status"), re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
