# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The source's end of a session: a cycle of the volumes that share a peer, and the proof that both ends are equal."""

from __future__ import annotations

import itertools
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO

from .. import openfiles
from ..errors import Refused, XdrError
from ..site import VolumeOnHost
from ..transfer import Job
from . import blocks
from .blocks import DIGEST, Range
from .frozen import BATCH, Copy, Frozen, block_batches, frozen_unit, members, open_volume
from .state import VolumeFolder, VolumeState
from .wire import MAX_RANGES, VERSION, Pace, Wire, packed

SILENCE = 120.0  # seconds without a frame from the target; it sends one every 5 s while it works


Results = list[dict[str, Any]]


def _folder(job: Job, volume: VolumeOnHost) -> VolumeFolder:
    return VolumeFolder(job.state_dir, job.plan.plan, volume)


def synchronise(job: Job, volumes: list[VolumeOnHost], reader: BinaryIO, writer: BinaryIO, peer: str, results: Results) -> None:
    """One cycle. Appends to ``results`` {"volume", "bytes_sent", "bytes_total", "blocks_changed", "resized", "seconds", "cycle",
    "compared", "equal"} for each volume that was applied, so that they are known when a later unit fails.
    """
    _check_sources(job, volumes)
    with _session(job, volumes, reader, writer, peer, verify=False) as wire:
        copies = {volume.name: _receive_copy(wire, volume) for volume in volumes}
        pace = Pace(job.bandwidth_limit)
        for _, unit in itertools.groupby(sorted(volumes, key=lambda volume: volume.unit), key=lambda volume: volume.unit):
            _cycle(job, list(unit), copies, wire, pace, results)


def verify(job: Job, volumes: list[VolumeOnHost], reader: BinaryIO, writer: BinaryIO, peer: str, results: Results) -> None:
    """Read back from disk at both ends and compare: what was sent since the last full compare, or all.

    Appends {"volume", "equal": true, "blocks", "bytes_total", "seconds", "cycle"}. Raises XdrError (``not_equal``) naming volume and block.
    """
    _check_sources(job, volumes)
    for volume in volumes if job.extents == "sent" else []:
        if _folder(job, volume).load().compared is None:
            raise _no_compare(volume)
    with _session(job, volumes, reader, writer, peer, verify=True) as wire:
        wire.receive("ready")
        for volume in volumes:
            results.append(_verify(job, volume, wire))


def _check_sources(job: Job, volumes: list[VolumeOnHost]) -> None:
    for volume in volumes:
        role = _folder(job, volume).load().role
        if role != "source":
            todo = "Make it a source first (xdr_replication state=source)"
            raise Refused(f"volume {volume.name} has the role {role} here", where=job.plan.host, todo=todo, code="wrong_role")
    if job.final:
        found = openfiles.holders([volume.path for volume in volumes])
        if found:
            what = f"process {found[0].pid} ({found[0].command}) still holds the volume open"
            raise Refused(what, where=str(found[0].path), todo="Stop it: a final delta is read from volumes at rest", code="volume_in_use")


@contextmanager
def _session(job: Job, volumes: list[VolumeOnHost], reader: BinaryIO, writer: BinaryIO, peer: str, *, verify: bool) -> Iterator[Wire]:
    wire = Wire(reader, writer, peer=peer, timeout=SILENCE)
    sizes = []
    for volume in volumes:
        size = blocks.size_at(volume.path)
        if size is None:
            todo = "See that the plan's path is right and the volume is mounted"
            raise XdrError(f"volume {volume.name} is missing", where=str(volume.path), todo=todo, code="no_volume")
        sizes.append({"name": volume.name, "size": size})
    epoch, attempt = job.pair
    hello: dict[str, Any] = {"version": VERSION, "plan": job.plan.plan, "run_id": job.run_id, "epoch": epoch, "attempt": attempt}
    wire.send("hello", **hello, volumes=sizes, verify=verify)
    yield wire
    wire.send("end")
    wire.receive("bye")


