# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Applying a received cycle to the target's volumes; all of it under the plan's lock.

Order: what will be overwritten goes to the newest recovery point, disk space is reserved, the commit record is written,
the blocks are written, the state is written, the record is removed. Up to the commit record any failure leaves the volumes
as they were; from there on the apply is repeated, by whoever comes next, until it is done.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import openfiles
from ..durable import fsync_folder
from ..errors import Refused, XdrError
from ..site import PlanOnHost, plan_dir
from . import blocks, spool, undo
from .blocks import BLOCK
from .state import VolumeFolder


@dataclass(frozen=True)
class Incoming:
    """One volume of a received cycle: its folder here, its size after the cycle, the digests it had here before."""

    folder: VolumeFolder
    size: int
    before: bytes

    @property
    def path(self) -> Path:
        return self.folder.volume.path


def spool_dir(state_dir: Path, plan: str) -> Path:
    return plan_dir(state_dir, plan) / "spool"


def commit_and_apply(received: spool.Spool, volumes: list[Incoming], record: dict[str, Any], state_dir: Path, plan: PlanOnHost) -> None:
    """Raises XdrError with the volumes untouched when the disk is full or a process holds a volume open."""
    refuse_open([volume.path for volume in volumes])
    created: list[Path] = []
    try:
        _keep_old(received, volumes)
        _reserve(received, volumes, created)
        names = [{"name": volume.folder.volume.name, "size": volume.size} for volume in volumes]
        commit = received.commit({**record, "volumes": names})
    except OSError as error:
        for path in created:
            path.unlink(missing_ok=True)
        raise disk_error(error) from error
    _apply(commit, state_dir, plan)


def disk_error(error: OSError, where: str = "") -> XdrError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        todo = "Free space there and run the cycle again; no volume was changed"
        return XdrError("the disk is full", where=where or str(error.filename or "the target"), todo=todo, code="disk_full")
    todo = "Look at that disk, then run the cycle again"
    return XdrError(f"the disk reported {error.strerror}", where=where or str(error.filename or "the target"), todo=todo)


def refuse_open(paths: list[Path]) -> None:
    """Raises Refused when a process holds one of the volumes open: what it writes would be overwritten."""
    found = openfiles.holders([path for path in paths if path.exists()])
    if found:
        first = found[0]
        raise Refused(
            f"process {first.pid} ({first.command}) holds the volume open",
            where=str(first.path),
            todo="Stop it; nothing ever syncs over a live volume",
            code="volume_in_use",
        )


def _touched(received: spool.Spool, position: int) -> Iterator[tuple[int, int, bool]]:
    """First block, number of blocks, zeros? of each entry of one volume."""
    for volume, first, number, content in received.entries():
        if volume == position:
            yield first, number, not content


