# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The rows of the table: their goals, and what the measurements say of them. Pure: nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from .scenes import GROWTH
from .work import Least

MIB = 1 << 20
PEER = "rsync"
SHARE_GOAL = 0.8
MEMORY_GOAL = 96.0  # MiB


@dataclass(frozen=True)
class Taken:
    """Medians of the repeated measurements of a scene, by one who does it (a mode, or rsync). Peaks in bytes, rsync's are not looked at.

    ``least``: the physical limit. ``lost_holes``: bytes that the target takes on disk beyond the source. ``changed_bytes``: of the scene.
    """

    seconds: float
    wire_bytes: int
    peak_source: int = 0
    peak_target: int = 0
    least: Least | None = None
    lost_holes: int = 0
    changed_bytes: int = 0

    @property
    def share(self) -> float | None:
        return self.least.seconds / self.seconds if self.least else None


Measured = Mapping[tuple[str, str], Taken]  # by scene and who


@dataclass(frozen=True)
class Timed:
    """A row that is measured against rsync: how many times faster."""

    name: str
    title: str
    scene: str
    mode: str
    goal: float
    wire_goal: float | None = None  # bytes on the wire, at most this part of rsync's


@dataclass(frozen=True)
class Row:
    """A line of the result. ``at_most``: the smaller ratio is the better one. ``ok``: None where nothing was measured; ``why`` tells."""

    name: str
    title: str
    ratio: float | None
    goal: float
    at_most: bool = False
    unit: str = "x"
    seconds: float | None = None
    peer_seconds: float | None = None
    bytes: int | None = None
    peer_bytes: int | None = None
    limit_seconds: float | None = None
    share: float | None = None
    limited_by: str | None = None
    ok: bool | None = None
    why: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


TIMED = (
    Timed("scan-0", "full two-ended scan, nothing changed", "aligned-0", "scan", 1.4),
    Timed("tracker-1-warm", "changed blocks known, 1 %, warm cache", "aligned-1", "tracker", 10),
    Timed("manifest-1", "digests kept at the target, 1 %", "aligned-1", "manifest", 2.5),
    Timed("scan-1", "full two-ended scan, 1 %", "aligned-1", "scan", 1.9),
    Timed("tracker-1-cold", "changed blocks known, 1 %, cold cache", "aligned-1-cold", "tracker", 15),
    Timed("tracker-10", "changed blocks known, 10 %", "aligned-10", "tracker", 14),
    Timed("manifest-10", "digests kept at the target, 10 %", "aligned-10", "manifest", 8),
    Timed("scan-10", "full two-ended scan, 10 %", "aligned-10", "scan", 6),
    Timed("scattered-tracker", "scattered 4 KiB writes, changed blocks known", "scattered", "tracker", 1, 1.1),
    Timed("scattered-manifest", "scattered 4 KiB writes, digests kept", "scattered", "manifest", 1, 1.1),
    Timed("scattered-scan", "scattered 4 KiB writes, scan", "scattered", "scan", 1, 1.1),
    Timed("sparse-copy", "first copy of a sparse volume, 10 % used", "sparse", "scan", 3),
)
GROWING, MANY = "growth-tracker", "many-volumes"
NAMES = (*(row.name for row in TIMED), GROWING, MANY)
WIRE_GOAL = 0.6  # of aligned changes
GROWTH_GOAL, MANY_GOAL = 1.2, 1.5


def many_mode(lacks: Mapping[str, str]) -> str:
    """By which mode the many volumes are moved: changed blocks known, or what the engine has."""
    return "scan" if lacks["tracker"] else "tracker"


def wanted(names: tuple[str, ...], lacks: Mapping[str, str]) -> list[tuple[str, str]]:
    """Scene and who of all that is to be measured, scene by scene. ``lacks``: by mode, why the engine has not got it; empty if it has.

    What rsync needs is worth knowing also where there is nothing to hold against it.
    """
    found: dict[str, dict[str, None]] = {}
    for row in TIMED:
        if row.name in names:
            found.setdefault(row.scene, {PEER: None}).update({} if lacks[row.mode] else {row.mode: None})
    if GROWING in names and not lacks["tracker"]:
        found.update({f"growth-{factor:g}": {"tracker": None} for factor in GROWTH})
    if MANY in names:
        found.update({scene: {many_mode(lacks): None} for scene in ("many", "single")})
    return [(scene, who) for scene, those in found.items() for who in those]


def rows(names: tuple[str, ...], measured: Measured, lacks: Mapping[str, str]) -> list[Row]:
    """The rows asked for, and those that follow from them: bytes on the wire, share of the limit, memory."""
    found: list[Row] = []
    for timed in TIMED:
        if timed.name in names:
            found += _timed(timed, measured, lacks[timed.mode])
    found += _aligned_wire(names, measured)
    found += [_growth(measured, lacks["tracker"])] if GROWING in names else []
    found += [_many(measured, many_mode(lacks), lacks["tracker"])] if MANY in names else []
    return [*found, *_share(found), *_memory(measured)]


def judged(row: Row) -> Row:
    """With its verdict, and where it is below its goal, with what stands in the way."""
    if row.ratio is None:
        return row
    good = (row.ratio <= row.goal if row.at_most else row.ratio >= row.goal) and row.ok is not False
    return replace(row, ok=good, why=row.why or (None if good else _hindrance(row)))


