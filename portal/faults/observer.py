# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What the services themselves journal: who held a resource's lock when, in which order they came and went."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..processes import PROC, process


@dataclass(frozen=True, order=True)
class Sighting:
    """``event``: start, healthy (its first good answer to a health check), stop, or breach: another held its lock as it started."""

    monotonic: float
    resource: str
    site: str  # the display name
    event: str
    pid: int


def read(folder: Path) -> list[Sighting]:
    found = []
    for file in folder.glob("*.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            found.append(Sighting(entry["monotonic"], entry["resource"], entry["site"], entry["event"], entry["pid"]))
    return sorted(found)


def running(sightings: Sequence[Sighting]) -> dict[str, set[str]]:
    """Site → the resources whose process is alive there now."""
    over = {one.pid for one in sightings if one.event == "stop"}
    found: dict[str, set[str]] = {}
    for one in sightings:
        if one.event == "start" and one.pid not in over and _lives(one):
            found.setdefault(one.site, set()).add(one.resource)
    return found


def _lives(one: Sighting) -> bool:
    """Whether this very service is there; its pid may be another program's by now."""
    found = process(one.pid)
    try:
        command = (PROC / str(one.pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return found is not None and found.alive and one.resource.encode() in command


def breaches(sightings: Sequence[Sighting]) -> list[str]:
    return [f"{one.resource} started at {one.site} while another process could still write" for one in sightings if one.event == "breach"]


def strangers(sightings: Sequence[Sighting], site: str) -> list[str]:
    """What started at a site that never owned the plan."""
    return [
        f"{one.resource} started at {site}, which never owned the plan" for one in sightings if (one.site, one.event) == (site, "start")
    ]


def disorder(sightings: Sequence[Sighting], groups: Mapping[str, Sequence[str]], checked_from: float) -> list[str]:
    """Where a group started before all of the group before it ran, or stopped before the group after it.

    From ``checked_from`` on, a group that starts finds the one before it with a health check answered well. Judged for each site by
    itself; ``groups`` in the order of their start. A process that was killed says no ``stop``.
    """
    wrong: list[str] = []
    order = list(groups.values())
    up: dict[tuple[str, str], Sighting] = {}  # (site, resource) → start of the process that runs
    fine: dict[tuple[str, str], int] = {}  # → pid that answered well
    for one in sightings:
        rank = next(number for number, names in enumerate(order) if one.resource in names)
        key = (one.site, one.resource)
        if one.event == "start":
            if rank:
                missing = _missing(order[rank - 1], one.site, up, fine, one.monotonic >= checked_from)
                wrong += [f"{one.resource} started at {one.site} before {name}" for name in missing]
            up[key] = one
        elif one.event == "healthy":
            fine[key] = one.pid
        elif one.event == "stop":
            up.pop(key, None)
            after = order[rank + 1] if rank + 1 < len(order) else ()
            wrong += [f"{one.resource} stopped at {one.site} before {name}" for name in after if (one.site, name) in up]
    return wrong


def _missing(
    names: Sequence[str], site: str, up: Mapping[tuple[str, str], Sighting], fine: Mapping[tuple[str, str], int], checked: bool
) -> list[str]:
    bad = []
    for name in names:
        runs = up.get((site, name))
        if runs is None:
            bad.append(f"{name} ran")
        elif checked and fine.get((site, name)) != runs.pid:
            bad.append(f"{name} had passed a health check")
    return bad
