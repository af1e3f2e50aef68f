# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Which processes belong to a site of the lab: by the mark in their environment, sshd by the site's address, all by descent."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
MARK = "XDR_LAB_SITE"  # in the environment of all daemons of a site, and of what they start


class Process(NamedTuple):
    pid: int
    started: int  # clock ticks since boot: with the pid it names a process for good
    parent: int
    command: str


def look(pid: int) -> Process | None:
    """The process, None when it is gone or merely waits to be reaped."""
    try:
        fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        command = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else Process(pid, int(fields[19]), int(fields[1]), command)


def started(pid: int) -> int:
    """Start time of a process, 0 when it is gone."""
    found = look(pid)
    return found.started if found else 0


def of_site(site: Path, address: str = "") -> list[Process]:
    """All processes of the site whose folder this is; never the caller, what it descends from, or what else those started."""
    everyone = {pid: found for pid in _pids() if (found := look(pid))}
    inodes = _sockets(address) if address else set()
    above = _ancestors(os.getpid(), everyone)
    members = {pid for pid, one in everyone.items() if _is_marked(pid, site) or (_is_sshd(one) and inodes & _open_sockets(pid))} - above
    return [everyone[pid] for pid in sorted(_with_descendants(members, everyone) - above)]


def end(processes: Iterable[Process], number: int = signal.SIGKILL, patience: float = 5.0) -> list[Process]:
    """Signal them and wait; those still there after so many seconds."""
    left = [one for one in processes if started(one.pid) == one.started]
    for one in left:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(one.pid, number)
    deadline = time.monotonic() + patience
    while left and time.monotonic() < deadline:
        time.sleep(0.01)
        left = [one for one in left if started(one.pid) == one.started]
    return left


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _is_marked(pid: int, site: Path) -> bool:
    try:
        return f"{MARK}={site}".encode() in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False  # gone, or another account's


def _is_sshd(one: Process) -> bool:
    """It hides its environment under its title. Any other program with a socket there is a stranger."""
    return one.command.startswith("sshd")


def _sockets(address: str) -> set[str]:
    """Inodes of the TCP sockets whose own end is this address."""
    wanted = f"{int.from_bytes(socket.inet_aton(address), 'little'):08X}"
    lines = [line.split() for line in (PROC / "net" / "tcp").read_text(encoding="ascii").splitlines()[1:]]
    return {f"socket:[{line[9]}]" for line in lines if line[1].startswith(wanted) and line[9] != "0"}


def _open_sockets(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for entry in (PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(os.readlink(entry))
    return found


def _with_descendants(members: set[int], everyone: dict[int, Process]) -> set[int]:
    found = set(members)
    while more := {pid for pid, one in everyone.items() if one.parent in found} - found:
        found |= more
    return found


def _ancestors(pid: int, everyone: dict[int, Process]) -> set[int]:
    found = set()
    while pid in everyone and pid not in found:
        found.add(pid)
        pid = everyone[pid].parent
    return found