def _receive_copy(wire: Wire, volume: VolumeOnHost) -> Copy:
    frame = wire.receive("copy")
    if frame.text("volume") != volume.name:
        raise XdrError("the target answered for another volume", where=wire.peer, code="protocol")
    size = frame.number("size") if frame.flag("exists") else None
    return Copy(size, frame.number("cycle"), wire.receive_long("digests", blocks.count(size or 0) * DIGEST))


def _cycle(job: Job, unit: list[VolumeOnHost], copies: dict[str, Copy], wire: Wire, pace: Pace, results: Results) -> None:
    began = time.monotonic()
    folders = [_folder(job, volume) for volume in unit]
    hooks = [] if job.final else members(job.plan, job.state_dir, unit)
    with frozen_unit(folders, copies, hooks, job.progress.bytes) as (read_started, found):
        cycle = max([copies[volume.name].cycle for volume in unit] + [folder.load().cycle for folder in folders]) + 1
        noted = _remember_sent(job, folders, found)
        sent = _send_unit(job, found, {"cycle": cycle, "read_started": read_started}, wire, pace)
        applied = wire.receive("applied").seconds("applied_at")
        with job.locked():
            for folder, frozen in zip(folders, found):
                state = _source(folder)
                if cycle > state.cycle:
                    folder.save_digests(cycle, frozen.size, frozen.digests)
                    folder.save(replace(state, cycle=cycle, read_started=read_started, applied_at=applied))
        for folder, frozen, nbytes, known in zip(folders, found, sent, noted):
            compared = _compare(job, folder, frozen, cycle, known, wire) if job.compare else folder.load().compared
            results.append(
                {
                    "volume": folder.volume.name,
                    "bytes_sent": nbytes,
                    "bytes_total": frozen.size,
                    "blocks_changed": sum(number for _, number in frozen.touched),
                    "resized": copies[folder.volume.name].size != frozen.size,
                    "seconds": round(time.monotonic() - began, 3),
                    "cycle": cycle,
                    "compared": compared,
                    "equal": True if job.compare else None,
                }
            )


def _source(folder: VolumeFolder) -> VolumeState:
    """The volume's state, under the lock; the direction may have been turned round while the cycle was under way."""
    state = folder.load()
    if state.role != "source":
        what = f"volume {folder.volume.name} became {state.role} while it was sent"
        raise Refused(what, where=str(folder.path), todo="Look at the run that did so", code="wrong_role")
    return state


def _remember_sent(job: Job, folders: list[VolumeFolder], found: list[Frozen]) -> list[list[Range]]:
    """Before the target can have applied them: a block that was sent but not noted would escape the proof.

    Returns all that is noted of each volume.
    """
    noted = []
    with job.locked():
        for folder, frozen in zip(folders, found):
            state = _source(folder)
            noted.append(blocks.ranges([*blocks.indexes(state.sent), *blocks.indexes(frozen.touched)]))
            if noted[-1] != state.sent:
                folder.save(replace(state, sent=noted[-1]))
    return noted


def _send_unit(job: Job, found: list[Frozen], header: dict[str, Any], wire: Wire, pace: Pace) -> list[int]:
    """Returns the bytes that each volume took on the wire."""
    items = [{"name": frozen.volume.name, "size": frozen.size, "data_bytes": frozen.data_bytes} for frozen in found]
    wire.send("unit", **header, volumes=items)
    sent = []
    for position, frozen in enumerate(found):
        nbytes = _send_zeros(frozen.zeros, position, wire)
        done = 0
        for number, payload in block_batches(frozen, BATCH):
            frame_bytes = _send_batch(job, position, number, payload, wire)
            pace.sent(frame_bytes)
            nbytes += frame_bytes
            done += len(payload) - 8 * number
            job.progress.bytes(frozen.volume.name, done, frozen.data_bytes)
        job.progress.bytes(frozen.volume.name, frozen.data_bytes, frozen.data_bytes)
        sent.append(nbytes)
    wire.send("commit", roots=[{"root": blocks.root(frozen.digests, frozen.size)} for frozen in found])
    return sent


def _send_zeros(zeros: list[Range], position: int, wire: Wire) -> int:
    return sum(wire.send("zeros", packed(zeros[at : at + MAX_RANGES]), volume=position) for at in range(0, len(zeros), MAX_RANGES))


