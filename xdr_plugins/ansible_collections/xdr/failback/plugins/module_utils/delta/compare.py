# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The proof that both ends are equal: read back from disk at both, and compared by digest."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, BinaryIO

from ..errors import Refused, XdrError
from ..site import VolumeOnHost
from ..transfer import Job
from . import blocks, scanning, session
from .blocks import BLOCK, Range
from .hashes import DIGEST, function
from .manifest import Manifest
from .reading import open_volume
from .session import Session
from .sources import check_sources, folder_of, source_state
from .state import VolumeState
from .wire import MAX_RANGES, packed

Results = list[dict[str, Any]]
_WINDOW = 1 << 15  # digests that are compared at once


def whole(opened: Session, volume: VolumeOnHost, cycle: int, state: str) -> dict[str, Any]:
    """The target's whole volume, read back from its disk, against what the cycle read whole at the source.

    What was noted as sent up to here is then proven, unless another cycle has noted more meanwhile.
    """
    folder = opened.folder(volume)
    with opened.job.locked():  # an older proof must not outlive a compare that fails
        before = source_state(folder)
        folder.save(replace(before, compared=None))
    own = Manifest.load(folder.manifest)
    if own is None or own.header.state != state:
        raise XdrError("the digests of this cycle are gone", where=str(folder.path), todo="Run the cycle again")
    with own:
        total = blocks.count(own.header.size)
        theirs = opened.ask("compare", volume, total)
        for first, digests in own.windows(_WINDOW):
            _equal(volume, theirs.read(first, len(digests) // DIGEST), digests, [(first, len(digests) // DIGEST)], opened.wire.peer)
    compared: dict[str, Any] = {"cycle": cycle, "at": time.time(), "blocks": total}
    opened.wire.send("compared", volume=opened.position(volume), **compared)
    opened.inbox.receive("noted")
    with opened.job.locked():
        now = source_state(folder)
        folder.save(replace(now, compared=compared, sent=[] if now.sent == before.sent else now.sent))
    return compared


def verify(job: Job, volumes: list[VolumeOnHost], reader: BinaryIO, writer: BinaryIO, peer: str, results: Results) -> None:
    """Read back from disk at both ends and compare: what was sent since the last full compare, or all.

    Appends {"volume", "equal": true, "blocks", "bytes_total", "seconds", "cycle", "source_read"}; the last says whether the source
    was read whole against its digests, which finds what a tracker missed.
    Raises XdrError (``not_equal``) naming volume and block.
    """
    check_sources(job, volumes)
    states = {volume.name: source_state(folder_of(job, volume)) for volume in volumes}
    for volume in volumes if job.extents == "sent" else []:
        if states[volume.name].compared is None:
            raise _no_compare(volume)
    with session.opened(job, volumes, reader, writer, peer, work="verify") as opened, scanning.pool() as workers:
        opened.inbox.receive("ready")
        for volume in volumes:
            results.append(_verify(opened, volume, states[volume.name], workers))


def _verify(opened: Session, volume: VolumeOnHost, state: VolumeState, workers: ThreadPoolExecutor) -> dict[str, Any]:
    began, job = time.monotonic(), opened.job
    fd = open_volume(volume)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, fd)
        size = blocks.size_of(fd)
        everything = job.extents == "all" or len(state.sent) > MAX_RANGES
        wanted = [(0, blocks.count(size))] if everything else blocks.clipped(state.sent, blocks.count(size))
        total = sum(number for _, number in wanted)
        theirs = opened.ask("extents", volume, total, b"" if everything else packed(wanted), size=size, all=everything)
        answer = opened.inbox.receive("extents")
        if answer.number("size") != size:
            raise _differ(volume, f"{answer.number('size')} bytes at the target, {size} at the source", opened.wire.peer)
        if not everything and answer.number("compared") != (state.compared or {}).get("cycle"):
            raise _no_compare(volume)
        blocks.drop_cache(fd)
        done = 0
        for chunk in scanning.scan(fd, size, wanted, function(opened.digest), workers):
            number = len(chunk.digests) // DIGEST
            _equal(volume, theirs.read(done, number), chunk.digests, chunk.parts, opened.wire.peer)
            done += number
            job.progress.bytes(volume.name, min(done, total - 1) * BLOCK, total * BLOCK)
        source_read = not everything and _source_holds(opened, volume, fd, size, workers)
    job.progress.bytes(volume.name, total * BLOCK, total * BLOCK)
    seconds = round(time.monotonic() - began, 3)
    known = {"blocks": total, "bytes_total": size, "seconds": seconds, "cycle": state.cycle}
    return {"volume": volume.name, "equal": True, **known, "source_read": everything or source_read}


def _source_holds(opened: Session, volume: VolumeOnHost, fd: int, size: int, workers: ThreadPoolExecutor) -> bool:
    """Read the source whole against the digests of what was sent, if the job has the time; False where it has not.

    A tracker that missed a write is found here, at the cost of one read at one end.
    """
    own = Manifest.load(opened.folder(volume).manifest)
    if own is None or not opened.job.reads_source(size):
        return False
    with own:
        if own.header.size != size:
            raise _missed(volume, f"it has {size} bytes, {own.header.size} were sent")
        for chunk in scanning.scan(fd, size, [(0, blocks.count(size))], function(own.header.hash), workers):
            for part, digests in chunk.each():
                _first_difference(
                    own.read(*part), digests, [part], lambda index: _missed(volume, f"block {index} was written and not sent")
                )
    return True


def _equal(volume: VolumeOnHost, theirs: bytes, ours: bytes, wanted: Iterable[Range], peer: str) -> None:
    def differs(index: int) -> XdrError:
        return _differ(volume, f"block {index} (byte {index * BLOCK}) differs", peer)

    _first_difference(theirs, ours, wanted, differs)


def _first_difference(one: bytes, other: bytes, of: Iterable[Range], failure: Any) -> None:
    if one == other:
        return
    for position, index in enumerate(blocks.indexes(of)):
        if one[position * DIGEST : (position + 1) * DIGEST] != other[position * DIGEST : (position + 1) * DIGEST]:
            raise failure(index)


def _differ(volume: VolumeOnHost, what: str, peer: str) -> XdrError:
    todo = "Run a cycle with a full compare; look at the disks of both hosts if it happens again"
    return XdrError(f"volume {volume.name} is not equal at both ends: {what}", where=peer, todo=todo, code="not_equal")


def _missed(volume: VolumeOnHost, what: str) -> XdrError:
    return XdrError(
        f"volume {volume.name} is not what was sent: {what}",
        where=str(volume.path),
        todo="Its tracker missed a write: say tracker: scan for it in the plan, and run a cycle with a full compare",
        code="not_equal",
    )


def _no_compare(volume: VolumeOnHost) -> Refused:
    return Refused(
        f"volume {volume.name} has had no full compare since its replication was turned round, so the extents sent prove nothing",
        where=str(volume.path),
        todo="Verify all extents",
        code="no_compare",
    )
