# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Replication lag, measured at the source."""

from __future__ import annotations

import os
import time
from typing import Union

from . import blocks, identity, scanning
from .blocks import Range
from .hashes import DIGEST, function
from .manifest import Manifest
from .reading import open_volume
from .state import VolumeFolder, VolumeState

Figure = Union[int, float, str]


def lag(folder: VolumeFolder, state: VolumeState) -> tuple[Figure, Figure]:
    """Bytes that differ from the newest cycle that the target has confirmed, and the age in seconds of its last consistent point,
    counted from the start of its read.

    Both are ``unknown`` where that cycle's digests are not known.
    """
    own = Manifest.load(folder.manifest) if state.role == "source" and state.confirmed else None
    if own is None:
        return "unknown", "unknown"
    with own:
        if own.header.cycle != state.confirmed:
            return "unknown", "unknown"
        age = round(max(0.0, time.time() - state.read_started), 3) if state.read_started is not None else "unknown"
        return _bytes_behind(folder, own), age


def _bytes_behind(folder: VolumeFolder, own: Manifest) -> int:
    fd = open_volume(folder.volume)
    try:
        size = blocks.size_of(fd)
        return _differing(fd, size, _looked_at(folder, own, fd, size), own) + max(0, own.header.size - size)
    finally:
        os.close(fd)


def _looked_at(folder: VolumeFolder, own: Manifest, fd: int, size: int) -> list[Range]:
    """Where it may differ: nowhere if nobody wrote, else everywhere."""
    now = identity.settled(fd)
    if now is not None and now == own.header.identity and not identity.believed(folder.volume.path):
        return []
    return [(0, blocks.count(size))] if size else []


def _differing(fd: int, size: int, of: list[Range], own: Manifest) -> int:
    """Bytes of the blocks whose digests differ."""
    behind = 0
    with scanning.pool() as workers:
        for chunk in scanning.scan(fd, size, of, function(own.header.hash), workers):
            for (first, number), digests in chunk.each():
                known = own.read(first, number)
                for position in range(number if digests != known else 0):
                    if digests[position * DIGEST : (position + 1) * DIGEST] != known[position * DIGEST : (position + 1) * DIGEST]:
                        behind += blocks.length(first + position, size)
    return behind
