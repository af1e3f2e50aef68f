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
    """SIGKILL to the instances, their process groups and all their descendants; a frozen process dies of it, too."""
    parents = _parents()
    for mark in marks:
        family = {mark.pid, *_descendants(mark.pid, parents)}
        if not mark.alive():
            continue
        for pid in family | {pid for pid in parents if _group(pid) == mark.pid}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
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


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1
