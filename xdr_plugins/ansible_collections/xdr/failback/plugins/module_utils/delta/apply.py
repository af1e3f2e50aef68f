# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Applying a received cycle to the target's volumes; all of it under the plan's lock.

Order: what will be overwritten goes to the newest recovery point, disk space is reserved, the commit record is written,
the blocks are written, the state is written, the record is removed. Up to the commit record any failure leaves the volumes
as they were; from there on the apply is repeated, by whoever comes next, until it is done.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from .. import openfiles, parallel
from ..durable import Steps, fsync_folder, together
from ..errors import Refused, XdrError
from ..site import PlanOnHost, plan_dir
from . import blocks, manifest, spool, undo
from .beside import Beside
from .blocks import BLOCK, Range
from .hashes import NULL
from .manifest import Manifest
from .scanning import ordered
from .spool import EVERYWHERE, Entries, Entry, Span
from .state import VolumeFolder, VolumeState
from .undo import RecoveryPoint
from .undo_log import Segment, from_volume

if TYPE_CHECKING:
    from .keeping import Keeping

WRITERS = 2  # threads that apply one volume
AT_ONCE = 4  # volumes that are read or written: that bounds the memory
OPEN = 64  # volumes that wait for the disk together
_LOOKS, _BETWEEN = 4, 0.1  # how often it is looked whether a volume is still open, and the seconds in between

Item = TypeVar("Item")


@dataclass(frozen=True)
class Incoming:
    """One volume of a received cycle: its place in the spool's entries, its folder here, and what goes into the commit record:
    its size and state after the cycle, the cycle's number, the start of its read, and whether it is one point in time. ``keeping``:
    what was kept of its old blocks while it came in.
    """

    position: int
    folder: VolumeFolder
    size: int
    state: str
    cycle: int
    read_started: float
    consistent: bool
    how: str
    span: Span
    keeping: Keeping | None = None

    @property
    def path(self) -> Path:
        return self.folder.volume.path

    @cached_property
    def before(self) -> VolumeState:
        """The volume's state before the cycle; asked for under the plan's lock only."""
        return self.folder.load()

    def to_json(self) -> dict[str, Any]:
        told = {name: getattr(self, name) for name in ("position", "size", "state", "cycle", "read_started", "consistent", "how", "span")}
        return {"name": self.folder.volume.name, **told}


def spool_dir(state_dir: Path, plan: str) -> Path:
    return plan_dir(state_dir, plan) / "spool"


def commit_and_apply(
    received: spool.Spool, volumes: list[Incoming], record: dict[str, Any], epoch: int, points: int, keep: Callable[[], object]
) -> Path:
    """``epoch``: the plan's newest here. ``points``: how many states of cycles are kept, the one before this cycle being the newest.
    ``keep`` is called once the cycle is applied. Returns the commit record, which is still to be finished.

    Raises XdrError with the volumes untouched when the disk is full or a process holds a volume open.
    """
    created: list[Path] = []
    with contextlib.ExitStack() as segments:
        try:
            with Beside(received.sync):
                with Beside(lambda: refuse_open([volume.path for volume in volumes], but=os.getpid())):
                    old = parallel.each(lambda volume: _read_old(received.entries, volume, epoch, points, segments), volumes, most=AT_ONCE)
                    together(point.taking(segment) for point, segment in filter(None, old))
                parallel.each(lambda volume: _reserve(received.entries, volume, created), volumes, most=AT_ONCE)
            commit = received.commit({**record, "volumes": [volume.to_json() for volume in volumes]})
        except OSError as error:
            for path in created:
                path.unlink(missing_ok=True)
            raise disk_error(error) from error
    _apply(received.fd, received.entries, volumes)
    keep()
    return commit


def disk_error(error: OSError, where: str = "") -> XdrError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        todo = "Free space there and run the cycle again; no volume was changed"
        return XdrError("the disk is full", where=where or str(error.filename or "the target"), todo=todo, code="disk_full")
    todo = "Look at that disk, then run the cycle again"
    return XdrError(f"the disk reported {error.strerror}", where=where or str(error.filename or "the target"), todo=todo)


