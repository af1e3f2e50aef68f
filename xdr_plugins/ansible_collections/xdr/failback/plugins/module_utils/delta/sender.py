# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A cycle of the volumes that share a peer, at the source."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from .. import parallel
from ..durable import Steps, together
from ..errors import XdrError
from ..record import last_owned
from ..site import VolumeOnHost
from ..transfer import Job
from . import blocks, compare, rates, scanning, session
from .ahead import Ahead
from .begun import Begun
from .beside import Beside
from .blocks import Range
from .lineage import Lineage
from .outgoing import Outgoing
from .pace import Pace
from .packing import Packer
from .reading import Reading
from .scanning import Chunk
from .session import Session
from .sources import check_at_rest, check_roles, source_state
from .state import VolumeFolder, VolumeState
from .unit import Unit, members

COMMIT_EVERY = 64 << 20  # bytes sent after which the target commits what is complete; small units share one commit
_GOING = 16  # units that wait for the target's answers at the same time
MAX_NOTED = 4096  # ranges that are remembered as sent; more are joined, so that more is read back than was sent

Results = list[dict[str, Any]]


def synchronise(job: Job, volumes: list[VolumeOnHost], reader: BinaryIO, writer: BinaryIO, peer: str, results: Results) -> None:
    """One cycle. Appends to ``results`` {"volume", "bytes_sent", "bytes_total", "blocks_changed", "resized", "seconds", "cycle",
    "read_started", "compared", "equal", "method", "why", "crash_consistent", "how", "ratio"} for each volume that was applied, so
    that they are known when a later unit fails.
    """
    check_roles(job, volumes)
    with session.opened(job, volumes, reader, writer, peer, work="sync") as opened, scanning.pool() as workers:
        with Beside(lambda: check_at_rest(job, volumes)):
            cycle = _Cycle(opened, workers)
        with contextlib.closing(cycle):
            began = time.monotonic()
            try:
                cycle.send([list(unit) for _, unit in itertools.groupby(sorted(volumes, key=_unit_of), key=_unit_of)], results)
            except XdrError:
                with contextlib.suppress(XdrError):  # what is complete does not wait for what failed
                    results += cycle.commit()
                raise
            results += cycle.commit()
            rates.learn(job.state_dir, job.plan.plan, replace(cycle.work, total=time.monotonic() - began))


def _unit_of(volume: VolumeOnHost) -> str:
    return volume.unit


@dataclass
class _Sent:
    """A volume that went over and waits for its commit."""

    reading: Reading
    unit: Unit
    began: float
    nbytes: int = 0
    changed: int = 0
    touched: list[Range] = field(default_factory=list)
    ratio: float = 1.0
    lineage: Lineage = field(default_factory=lambda: Lineage(""))
    cycle: int = 0
    state: str = ""
    consistent: bool = False
    how: str = ""

    @property
    def folder(self) -> VolumeFolder:
        return self.reading.folder

    def note(self, chunk: Chunk) -> None:
        ranges = chunk.touched
        self.changed += sum(number for _, number in ranges)
        self.touched[-1:] = blocks.joined(self.touched[-1:], ranges)
        if len(self.touched) > 2 * MAX_NOTED:
            self.touched = blocks.coarse(self.touched, MAX_NOTED)

    def result(self, proof: dict[str, Any] | None) -> dict[str, Any]:
        """``proof``: the full compare that this cycle had."""
        reading, state = self.reading, self.folder.load()
        return {
            "volume": reading.volume.name,
            "bytes_sent": self.nbytes,
            "bytes_total": reading.size,
            "blocks_changed": self.changed,
            "resized": reading.copy.size != reading.size,
            "seconds": round(time.monotonic() - self.began, 3),
            "cycle": self.cycle,
            "read_started": state.read_started,
            "compared": proof or state.compared,
            "equal": True if proof else None,
            "method": reading.method,
            "why": reading.why,
            "crash_consistent": self.consistent,
            "how": self.how,
            "ratio": round(self.ratio, 3),
        }


