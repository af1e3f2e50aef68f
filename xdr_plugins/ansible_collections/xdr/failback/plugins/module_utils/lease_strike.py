# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What happens to a plan's instances on this host when its ownership lease runs out: they are stopped, and what is left is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from .errors import XdrError
from .instances import driver
from .running import Mark
from .site import PlanOnHost, Site

Say = Callable[[str], None]


def stop(site: Site, plan: PlanOnHost, names: Iterable[str], say: Say) -> None:
    """Ask for all of them at once, and do not wait: there is a time at which what is left is killed."""
    for name in names:
        threading.Thread(target=_stop, args=(site, plan, name, say), daemon=True).start()


def _stop(site: Site, plan: PlanOnHost, name: str, say: Say) -> None:
    options = plan.instances[name]
    try:
        outcome = driver(options["driver"], site).stop({**options, "name": name, "plan": plan.plan})
        say(f"{name}: {outcome.state}")
    except XdrError as error:
        say(error.sentence())


def kill(marks: Iterable[Mark], say: Say) -> None:
    """SIGKILL to the instances, their descendants, and their process groups where they lead one; a frozen process dies of it, too."""
    parents = _parents()
    for mark in marks:
        family = _descendants(mark.pid, parents)
        if not mark.alive():
            continue
        if _leads_its_group(mark.pid):
            _send(os.killpg, mark.pid, say)  # at once, so that none of it forks meanwhile
        for pid in (mark.pid, *family):
            _send(os.kill, pid, say)


def _send(send: Callable[[int, int], None], pid: int, say: Say) -> None:
    try:
        send(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    except PermissionError:
        say(f"process {pid} belongs to another account and cannot be killed")


def _parents() -> dict[int, int]:
    """Of every process, its parent."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                text = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
                found[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    return found


def _descendants(root: int, parents: dict[int, int]) -> set[int]:
    found: set[int] = set()
    level = {root}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level and pid not in found}
        found |= level
    return found


def _leads_its_group(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False