def refuse_open(paths: list[Path], *, but: int = 0) -> None:
    """Raises Refused when a process, ``but`` this one, holds one of the volumes open: what it writes would be overwritten.

    It may let go: the receiver of a session that was given up reads, until its end, what it will not overwrite any more.
    """
    for _ in range(_LOOKS):
        found = openfiles.holders([path for path in paths if path.exists()], but=but)
        if not found:
            return
        time.sleep(_BETWEEN)
    raise Refused(
        f"process {found[0].pid} ({found[0].command}) holds the volume open",
        where=str(found[0].path),
        todo="Stop it; nothing ever syncs over a live volume",
        code="volume_in_use",
    )


def _touched(entries: Entries, volume: Incoming) -> Iterator[tuple[Range, bool]]:
    """The blocks of one volume, and whether they become zeros."""
    return ((entry.run, not entry.nbytes) for entry in entries(volume.span) if entry.volume == volume.position)


def _read_old(
    entries: Entries, volume: Incoming, epoch: int, points: int, segments: contextlib.ExitStack
) -> tuple[RecoveryPoint, Segment] | None:
    """What the cycle overwrites, and the recovery point that is to take it."""
    size, folder = blocks.size_at(volume.path), volume.folder
    point = undo.due(folder.undo, volume.before, size=size, epoch=epoch, states=points) if size is not None else None
    if size is None or point is None:
        return None
    known = Manifest.load(folder.manifest) if point.wants_digests else None
    if known:
        with known:
            point.know(known)
    kept = volume.keeping.segment(point) if volume.keeping else None
    missing = [] if volume.keeping and (kept or not volume.keeping.begun) else _old(entries, volume, size)
    segment = kept or point.segment()
    segments.callback(segment.close)
    fd = os.open(volume.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        segment.keep(from_volume(fd, size, itertools.chain(missing, _cut_off(volume, size))))
    finally:
        os.close(fd)
    return point, segment


def _old(entries: Entries, volume: Incoming, size: int) -> Iterator[Range]:
    """The blocks of the volume, of ``size`` bytes now, where the cycle writes."""
    total = blocks.count(size)
    for run, _ in _touched(entries, volume):
        yield from blocks.clipped([run], total)


def _cut_off(volume: Incoming, size: int) -> list[Range]:
    """Those that it takes away."""
    cut = volume.size // BLOCK
    return [(cut, blocks.count(size) - cut)] if volume.size < size else []


def _reserve(entries: Entries, volume: Incoming, created: list[Path]) -> None:
    fd = _writable(volume.path, created)
    try:
        total = blocks.count(volume.size)
        for run, zeros in _touched(entries, volume) if blocks.has_holes(fd, volume.size) else ():
            if not zeros:
                blocks.reserve(fd, blocks.clipped([run], total))
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


def settle(state_dir: Path, plan: PlanOnHost, *, discard: bool = True) -> list[str]:
    """Finish what an interruption left: apply committed cycles, discard others, complete a restore.

    The caller holds the plan's lock. Without ``discard`` an unfinished cycle stays, for a session that goes on with it.
    Returns the names of the volumes that changed. A damaged or unfinishable rest is an XdrError: the volumes are then no
    consistent state.
    """
    folder = spool_dir(state_dir, plan.plan)
    changed: list[str] = []
    for path in spool.commits(folder):
        refuse_open([volume.path for volume in plan.volumes.values() if volume.name in _names(path)])
        changed += _complete(path, state_dir, plan)
    for path in spool.leftovers(folder) if discard else []:
        path.unlink(missing_ok=True)
    for volume in plan.volumes.values():
        here = VolumeFolder(state_dir, plan.plan, volume)
        undo.clear_leftovers(here.undo)
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


def _complete(path: Path, state_dir: Path, plan: PlanOnHost) -> list[str]:
    """Apply a committed cycle that an interruption left."""
    with spool.committed(path) as (record, fd, entries):
        lost = [item["name"] for item in record["volumes"] if item["name"] not in plan.volumes]
        if lost:
            what = f"a committed cycle is for volume {lost[0]}, which this host does not serve"
            raise XdrError(what, where=str(path), todo="Register it again")
        volumes = []
        for item in record["volumes"]:
            known = {**{key: value for key, value in item.items() if key != "name"}, "span": tuple(item["span"])}
            volumes.append(Incoming(folder=VolumeFolder(state_dir, plan.plan, plan.volumes[item["name"]]), **known))
        _apply(fd, entries, volumes)
    spool.finish(path)
    return [item["name"] for item in record["volumes"]]


def _apply(fd: int, entries: Entries, volumes: list[Incoming]) -> None:
    try:
        for some in _lists(iter(volumes), OPEN):
            _write(fd, entries, some)
    except OSError as error:
        todo = "Put the disk right; the cycle is committed and will be completed by the next call"
        raise XdrError(f"the cycle could not be applied ({error.strerror})", where=str(volumes[0].path), todo=todo) from error
    now = time.time()
    together(_recording(volume, now) for volume in volumes)


def _write(spool_fd: int, entries: Entries, volumes: list[Incoming]) -> None:
    """The memory that this takes bounds how many are written at once; they wait for the disk together."""
    with contextlib.ExitStack() as files:

        def write(volume: Incoming) -> int:
            fd = _writable(volume.path, [])
            files.callback(os.close, fd)
            _write_one(spool_fd, fd, entries, volume)
            return fd

        together(_waiting(fd) for fd in parallel.each(write, volumes, most=AT_ONCE))


def _waiting(fd: int) -> Steps[None]:
    yield [(os.fdatasync, fd)]


def _write_one(spool_fd: int, fd: int, entries: Entries, volume: Incoming) -> None:
    blocks.resize(fd, volume.size)
    lists = _lists((entry for entry in entries(volume.span) if entry.volume == volume.position), 16)
    _put(spool_fd, fd, next(lists, []), volume.size)
    more = next(lists, None)
    if more is None:  # a small volume needs no threads
        return
    lists = itertools.chain([more], lists)
    # where a session was resumed a block may have come twice, and the last one counts
    with ThreadPoolExecutor(max_workers=WRITERS if volume.span != EVERYWHERE else 1) as pool:
        for _ in ordered(pool, lambda some: _put(spool_fd, fd, some, volume.size), lists):
            pass


def _lists(items: Iterator[Item], most: int) -> Iterator[list[Item]]:
    """The items in lists; threads are handed no trifles."""
    while some := list(itertools.islice(items, most)):
        yield some


def _put(spool_fd: int, fd: int, entries: list[Entry], size: int) -> None:
    for entry in entries:
        offset = entry.run[0] * BLOCK
        if entry.nbytes:
            content = os.pread(spool_fd, entry.nbytes, entry.at)
            blocks.write(fd, offset, memoryview(content)[: max(0, size - offset)])
        else:
            blocks.clear(fd, offset, min(sum(entry.run) * BLOCK, size) - offset)
    blocks.begin_writing(fd)


def _recording(volume: Incoming, now: float) -> Steps[None]:
    state = volume.before
    started = volume.read_started if volume.consistent else state.read_started
    fresh: dict[str, Any] = {"cycle": volume.cycle, "read_started": started, "applied_at": now, "generation": state.generation + 1}
    return volume.folder.saving(replace(state, **fresh, consistent=volume.consistent, how=volume.how))


def changes(entries: Entries, volume: Incoming) -> manifest.Changes:
    """The digests that a cycle brought for a volume."""
    total = blocks.count(volume.size)
    for entry in entries(volume.span):
        if entry.volume == volume.position:
            for first, number in blocks.clipped([entry.run], total):
                yield first, entry.digests[: number * len(NULL)] or NULL * number


def restore(folder: VolumeFolder) -> None:
    """Complete the restore that the volume's state names; the caller holds the plan's lock and has seen that nobody has it open."""
    state = folder.load()
    name = state.restoring or ""
    fd = os.open(folder.volume.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        point = undo.put_back(fd, folder.undo, name)
    finally:
        os.close(fd)
    folder.forget_content()
    fresh = replace(state, restoring=None, compared=None, sent=[], confirmed=0, consistent=True, how="", generation=state.generation + 1)
    folder.save(replace(fresh, cycle=point.cycle, read_started=point.read_started))