@dataclass
class _Going:
    """A unit whose volumes go over."""

    begun: Begun
    sent: list[_Sent]
    outgoing: list[Outgoing] = field(default_factory=list)


class _Cycle:
    """Units go over one by one; those that are complete wait for a commit that they share."""

    def __init__(self, opened: Session, workers: ThreadPoolExecutor) -> None:
        self._session, self._job, self._wire, self._workers = opened, opened.job, opened.wire, workers
        self._copies = opened.copies()
        self._pace = Pace(self._job.bandwidth_limit, self._job.bandwidth_hours)
        self.work = rates.Work()
        self._waiting: list[_Sent] = []
        self._readings: list[Reading] = []
        self._begun: list[Begun] = []
        self._mark = secrets.token_hex(6)

    @property
    def _waiting_bytes(self) -> int:
        return sum(sent.nbytes for sent in self._waiting)

    def send(self, units: list[list[VolumeOnHost]], results: Results) -> None:
        """Read and send all units; ``results`` of those that are committed on the way. Raises XdrError with the units before it still
        waiting.
        """
        going: deque[_Going] = deque()
        with contextlib.closing(Ahead(self._begin, self._has_hooks, units)) as ahead:
            while True:
                room = len(going) < _GOING and self._waiting_bytes < COMMIT_EVERY
                begun = ahead.take(wait=not going) if room else None
                if begun:
                    going.append(self._start(begun))
                elif going:
                    self._finish(going[0])
                    ahead.done(going.popleft().begun)
                else:
                    return
                if not going and self._waiting_bytes >= COMMIT_EVERY:
                    results += self.commit()

    def _has_hooks(self, volumes: list[VolumeOnHost]) -> bool:
        return not self._job.final and any(volume.quiesce for volume in volumes)

    def _begin(self, volumes: list[VolumeOnHost]) -> Begun:
        """In a thread, while units before it go over."""
        readings = [self._reading(each) for each in volumes]
        self._readings += readings
        hooks = members(self._job.plan, self._job.state_dir, volumes) if self._has_hooks(volumes) else []
        begun = Begun.begin(Unit(readings, at_rest=self._job.final, members=hooks), self._workers, whole=self._job.compare)
        self._begun.append(begun)
        return begun

    def _reading(self, volume: VolumeOnHost) -> Reading:
        given = self._job.trackers.get(volume.name)
        return Reading(self._session.folder(volume), self._copies[volume.name], self._session.digest, self._mark, given)

    def _start(self, begun: Begun) -> _Going:
        """Of a unit that was read, what can be sent before the target's answers; of others nothing."""
        going = _Going(begun, [_Sent(reading, begun.unit, begun.began) for reading in begun.unit.readings])
        self.work = replace(self.work, reading=self.work.reading + begun.seconds)
        for position, sent in enumerate(going.sent) if begun.read else ():
            self._send_volume(going, position, sent)
        return going

    def _finish(self, going: _Going) -> None:
        for position, sent in enumerate(going.sent):
            if position == len(going.outgoing):
                self._send_volume(going, position, sent)
            self._end_volume(sent, going.outgoing[position])
        self._end_unit(going)
        self._waiting += going.sent
        going.begun.close()

    def _send_volume(self, going: _Going, position: int, sent: _Sent) -> None:
        reading = sent.reading
        expected = going.begun.expected_bytes(position)
        self._wire.send("begin", volume=self._session.position(reading.volume), size=reading.size, expected=expected)
        packer = Packer(self._session.compression, always=self._job.compression not in ("auto", "none"))
        sent.lineage = Lineage(reading.copy.state)
        outgoing = Outgoing(self._session, reading, sent.lineage, packer)
        going.outgoing.append(outgoing)
        done = 0
        with contextlib.closing(going.begun.chunks(position, self._workers)) as chunks:
            for chunk in self._timed(chunks):
                outgoing.send(chunk)
                self._pace.sent(outgoing.nbytes - sent.nbytes)
                sent.nbytes = outgoing.nbytes
                sent.note(chunk)
                done += sum(blocks.nbytes(part, reading.size) for part in chunk.parts)
                self._job.progress.bytes(reading.volume.name, min(done, reading.asked_bytes - 1), reading.asked_bytes)

    def _end_volume(self, sent: _Sent, outgoing: Outgoing) -> None:
        reading, since = sent.reading, time.monotonic()
        outgoing.finish()
        self._pace.sent(outgoing.nbytes - sent.nbytes)
        sent.nbytes = outgoing.nbytes
        self._job.progress.bytes(reading.volume.name, reading.asked_bytes, reading.asked_bytes)
        seconds = self.work.sending + time.monotonic() - since
        self.work = replace(self.work, read=self.work.read + reading.asked_bytes, sent=self.work.sent + sent.nbytes, sending=seconds)
        sent.ratio = outgoing.ratio
        sent.cycle = max(reading.copy.cycle, sent.folder.load().cycle) + 1

    def _timed(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Note what goes into reading, and what into sending."""
        while True:
            began = time.monotonic()
            chunk = next(chunks, None)
            read_at = time.monotonic()
            self.work = replace(self.work, reading=self.work.reading + read_at - began)
            if chunk is None:
                return
            yield chunk
            self.work = replace(self.work, sending=self.work.sending + time.monotonic() - read_at)

    def _end_unit(self, going: _Going) -> None:
        consistent, how = going.begun.told()
        cycle = max(each.cycle for each in going.sent)
        items = []
        for each in going.sent:
            each.cycle, each.consistent, each.how = cycle, consistent, how
            each.state = each.lineage.state(each.reading.size, cycle)
            items.append({"volume": self._session.position(each.reading.volume), "size": each.reading.size, "state": each.state})
        self._wire.send("unit", volumes=items, cycle=cycle, read_started=going.begun.unit.read_started, consistent=consistent, how=how)

    def commit(self) -> Results:
        """Let the target apply what is complete, all of it or nothing."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return []
        began = time.monotonic()
        self._remember(waiting)
        self._wire.send("commit")
        applied = self._session.inbox.receive("applied").seconds("applied_at")
        with self._job.locked() as holding:
            epoch = last_owned(holding.record)
            newer = [(sent, state) for sent in waiting if sent.cycle > (state := source_state(sent.folder)).cycle]
            together(steps for sent, state in newer for steps in _confirming(sent, state, applied, epoch))
            parallel.each(lambda each: each[0].reading.keep_mark(), newer)
        self.work = replace(self.work, applying=self.work.applying + time.monotonic() - began)
        return [self._result(sent) for sent in waiting]

    def _remember(self, waiting: list[_Sent]) -> None:
        """Before the target can have applied them: a block that was sent but not noted would escape the proof."""
        with self._job.locked():
            together(filter(None, map(_noting, waiting)))

    def _result(self, sent: _Sent) -> dict[str, Any]:
        return sent.result(compare.whole(self._session, sent.reading.volume, sent.cycle, sent.state) if self._job.compare else None)

    def close(self) -> None:
        for begun in self._begun:
            begun.close()
        for reading in self._readings:
            reading.close()


def _noting(sent: _Sent) -> Steps[None] | None:
    state = source_state(sent.folder)
    noted = blocks.coarse(blocks.joined(state.sent, sent.touched), MAX_NOTED)
    return sent.folder.saving(replace(state, sent=noted)) if noted != state.sent else None


def _confirming(sent: _Sent, state: VolumeState, applied: float, epoch: int) -> list[Steps[None]]:
    started = sent.unit.read_started if sent.consistent else state.read_started
    known: dict[str, Any] = {"cycle": sent.cycle, "confirmed": sent.cycle, "applied_at": applied, "read_started": started}
    if sent.reading.copy.uncompared:
        known |= {"compared": None, "sent": []}
    fresh = replace(state, **known, consistent=sent.consistent, how=sent.how)
    return [sent.reading.confirming(sent.cycle, sent.state, epoch), sent.folder.saving(fresh)]