def _send_batch(job: Job, position: int, number: int, payload: bytes, wire: Wire) -> int:
    if job.compression == "zlib":
        return wire.send("blocks", zlib.compress(payload, 1), volume=position, blocks=number, zlib=True)
    return wire.send("blocks", payload, volume=position, blocks=number)


def _compare(job: Job, folder: VolumeFolder, frozen: Frozen, cycle: int, noted: list[Range], wire: Wire) -> dict[str, Any]:
    """The target's whole volume, read back from its disk, against the frozen read.

    What was noted as sent is then proven, unless another cycle has noted more meanwhile.
    """
    volume = folder.volume
    with job.locked():  # an older proof must not outlive a compare that fails
        folder.save(replace(_source(folder), compared=None))
    wire.send("compare", volume=volume.name)
    total = wire.receive("whole").number("blocks")
    if total != blocks.count(frozen.size):
        raise _differ(volume, f"{total} blocks at the target, {blocks.count(frozen.size)} at the source", wire)
    _equal(volume, wire.receive_long("digests", total * DIGEST), frozen.digests, [(0, total)], wire)
    compared: dict[str, Any] = {"cycle": cycle, "at": time.time(), "blocks": total}
    wire.send("compared", volume=volume.name, **compared)
    wire.receive("noted")
    with job.locked():
        state = _source(folder)
        folder.save(replace(state, compared=compared, sent=[] if state.sent == noted else state.sent))
    return compared


def _equal(volume: VolumeOnHost, theirs: bytes, ours: bytes, of: list[Range], wire: Wire) -> None:
    """Raises XdrError naming the first block that differs."""
    if theirs == ours:
        return
    for position, index in enumerate(blocks.indexes(of)):
        if blocks.nth(theirs, position) != blocks.nth(ours, position):
            raise _differ(volume, f"block {index} (byte {index * blocks.BLOCK}) differs", wire)


def _differ(volume: VolumeOnHost, what: str, wire: Wire) -> XdrError:
    todo = "Run a cycle with a full compare; look at the disks of both hosts if it happens again"
    return XdrError(f"volume {volume.name} is not equal at both ends: {what}", where=wire.peer, todo=todo, code="not_equal")


def _no_compare(volume: VolumeOnHost) -> Refused:
    return Refused(
        f"volume {volume.name} has had no full compare since its replication was turned round, so the extents sent prove nothing",
        where=str(volume.path),
        todo="Verify all extents",
        code="no_compare",
    )


def _verify(job: Job, volume: VolumeOnHost, wire: Wire) -> dict[str, Any]:
    began = time.monotonic()
    state = _folder(job, volume).load()
    fd = open_volume(volume)
    try:
        size = blocks.size_of(fd)
        whole = job.extents == "all" or len(state.sent) > MAX_RANGES
        wanted = [(0, blocks.count(size))] if whole else _within(state.sent, blocks.count(size))
        wire.send("extents", b"" if whole else packed(wanted), volume=volume.name, size=size, all=whole)
        blocks.drop_cache(fd)
        digests = bytes(blocks.scan(fd, size, None, lambda done: job.progress.bytes(volume.name, done, size))) if whole else b""
        ours = digests or blocks.digests_of(fd, size, wanted)
    finally:
        os.close(fd)
    frame = wire.receive("extents")
    if frame.number("size") != size:
        raise _differ(volume, f"{frame.number('size')} bytes at the target, {size} at the source", wire)
    theirs = wire.receive_long("digests", len(ours))
    if not whole and frame.number("compared") != (state.compared or {}).get("cycle"):
        raise _no_compare(volume)
    _equal(volume, theirs, ours, wanted, wire)
    job.progress.bytes(volume.name, size, size)
    total = sum(number for _, number in wanted)
    seconds = round(time.monotonic() - began, 3)
    return {"volume": volume.name, "equal": True, "blocks": total, "bytes_total": size, "seconds": seconds, "cycle": state.cycle}


def _within(ranges: list[Range], total: int) -> list[Range]:
    """The part of the ranges that lies in a volume of ``total`` blocks; it may have been cut since."""
    return [(start, min(number, total - start)) for start, number in ranges if start < total]
