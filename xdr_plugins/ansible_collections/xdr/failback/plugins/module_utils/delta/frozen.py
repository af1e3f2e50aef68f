# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The read of a cycle at the source: a unit's volumes at one point in time, their changed blocks in spool files."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Callable

from .. import quiesce
from ..errors import XdrError
from ..site import PlanOnHost, VolumeOnHost
from . import blocks
from .blocks import BLOCK, Range
from .state import VolumeFolder


@dataclass(frozen=True)
class Copy:
    """The target's copy of a volume: size in bytes (None: there is none), newest cycle, digests."""

    size: int | None
    cycle: int
    digests: bytes


@dataclass
class Frozen:
    """A volume as this cycle read it. ``changed`` are the blocks in the spool, in its order; ``zeros`` blocks that became zeros."""

    volume: VolumeOnHost
    size: int
    digests: bytes
    spool: IO[bytes]
    changed: array[int] = field(default_factory=lambda: array("Q"))
    zeros: list[Range] = field(default_factory=list)

    @property
    def data_bytes(self) -> int:
        return sum(blocks.length(index, self.size) for index in self.changed)

    @property
    def touched(self) -> list[Range]:
        return blocks.ranges([*self.changed, *blocks.indexes(self.zeros)])

    def content(self) -> Iterator[tuple[int, bytes]]:
        self.spool.seek(0)
        for index in self.changed:
            yield index, self.spool.read(blocks.length(index, self.size))


@contextlib.contextmanager
def frozen_unit(
    folders: list[VolumeFolder], copies: dict[str, Copy], members: list[quiesce.Member], told: Callable[[str, int, int], None]
) -> Iterator[tuple[float, list[Frozen]]]:
    """The start of the read (Unix seconds) and the volumes; thawed before they are given out, their spools removed after.

    Raises XdrError when a hook fails: what was read is then dropped.
    """
    spools: list[IO[bytes]] = []
    try:
        for folder in folders:
            folder.path.mkdir(parents=True, exist_ok=True)
            spools.append(tempfile.TemporaryFile(dir=folder.path))  # noqa: SIM115 - without a name: nothing is left of it, whatever happens
        with quiesce.frozen(members):
            started = time.time()
            with ThreadPoolExecutor(max_workers=2) as pool:
                volumes = [folder.volume for folder in folders]
                reads = [pool.submit(_read, volume, copies[volume.name], spool, told) for volume, spool in zip(volumes, spools)]
                found = [read.result() for read in reads]
        yield started, found
    finally:
        for spool in spools:
            spool.close()


def members(plan: PlanOnHost, state_dir: Path, volumes: list[VolumeOnHost]) -> list[quiesce.Member]:
    """The hooks of the volumes; ``{volume}``, ``{state_dir}`` and ``{site_dir}`` (the state's parent) are replaced in their words."""
    found = []
    for volume in volumes:
        if not volume.quiesce:
            continue
        values = {"{volume}": str(volume.path), "{state_dir}": str(state_dir), "{site_dir}": str(Path(state_dir).parent)}
        environment = {
            "XDR_PLAN_NAME": plan.plan,
            "XDR_SITE": plan.site,
            "XDR_GROUP_NAME": volume.group,
            "XDR_RESOURCE_IDS": volume.resource,
        }
        before = [_filled(hook, values) for hook in volume.quiesce.get("before") or []]
        after = [_filled(hook, values) for hook in volume.quiesce.get("after") or []]
        found.append(quiesce.Member(volume.name, before, after, environment))
    return found


def _filled(hook: list[Any], values: dict[str, str]) -> list[str]:
    words = [str(word) for word in hook]
    for placeholder, value in values.items():
        words = [word.replace(placeholder, value) for word in words]
    return words


def open_volume(volume: VolumeOnHost) -> int:
    try:
        return os.open(volume.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        todo = "See that the plan's path is right and the volume is mounted"
        raise XdrError(
            f"volume {volume.name} cannot be read ({error.strerror})", where=str(volume.path), todo=todo, code="no_volume"
        ) from error


def _read(volume: VolumeOnHost, copy: Copy, spool: IO[bytes], told: Callable[[str, int, int], None]) -> Frozen:
    fd = open_volume(volume)
    try:
        size = blocks.size_of(fd)
        frozen = Frozen(volume, size, b"", spool)
        theirs = blocks.count(copy.size or 0)

        def seen(index: int, content: bytes | None, digest: bytes) -> None:
            if index < theirs and blocks.nth(copy.digests, index) == digest:
                return
            if content is not None:
                spool.write(content)
                frozen.changed.append(index)
            elif index < theirs:  # beyond its end the copy is extended with zeros anyway
                _extend(frozen.zeros, index)

        frozen.digests = bytes(blocks.scan(fd, size, seen, lambda done: told(volume.name, done, size)))
        if blocks.size_of(fd) != size:
            raise XdrError(
                f"volume {volume.name} changed its size while it was read", where=str(volume.path), todo="Give it a quiesce hook"
            )
        spool.flush()
        return frozen
    finally:
        os.close(fd)


def _extend(ranges: list[Range], index: int) -> None:
    if ranges and sum(ranges[-1]) == index:
        ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
    else:
        ranges.append((index, 1))


def block_batches(frozen: Frozen, most: int) -> Iterator[tuple[int, bytes]]:
    """Number of blocks and payload (their indexes, then their content) for frames of at most ``most`` blocks."""
    indexes: list[int] = []
    content: list[bytes] = []
    for index, block in frozen.content():
        indexes.append(index)
        content.append(block)
        if len(indexes) == most:
            yield len(indexes), _payload(indexes, content)
            indexes, content = [], []
    if indexes:
        yield len(indexes), _payload(indexes, content)


def _payload(indexes: list[int], content: list[bytes]) -> bytes:
    return b"".join([*(index.to_bytes(8, "big") for index in indexes), *content])


BATCH = (1 << 20) // BLOCK  # blocks in a frame
