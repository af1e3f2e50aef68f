# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""SPLIT_BRAIN: found by comparing the histories of both sites, and told with what each has done since the epoch that both agree on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]
Records = Mapping[str, Record | None]
Reads = Mapping[str, Mapping[str, Any]]

SITES = ("primary", "dr")
RESOLVE = "resolve"  # the action
POINT = "split-brain"  # the recovery point that keeps the side which was given up
STATUS = {"primary": "UNPROTECTED", "dr": "FAILED_OVER"}  # what the plan is once one side is kept


@dataclasses.dataclass(frozen=True)
class Side:
    """``accepted``: of its history, the epochs that it took since the common one; ``running``: ``{"host", "name", "since"}`` of what the
    start guard let start there and lives; ``cycle``: number and time of its newest replication cycle, None where none is known."""

    epoch: int
    standing: str
    accepted: tuple[Record, ...] = ()
    running: tuple[Mapping[str, Any], ...] = ()
    cycle: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Split:
    """``common``: the last epoch on which both agree, with its owner and when it began there (0: they agree on none).
    ``given_up``: the site that an unfinished resolution has taken the ownership from already."""

    why: str
    common: int
    owner: str | None
    at: float
    sides: Mapping[str, Side]
    given_up: str | None = None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def found(plan: Mapping[str, Any], reads: Reads, records: Records, run: Record | None) -> Split | None:
    """``records``: those of the sites' record hosts, None where one does not answer; ``run``: the plan's open run."""
    primary, dr = records["primary"], records["dr"]
    if primary is None or dr is None:
        return None
    common, at = _common(primary, dr)
    owner = _owners(primary).get(common)
    running = {site: _running(plan, reads, site) for site in SITES}
    why = _both_own({"primary": primary, "dr": dr}, common, running) or _unsettled({"primary": primary, "dr": dr}, common, run)
    if not why:
        return None
    sides = {
        site: Side(record["epoch"], record["standing"], _accepted(record, common), running[site], _cycle(plan, reads, site))
        for site, record in (("primary", primary), ("dr", dr))
    }
    lost = [site for site, side in sides.items() if side.standing != "accepted"]
    given_up = lost[0] if len(lost) == 1 else None
    return Split(why, common, owner, at, sides, given_up)


def _both_own(records: Mapping[str, Record], common: int, running: Mapping[str, tuple[Any, ...]]) -> str:
    """Two that own are one too many, unless the older has only not heard of the newer and runs nothing."""
    if any(record["standing"] != "accepted" for record in records.values()):
        return ""
    epochs = {site: record["epoch"] for site, record in records.items()}
    older = min(epochs, key=lambda site: epochs[site])
    owners = [_owners(record) for record in records.values()]
    forked = any(owners[1].get(epoch, owner) != owner for epoch, owner in owners[0].items() if epoch > common)
    if epochs["primary"] == epochs["dr"] or forked:
        return f"both sites own the plan: primary epoch {epochs['primary']}, dr epoch {epochs['dr']}"
    if running[older]:
        names = ", ".join(one["name"] for one in running[older])
        return f"{older} does not know of epoch {max(epochs.values())} and runs {names}; the other site owns that epoch"
    return ""


def _unsettled(records: Mapping[str, Record], common: int, run: Record | None) -> str:
    """A resolution that has begun and not come to where both sites know the one owner.

    Where nobody owns, also one that a failover has broken off: the site that was to be kept was lost on the way, and is back.
    """
    owning = [site for site, record in records.items() if record["standing"] == "accepted"]
    runs = [run] if owning else [run, *(record["run"] for record in records.values())]
    resolving = next((each for each in runs if each and each["action"] == RESOLVE and not each["ended"]), None)
    if resolving is None or (len(owning) == 1 and {record["epoch"] for record in records.values()} == {common}):
        return ""
    return f"run {resolving['id']}, which resolves it, has not ended"


def _common(primary: Record, dr: Record) -> tuple[int, float]:
    """The newest epoch that both histories give to the same site, and when the primary site or else DR noted it first."""
    here, there = _owners(primary), _owners(dr)
    epoch = max((epoch for epoch, owner in here.items() if there.get(epoch) == owner), default=0)
    at = [entry["at"] for record in (primary, dr) for entry in record["history"] if entry["epoch"] == epoch and entry["owner"]]
    return epoch, min(at, default=0.0)


def _owners(record: Record) -> dict[int, str]:
    return {entry["epoch"]: entry["owner"] for entry in record["history"] if entry["owner"]}


def _accepted(record: Record, common: int) -> tuple[Record, ...]:
    mine = (entry for entry in record["history"] if entry["owner"] == record["site"] and entry["how"] != "taken_over")
    return tuple(entry for entry in mine if entry["epoch"] > common)


def _running(plan: Mapping[str, Any], reads: Reads, site: str) -> tuple[Mapping[str, Any], ...]:
    hosts = plan["sites"][site]["hosts"]
    return tuple({"host": host, **one} for host in hosts for one in reads.get(host, {}).get("running") or [])


def _cycle(plan: Mapping[str, Any], reads: Reads, site: str) -> Mapping[str, Any] | None:
    rows = [row for host in plan["sites"][site]["hosts"] for row in reads.get(host, {}).get("replication") or [] if row.get("read_started")]
    newest = max(rows, key=lambda row: row["read_started"], default=None)
    return newest and {"cycle": newest["cycle"], "role": newest["role"], "at": newest["read_started"]}