def _hindrance(row: Row) -> str:
    if row.share is None or row.limited_by is None:
        return "above its goal" if row.at_most else "below its goal"
    if row.share >= SHARE_GOAL:
        return f"at the machine's limit: {row.limited_by}"
    needs = f"the engine needs {1 / row.share:.1f} times the machine's limit, which is set by {row.limited_by}"
    if row.at_most or not row.peer_seconds or not row.limit_seconds:
        return needs
    return f"{needs}; at that limit it would be {row.peer_seconds / row.limit_seconds:.1f}x"


# -- rows against rsync --------------------------------------------------------------------------------------------


def _timed(timed: Timed, measured: Measured, lacks: str) -> list[Row]:
    ours, theirs = measured.get((timed.scene, timed.mode)), measured[timed.scene, PEER]
    wire = [_wire(timed.name, timed.title, timed.wire_goal, ours, theirs, lacks or None)] if timed.wire_goal else []
    row = Row(timed.name, timed.title, None, timed.goal, peer_seconds=theirs.seconds, peer_bytes=theirs.wire_bytes, why=lacks or None)
    if ours is None:
        return [row, *wire]
    row = replace(row, ratio=theirs.seconds / ours.seconds, **_of(ours))
    if ours.lost_holes:
        why = f"holes were lost: {ours.lost_holes} bytes more on disk than at the source"
        row = replace(row, ok=False, why=why)
    return [judged(row), *wire]


def _of(ours: Taken) -> dict[str, Any]:
    """What every timed row says of the engine."""
    by = ours.least
    limit = {"limit_seconds": by.seconds if by else None, "share": ours.share, "limited_by": by.by if by else None}
    return {"seconds": ours.seconds, "bytes": ours.wire_bytes, **limit}


def _wire(name: str, title: str, goal: float, ours: Taken | None, theirs: Taken, why: str | None = None) -> Row:
    row = Row(f"{name}-bytes", f"{title}: bytes on the wire", None, goal, at_most=True, peer_bytes=theirs.wire_bytes, why=why)
    if ours is None:
        return row
    return judged(replace(row, ratio=ours.wire_bytes / theirs.wire_bytes, bytes=ours.wire_bytes))


def _aligned_wire(names: tuple[str, ...], measured: Measured) -> list[Row]:
    """The worst of all modes and shares of aligned changes."""
    there = [row for row in TIMED if row.name in names and row.scene in ("aligned-1", "aligned-1-cold", "aligned-10")]
    pairs = {row.name: (measured[row.scene, row.mode], measured[row.scene, PEER]) for row in there if (row.scene, row.mode) in measured}
    if not pairs:
        return []
    worst = max(pairs, key=lambda name: pairs[name][0].wire_bytes / pairs[name][1].wire_bytes)
    ours, theirs = pairs[worst]
    why = (
        f"the worst of its rows: {worst}; the changed blocks alone, which do not compress, are {ours.changed_bytes / theirs.wire_bytes:.2f}"
    )
    return [_wire("aligned", "aligned changes", WIRE_GOAL, ours, theirs, why=why)]


# -- rows of their own ---------------------------------------------------------------------------------------------


def _growth(measured: Measured, lacks: str) -> Row:
    """The slowest against the fastest size; the volumes have data only where it changes."""
    title = f"time as the volume grows {GROWTH[-1] / GROWTH[0]:g} times, the same bytes changed and known"
    if lacks:
        return Row(GROWING, title, None, GROWTH_GOAL, at_most=True, why=lacks)
    took = [measured[f"growth-{factor:g}", "tracker"].seconds for factor in GROWTH]
    told = ", ".join(f"{factor:g}: {seconds:.3f} s" for factor, seconds in zip(GROWTH, took, strict=True))
    why = f"sparse volumes, by parts of the size: {told}"
    return judged(Row(GROWING, title, max(took) / min(took), GROWTH_GOAL, at_most=True, seconds=max(took), peer_seconds=min(took), why=why))


def _many(measured: Measured, mode: str, lacks: str) -> Row:
    """All in one session, each at its own point in time, against one volume of their size."""
    many, single = measured["many", mode], measured["single", mode]
    row = Row(
        MANY,
        "50 volumes against one of their size, 1 % changed",
        many.seconds / single.seconds,
        MANY_GOAL,
        at_most=True,
        peer_seconds=single.seconds,
        peer_bytes=single.wire_bytes,
        why=f"measured with the mode {mode}: {lacks}" if lacks else None,
        **_of(many),
    )
    return judged(row)


def _share(found: list[Row]) -> list[Row]:
    """The row that is farthest from what the machine could do."""
    with_share = [row for row in found if row.share is not None]
    if not with_share:
        return []
    worst = min(with_share, key=lambda row: row.share or 0.0)
    why = f"the lowest of its rows: {worst.name}"
    row = Row("share", "share of the physical limit", worst.share, SHARE_GOAL, unit="", limited_by=worst.limited_by, why=why)
    return [judged(row)]


def _memory(measured: Measured) -> list[Row]:
    ours = [taken for (_, who), taken in measured.items() if who != PEER]
    if not ours:
        return []
    peaks = {"source": max(taken.peak_source for taken in ours), "target": max(taken.peak_target for taken in ours)}
    return [
        judged(Row(f"memory-{end}", f"peak memory at the {end}", peak / MIB, MEMORY_GOAL, at_most=True, unit="MiB"))
        for end, peak in peaks.items()
    ]