def _keep_old(received: spool.Spool, volumes: list[Incoming]) -> None:
    for position, volume in enumerate(volumes):
        chain = undo.points(volume.folder.undo)
        if not chain:
            continue
        newest = chain[-1]
        newest.know(volume.before)
        if blocks.size_at(volume.path) is None:
            continue
        fd = os.open(volume.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            newest.keep(_old(fd, received, position, volume.size))
        finally:
            os.close(fd)


def _old(fd: int, received: spool.Spool, position: int, new_size: int) -> Iterator[tuple[int, bytes]]:
    """What is in the volume now where the cycle writes, and what it cuts off."""
    size = blocks.size_of(fd)
    total = blocks.count(size)
    for first, number, _ in _touched(received, position):
        if first < total:
            yield from blocks.read(fd, size, [(first, min(number, total - first))])
    if new_size < size:
        cut = new_size // BLOCK
        yield from blocks.read(fd, size, [(cut, total - cut)])


def _reserve(received: spool.Spool, volumes: list[Incoming], created: list[Path]) -> None:
    for position, volume in enumerate(volumes):
        fd = _writable(volume.path, created)
        try:
            for first, number, zeros in _touched(received, position):
                if not zeros:
                    blocks.reserve(fd, [(first, number)])
        finally:
            os.close(fd)


def _writable(path: Path, created: list[Path]) -> int:
    if not path.parent.is_dir():
        raise XdrError("the folder of the volume is missing", where=str(path.parent), todo="Make it or mount it, then run the cycle again")
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        created.append(path)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fsync_folder(path.parent)
        return fd


def settle(state_dir: Path, plan: PlanOnHost) -> list[str]:
    """Finish what an interruption left: apply committed cycles, discard others, complete a restore.

    The caller holds the plan's lock. Returns the names of the volumes that changed. A damaged or unfinishable rest is an
    XdrError: the volumes are then no consistent state.
    """
    folder = spool_dir(state_dir, plan.plan)
    changed: list[str] = []
    for path in spool.commits(folder):
        refuse_open([volume.path for volume in plan.volumes.values() if volume.name in _names(path)])
        changed += _apply(path, state_dir, plan)
    for path in spool.leftovers(folder):
        path.unlink(missing_ok=True)
    for volume in plan.volumes.values():
        here = VolumeFolder(state_dir, plan.plan, volume)
        if here.load().restoring:
            refuse_open([volume.path])
            restore(here)
            changed.append(volume.name)
    return changed


def pending(state_dir: Path, plan: PlanOnHost, volume: str) -> bool:
    """Whether a committed cycle or a restore of this volume waits to be finished."""
    if VolumeFolder(state_dir, plan.plan, plan.volumes[volume]).load().restoring:
        return True
    return any(volume in _names(path) for path in spool.commits(spool_dir(state_dir, plan.plan)))


def _names(commit: Path) -> list[str]:
    """The volumes of a committed cycle; none where it was finished while we looked, for a reader holds no lock."""
    return [item["name"] for item in spool.load_record(commit)["volumes"]] if commit.exists() else []


def _apply(path: Path, state_dir: Path, plan: PlanOnHost) -> list[str]:
    record, entries = spool.load_commit(path)
    names = [item["name"] for item in record["volumes"]]
    lost = [name for name in names if name not in plan.volumes]
    if lost:
        raise XdrError(
            f"a committed cycle is for volume {lost[0]}, which this host does not serve", where=str(path), todo="Register it again"
        )
    here = [VolumeFolder(state_dir, plan.plan, plan.volumes[name]) for name in names]
    fds = [_writable(folder.volume.path, []) for folder in here]
    try:
        for fd, item in zip(fds, record["volumes"]):
            blocks.resize(fd, item["size"])
        _write(fds, [item["size"] for item in record["volumes"]], entries)
        for fd in fds:
            os.fsync(fd)
    except OSError as error:
        todo = "Put the disk right; the cycle is committed and will be completed by the next call"
        raise XdrError(f"the cycle could not be applied ({error.strerror})", where=str(here[0].volume.path), todo=todo) from error
    finally:
        for fd in fds:
            os.close(fd)
    now = time.time()
    for folder in here:
        state = folder.load()
        fresh = {"cycle": record["cycle"], "read_started": record["read_started"], "applied_at": now, "generation": state.generation + 1}
        folder.save(replace(state, **fresh))
    spool.finish(path)
    return names


def _write(fds: list[int], sizes: list[int], entries: Iterator[spool.Entry]) -> None:
    for volume, first, number, content in entries:
        if content:
            blocks.write(fds[volume], first * BLOCK, content)
        else:
            stop = min((first + number) * BLOCK, sizes[volume])
            blocks.clear(fds[volume], first * BLOCK, stop - first * BLOCK)


def restore(folder: VolumeFolder) -> None:
    """Complete the restore that the volume's state names; the caller holds the plan's lock and has seen that nobody has it open."""
    state = folder.load()
    name = state.restoring or ""
    fd = os.open(folder.volume.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        point = undo.put_back(fd, folder.undo, name)
    finally:
        os.close(fd)
    folder.drop_digests()
    fresh = replace(state, restoring=None, compared=None, sent=[], generation=state.generation + 1)
    folder.save(replace(fresh, cycle=point.cycle, read_started=point.read_started))
