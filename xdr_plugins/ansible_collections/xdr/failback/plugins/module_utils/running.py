# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The mark that the start guard leaves just before it becomes the instance: plans/<plan>/running/<instance>.json."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .durable import fsync_folder, read_json
from .site import plan_dir


@dataclass(frozen=True)
class Mark:
    """A process, by its pid and its start time (clock ticks since boot): pids are used again, the two together are not."""

    pid: int
    started: int

    def alive(self) -> bool:
        return start_time(self.pid) == self.started


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat, or None where no such process runs (a zombie has ended)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the command in parentheses may hold anything
    return None if fields[0] in "ZX" else int(fields[19])


def mark_path(state_dir: Path, plan: str, instance: str) -> Path:
    return plan_dir(state_dir, plan) / "running" / f"{instance}.json"


def read_mark(state_dir: Path, plan: str, instance: str) -> Mark | None:
    document = read_json(mark_path(state_dir, plan, instance))
    return None if document is None else Mark(int(document["pid"]), int(document["started"]))


def living(state_dir: Path, plan: str, instances: Iterable[str]) -> list[dict[str, Any]]:
    """``{"name", "pid", "since"}`` (seconds since 1970) of the instances whose start guard has handed over to a process that still runs."""
    found = []
    for name in instances:
        mark = read_mark(state_dir, plan, name)
        if mark is not None and mark.alive():
            found.append({"name": name, "pid": mark.pid, "since": mark_path(state_dir, plan, name).stat().st_mtime})
    return found


def remove_mark(state_dir: Path, plan: str, instance: str) -> None:
    path = mark_path(state_dir, plan, instance)
    try:
        path.unlink()
    except FileNotFoundError:
        return
    fsync_folder(path.parent)
