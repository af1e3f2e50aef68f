# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A split brain in words: the last epoch that both sides agree on, and what each has done since. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.xdr.failback.plugins.plugin_utils.split_brain import POINT

from . import units

Split = Mapping[str, Any]  # plugin_utils.split_brain.Split as JSON
SIDES = ("primary", "dr")


@dataclass(frozen=True)
class Side:
    role: str
    name: str
    standing: str
    accepted: list[str]
    running: list[str]
    cycle: str


def common(split: Split, names: Mapping[str, str]) -> str:
    if not split["common"]:
        return "they agree on no epoch"
    return f"epoch {split['common']}, owned by {names[split['owner']]} since {units.since(split['at'])}"


def sides(split: Split, names: Mapping[str, str]) -> list[Side]:
    return [_side(split["sides"][role], role, names[role]) for role in SIDES]


def _side(side: Mapping[str, Any], role: str, name: str) -> Side:
    standing = f"epoch {side['epoch']}, {side['standing']}"
    accepted = [_entry(entry) for entry in side["accepted"]] or ["none"]
    return Side(role, name, standing, accepted, list(_running(side["running"])) or ["nothing"], _cycle(side["cycle"]))


def _entry(entry: Mapping[str, Any]) -> str:
    by = f" by {entry['by']}" if entry["by"] else ""
    text = f": “{entry['text']}”" if entry["text"] else ""
    return f"epoch {entry['epoch']}, {entry['how']}{by} at {units.since(entry['at'])}{text}"


def _running(running: list[Mapping[str, Any]]) -> Iterator[str]:
    for one in running:
        yield f"{one['name']} on {one['host']} since {units.since(one['since'])}"


def _cycle(cycle: Mapping[str, Any] | None) -> str:
    if not cycle:
        return units.UNKNOWN
    sent = {"source": "sent", "target": "received"}.get(cycle["role"], "held")
    return f"{cycle['cycle']}, {sent}, its read began at {units.since(cycle['at'])}"


def facts(split: Split, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Name and value, for the command line."""
    yield "both agree on", common(split, names)
    for side in sides(split, names):
        yield f"{side.name} ({side.role})", side.standing
        yield "  accepted since", "; ".join(side.accepted)
        yield "  runs now", ", ".join(side.running)
        yield "  last cycle", side.cycle


def kept(volumes: list[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Host → the recovery points in which its side of a split brain is kept."""
    found: dict[str, list[str]] = {}
    for row in volumes:
        names = [str(point["name"]) for point in row.get("recovery_points") or [] if str(point["name"]).startswith(POINT)]
        for name in names:
            if name not in found.setdefault(str(row["host"]), []):
                found[str(row["host"])].append(name)
    return found
