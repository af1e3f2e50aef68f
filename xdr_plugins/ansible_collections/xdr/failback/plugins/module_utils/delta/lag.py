# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Replication lag, measured at the source."""

from __future__ import annotations

import os
import time
from typing import Union

from . import blocks
from .frozen import open_volume
from .state import VolumeFolder, VolumeState

Figure = Union[int, float, str]


def lag(folder: VolumeFolder, state: VolumeState) -> tuple[Figure, Figure]:
    """Bytes that differ from the newest cycle that the target has confirmed, and the age in seconds of the start of its read.

    Both are ``unknown`` where that cycle's digests are not known.
    """
    known = folder.load_digests(state.cycle) if state.role == "source" and state.cycle else None
    if known is None or state.read_started is None:
        return "unknown", "unknown"
    fd = open_volume(folder.volume)
    try:
        size = blocks.size_of(fd)
        now = blocks.scan(fd, size)
    finally:
        os.close(fd)
    age = max(0.0, time.time() - state.read_started)
    return differing_bytes(known[1], now, max(size, known[0])), round(age, 3)


def differing_bytes(one: blocks.Digests, other: blocks.Digests, size: int) -> int:
    """Bytes of the blocks whose digests differ, in a volume of ``size`` bytes (the larger one)."""
    different = (index for index in range(blocks.count(size)) if blocks.nth(one, index) != blocks.nth(other, index))
    return sum(blocks.length(index, size) for index in different)
