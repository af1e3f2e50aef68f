# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a call of xdr_delta_sync asks of a volume driver."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .progress import Progress
from .site import PlanOnHost

COMPRESSIONS = ("none", "auto", "zlib")


@dataclass(frozen=True)
class Job:
    """``locked()`` gives the plan's lock after checking the pair (``Holding.locked``). ``final``: the instances are stopped
    and fenced, no quiesce hooks run. ``compare``: read every target back whole. ``extents`` (of a verification): ``sent`` or
    ``all``. ``bandwidth_limit`` is in bytes a second (None: none).
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
