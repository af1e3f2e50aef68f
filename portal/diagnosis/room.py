# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Free space, inodes and quotas where XDR writes, and whether a cycle's spool has room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .. import units
from .finding import OK, UNKNOWN, WARN, WRONG, Facts, Finding

CHECK = "quota and room"
FULL, TIGHT = 0.02, 0.10  # of what there is


def findings(facts: Facts) -> Iterator[Finding]:
    for host, one in facts["hosts"].items():
        if one["facts"] is None:
            yield Finding(CHECK, UNKNOWN, f"How much room {host} has is not known", "Mend the way to that host first")
            continue
        found = [*_rooms(host, one["facts"]["rooms"]), *_quotas(host, one["facts"]["quota"] or []), *_spool(host, one, facts)]
        yield from found
        if not found:
            yield Finding(CHECK, OK, f"{host} has room", "", tuple(map(_told, one["facts"]["rooms"])))


def _told(room: Mapping[str, Any]) -> str:
    inodes = f", {room['free_inodes']} of {room['total_inodes']} inodes" if room["total_inodes"] else ""
    return f"{room['what']} {room['path']}: {units.size(room['free_bytes'])} of {units.size(room['total_bytes'])} free{inodes}"


def _rooms(host: str, rooms: list[Mapping[str, Any]]) -> Iterator[Finding]:
    for room in {room["device"]: room for room in reversed(rooms)}.values():  # two folders of one file system are told once
        for kind, what in (("bytes", "space"), ("inodes", "inodes")):
            free, total = room[f"free_{kind}"], room[f"total_{kind}"]
            if total and free < TIGHT * total:
                full = free < FULL * total
                told = f"{host} is {'out of' if full else 'running out of'} {what} on the file system of its {room['what']}"
                todo = f"Make room below {room['path']}, or enlarge its file system; a cycle that finds none ends and is tried again"
                yield Finding(CHECK, WRONG if full else WARN, told, todo, (_told(room),))


def _quotas(host: str, quotas: list[Mapping[str, Any]]) -> Iterator[Finding]:
    for one in quotas:
        for kind, show in (("bytes", units.size), ("files", str)):
            used, limit = one[f"used_{kind}"], one[f"limit_{kind}"]
            if limit and used > (1 - TIGHT) * limit:
                over = used >= (1 - FULL) * limit
                what = f"The account of XDR on {host} has {'used up' if over else 'nearly used up'} its quota of {kind}"
                told = f"{one['file_system']}: {show(used)} of {show(limit)} used"
                yield Finding(CHECK, WRONG if over else WARN, what, "Raise the quota (edquota), or remove what it need not keep", (told,))


def _spool(host: str, one: Mapping[str, Any], facts: Facts) -> Iterator[Finding]:
    """At the target a cycle is received beside the volumes before it is applied."""
    free = next((room["free_bytes"] for room in one["facts"]["rooms"] if room["what"] == "state folder"), None)
    for name, plan in facts["plans"].items():
        behind = plan["lag"]["bytes"]
        is_target = bool(plan["source"]) and one["roles"].get(name) == ("primary" if plan["source"] == "dr" else "dr")
        if is_target and free is not None and isinstance(behind, (int, float)) and behind > free:
            what = f"The next cycle of plan {name} does not fit into the spool of {host}"
            todo = "Make room in its state folder: a cycle is received there as a whole before it is applied"
            yield Finding(CHECK, WRONG, what, todo, (f"{units.size(behind)} are to be sent, {units.size(free)} are free",))
