# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What runs of a plan on this host.

The start guard leaves a mark just before it becomes an instance: plans/<plan>/running/<instance>.json. Of a service systemd tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .durable import fsync_folder, read_json
from .openfiles import command_of
from .site import plan_dir


@dataclass(frozen=True)
class Mark:
    """A process, by its pid and its start time (clock ticks since boot): pids are used again, the two together are not."""

    pid: int
    started: int

    def alive(self) -> bool:
        return start_time(self.pid) == self.started


@dataclass(frozen=True)
class Running:
    """An instance of which something runs or is about to; ``what``: for a person, ``is_up``: it has been started and let through.

    ``pid``: a process of it, 0 where there is none or only the guard's. ``since``: seconds since 1970, 0 where it is not known.
    """

    name: str
    what: str
    is_up: bool
    pid: int
    since: float


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


def living_marks(state_dir: Path, plan: str, instances: Iterable[str]) -> dict[str, Mark]:
    """Of the instances whose start guard has become a process that still runs."""
    marks = {name: read_mark(state_dir, plan, name) for name in instances}
    return {name: mark for name, mark in marks.items() if mark is not None and mark.alive()}


def alive(state_dir: Path, plan: str, instances: Mapping[str, Mapping[str, Any]]) -> list[Running]:
    """The instances, name to options, of which something runs: a process that a start guard has marked, or what systemd tells of a service.

    Raises XdrError where systemd does not answer.
    """
    found = [
        Running(name, f"process {mark.pid} ({command_of(mark.pid)})", True, mark.pid, _marked_at(mark_path(state_dir, plan, name)))
        for name, mark in living_marks(state_dir, plan, instances).items()
    ]
    units = {name: str(options["unit"]) for name, options in instances.items() if options.get("driver") == "systemd"}
    return found + _services(units) if units else found


def living(state_dir: Path, plan: str, instances: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """``{"name", "pid", "since"}`` of those that run, and are not only about to: their start guards have let them start."""
    found = alive(state_dir, plan, instances)
    return [{"name": one.name, "pid": one.pid, "since": one.since} for one in found if one.is_up or one.pid]


def _marked_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # it was stopped just now, and its mark removed
        return 0.0


def _services(units: dict[str, str]) -> list[Running]:
    from . import systemctl  # a site host compiles what it imports at each call, and most plans have none

    found = []
    for name, service in zip(units, systemctl.show(list(units.values()))):
        processes = service.processes()
        if processes or not service.ended:
            first = f", process {processes[0]} ({command_of(processes[0])})" if processes else ""
            what = f"{service.name} is {service.active} ({service.sub}){first}"
            pid = 0 if service.asks_its_guard or not processes else service.pid or processes[0]
            found.append(Running(name, what, service.is_up, pid, service.since))
    return found


def remove_mark(state_dir: Path, plan: str, instance: str) -> None:
    path = mark_path(state_dir, plan, instance)
    try:
        path.unlink()
    except FileNotFoundError:
        return
    fsync_folder(path.parent)
