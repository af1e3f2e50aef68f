# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Which volumes of the DR site a failover takes back to a recovery point that somebody chose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

Rows = Iterable[Mapping[str, Any]]  # the status of volumes, as xdr_replication tells it


def volumes_with(rows: Rows, point: str) -> list[str]:
    """Names of the volumes that have the recovery point; none for an empty name."""
    return [row["volume"] for row in rows if point and point in _names(row)]


def check(plan: Mapping[str, Any], rows: Rows, point: str) -> None:
    """Raises XdrError where no target has the point, or only some of the volumes that share one point in time.

    A volume that was promoted already counts for neither: the failover goes on where it stopped.
    """
    targets = {row["volume"]: row for row in rows if row["role"] == "target"}
    having = set(volumes_with(targets.values(), point))
    if targets and not having:
        known = sorted({name for row in targets.values() for name in _names(row)}, key=_by_number)
        raise _refused(plan, f"no volume at the DR site has the recovery point {point!r}", f"Known are: {', '.join(known) or 'none'}")
    for unit in _units(plan):
        there = [volume for volume in unit if volume in targets]
        lacking = [volume for volume in there if volume not in having]
        if lacking and len(lacking) < len(there):
            which = next(volume for volume in there if volume in having)
            what = f"volume {which} has the recovery point {point!r}, and {lacking[0]}, with which it shares one point in time, has not"
            common = set.intersection(*({*_names(targets[volume])} for volume in there))
            raise _refused(plan, what, f"Both have: {', '.join(sorted(common, key=_by_number)) or 'none'}")


def choosable(plan: Mapping[str, Any], rows: Rows) -> list[str]:
    """The recovery points of the targets to which a failover may go back, the newest first."""
    targets = [row for row in rows if row["role"] == "target"]
    known = {name for row in targets for name in _names(row)}
    return [name for name in sorted(known, key=_by_number, reverse=True) if _passes(plan, targets, name)]


def _passes(plan: Mapping[str, Any], rows: Rows, point: str) -> bool:
    try:
        check(plan, rows, point)
    except XdrError:
        return False
    return True


def _names(row: Mapping[str, Any]) -> list[str]:
    return [str(point["name"]) for point in row.get("recovery_points") or []]


def _by_number(name: str) -> tuple[str, int]:
    """cycle-9 before cycle-10."""
    word, _, number = name.rpartition("-")
    return (word, int(number)) if number.isdigit() else (name, 0)


def _units(plan: Mapping[str, Any]) -> Iterable[list[str]]:
    for group in plan["start_order"]:
        resources = [[volume["name"] for volume in resource["volumes"]] for resource in group["resources"]]
        yield from [[name for names in resources for name in names]] if group.get("consistency_group") else resources


def _refused(plan: Mapping[str, Any], what: str, known: str) -> XdrError:
    return XdrError(what, where=f"plan {plan['name']}", todo=f"{known}; nothing was changed", code="gate_refused")
