# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a call of xdr_delta_sync asks of a volume driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .delta.pace import Hours
from .delta.trackers.interface import Tracker
from .progress import Progress
from .site import PlanOnHost

COMPRESSIONS = ("none", "auto", "zlib", "zstd")


@dataclass(frozen=True)
class Job:
    """``locked()`` gives the plan's lock after checking the pair (``Holding.locked``). ``final``: the instances are stopped
    and fenced, no quiesce hooks run. ``compare``: read every target back whole. ``extents`` (of a verification): ``sent`` or
    ``all``. ``bandwidth_limit`` is in bytes a second (None: none), other limits hold in ``bandwidth_hours``. ``rescan``: the
    target reads its copies anew, whatever it keeps of them. ``recovery_points``: how many consistent states the target keeps.
    ``read_source_within``: the seconds that a proof may take to read a source whole, at ``scan_rate`` bytes a second.
    ``trackers``: by volume, in place of those that the plan asks for.
    """

    plan: PlanOnHost
    state_dir: Path
    pair: tuple[int, int]
    locked: Callable[[], AbstractContextManager[Any]]
    progress: Progress
    run_id: str = ""
    final: bool = False
    compare: bool = False
    extents: str = "sent"
    compression: str = "auto"
    bandwidth_limit: int | None = None
    bandwidth_hours: tuple[Hours, ...] = ()
    rescan: bool = False
    recovery_points: int = 0
    read_source_within: float = 30.0
    scan_rate: float = 500e6
    trackers: Mapping[str, Tracker] = field(default_factory=dict)

    def reads_source(self, nbytes: int) -> bool:
        return nbytes / self.scan_rate <= self.read_source_within
