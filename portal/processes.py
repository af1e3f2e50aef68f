# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Processes by pid *and* start time, so that a pid used again by another program is never taken for the old one."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, order=True)
class Process:
    pid: int
    started: int  # field 22 of /proc/<pid>/stat, clock ticks since boot

    @property
    def alive(self) -> bool:
        """Whether this very process is there and not merely waiting to be reaped."""
        stat = _stat(self.pid)
        return stat is not None and stat.started == self.started and stat.state not in "ZX"

    def signal(self, number: int) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)


@dataclass(frozen=True)
class _Stat:
    state: str
    parent: int
    started: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the command, before it, may hold anything
    return _Stat(fields[0], int(fields[1]), int(fields[19]))


def process(pid: int) -> Process | None:
    """The process that has this pid now."""
    stat = _stat(pid)
    return Process(pid, stat.started) if stat else None


def myself() -> Process:
    me = process(os.getpid())
    assert me is not None  # noqa: S101 - a running process has an entry in /proc
    return me


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def tree(root: int) -> set[Process]:
    """The process and all it started, and what those started, as far as the chain of parents is unbroken."""
    children: dict[int, list[Process]] = {}
    for pid in _pids():
        if stat := _stat(pid):
            children.setdefault(stat.parent, []).append(Process(pid, stat.started))
    found = {top} if (top := process(root)) else set()
    waiting = list(children.get(root, ()))
    while waiting:
        one = waiting.pop()
        found.add(one)
        waiting.extend(children.get(one.pid, ()))
    return found


def carrying(entry: str) -> set[Process]:
    """Processes with ``NAME=value`` in the environment they were started with.

    This one is left out, and so are ssh's shared connections, which outlive a run on purpose and may serve another run.
    """
    wanted = entry.encode()
    found = set()
    for pid in _pids():
        try:
            environment = (PROC / str(pid) / "environ").read_bytes()
            command = (PROC / str(pid) / "cmdline").read_bytes()
        except OSError:
            continue  # gone, or another account's
        if wanted not in environment.split(b"\0") or pid == os.getpid():
            continue
        if not _is_shared_connection(command) and (one := process(pid)):
            found.add(one)
    return found


def _is_shared_connection(command: bytes) -> bool:
    return command.startswith(b"ssh: ") and b"[mux]" in command


def wait_gone(those: Iterable[Process], seconds: float) -> set[Process]:
    """Those still alive after at most so many seconds."""
    deadline = time.monotonic() + seconds
    left = {one for one in those if one.alive}
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = {one for one in left if one.alive}
    return left


def end(those: Iterable[Process], grace: float) -> set[Process]:
    """SIGTERM, and SIGKILL for what is left after ``grace`` seconds. Returns what survived even that (a process stuck in the kernel)."""
    those = set(those)
    for one in those:
        one.signal(signal.SIGTERM)
    left = wait_gone(those, grace)
    for one in left:
        one.signal(signal.SIGKILL)
    return wait_gone(left, 5.0)
