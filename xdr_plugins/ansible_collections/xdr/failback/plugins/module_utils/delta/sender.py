# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A cycle of the volumes that share a peer, at the source."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import tempfile
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from .. import parallel
from ..errors import XdrError
from ..record import last_owned
from ..site import VolumeOnHost
from ..transfer import Job
from . import blocks, compare, rates, scanning, session
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
from .spool import Spool
from .state import VolumeFolder
from .unit import Unit, members

COMMIT_EVERY = 64 << 20  # bytes sent after which the target commits what is complete; small units share one commit
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
                for _, unit in itertools.groupby(sorted(volumes, key=_unit_of), key=_unit_of):
                    cycle.send(list(unit))
                    if cycle.waiting_bytes >= COMMIT_EVERY:
                        results += cycle.commit()
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

    def result(self, compared: dict[str, Any] | None, equal: bool | None) -> dict[str, Any]:
        reading = self.reading
        return {
            "volume": reading.volume.name,
            "bytes_sent": self.nbytes,
            "bytes_total": reading.size,
            "blocks_changed": self.changed,
            "resized": reading.copy.size != reading.size,
            "seconds": round(time.monotonic() - self.began, 3),
            "cycle": self.cycle,
            "read_started": self.folder.load().read_started,
            "compared": compared,
            "equal": equal,
            "method": reading.method,
            "why": reading.why,
            "crash_consistent": self.consistent,
            "how": self.how,
            "ratio": round(self.ratio, 3),
        }


class _Cycle:
    """Units go over one by one; those that are complete wait for a commit that they share."""

    def __init__(self, opened: Session, workers: ThreadPoolExecutor) -> None:
        self._session, self._job, self._wire, self._workers = opened, opened.job, opened.wire, workers
        self._copies = opened.copies()
        self._pace = Pace(self._job.bandwidth_limit, self._job.bandwidth_hours)
        self.work = rates.Work()
        self._waiting: list[_Sent] = []
        self._readings: list[Reading] = []
        self._held: list[_Held] = []
        self._mark = secrets.token_hex(6)

    @property
    def waiting_bytes(self) -> int:
        return sum(sent.nbytes for sent in self._waiting)

    def send(self, volumes: list[VolumeOnHost]) -> None:
        """Read and send a unit. Raises XdrError with the units before it still waiting."""
        began = time.monotonic()
        readings = [self._reading(each) for each in volumes]
        self._readings += readings
        hooks = [] if self._job.final else members(self._job.plan, self._job.state_dir, volumes)
        unit = Unit(readings, at_rest=self._job.final, members=hooks)
        with unit.frozen(whole=self._job.compare):
            held = [self._hold(reading) for reading in readings] if unit.held else []
        sent = [_Sent(reading, unit, began) for reading in readings]
        for position, each in enumerate(sent):
            chunks = held[position].chunks() if held else each.reading.chunks(self._workers)
            self._send_volume(each, chunks, held[position].nbytes if held else each.reading.expected_bytes)
        self._end_unit(unit, sent)
        self._waiting += sent

    def _hold(self, reading: Reading) -> _Held:
        held = _Held(reading)
        self._held.append(held)
        held.fill(self._workers)
        return held

    def _reading(self, volume: VolumeOnHost) -> Reading:
        given = self._job.trackers.get(volume.name)
        return Reading(self._session.folder(volume), self._copies[volume.name], self._session.digest, self._mark, given)

    def _send_volume(self, sent: _Sent, chunks: Generator[Chunk, None, None], expected: int) -> None:
        reading, wire = sent.reading, self._wire
        position = self._session.position(reading.volume)
        wire.send("begin", volume=position, size=reading.size, expected=expected)
        lineage = Lineage(reading.copy.state)
        packer = Packer(self._session.compression, always=self._job.compression not in ("auto", "none"))
        outgoing = Outgoing(self._session, reading, lineage, packer)
        done = 0
        with contextlib.closing(chunks):
            for chunk in self._timed(chunks):
                outgoing.send(chunk)
                self._pace.sent(outgoing.nbytes - sent.nbytes)
                sent.nbytes = outgoing.nbytes
                sent.note(chunk)
                done += sum(blocks.nbytes(part, reading.size) for part in chunk.parts)
                self._job.progress.bytes(reading.volume.name, min(done, reading.asked_bytes - 1), reading.asked_bytes)
            sent.nbytes = outgoing.finish()
        self._job.progress.bytes(reading.volume.name, reading.asked_bytes, reading.asked_bytes)
        self.work = replace(self.work, read=self.work.read + reading.asked_bytes, sent=self.work.sent + sent.nbytes)
        sent.ratio = packer.ratio
        sent.cycle = max(reading.copy.cycle, sent.folder.load().cycle) + 1
        sent.lineage = lineage

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

    def _end_unit(self, unit: Unit, sent: list[_Sent]) -> None:
        consistent, how = unit.verdict()
        cycle = max(each.cycle for each in sent)
        items = []
        for each in sent:
            each.cycle, each.consistent, each.how = cycle, consistent, how
            each.state = each.lineage.state(each.reading.size, cycle)
            items.append({"volume": self._session.position(each.reading.volume), "size": each.reading.size, "state": each.state})
        self._wire.send("unit", volumes=items, cycle=cycle, read_started=unit.read_started, consistent=consistent, how=how)

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
            parallel.each(lambda sent: _confirm(sent, applied, epoch), waiting)
        self.work = replace(self.work, applying=self.work.applying + time.monotonic() - began)
        return [self._result(sent) for sent in waiting]

    def _remember(self, waiting: list[_Sent]) -> None:
        """Before the target can have applied them: a block that was sent but not noted would escape the proof."""
        with self._job.locked():
            parallel.each(_note, [sent for sent in waiting if sent.touched])

    def _result(self, sent: _Sent) -> dict[str, Any]:
        if not self._job.compare:
            return sent.result(sent.folder.load().compared, None)
        return sent.result(compare.whole(self._session, sent.reading.volume, sent.cycle, sent.state), True)

    def close(self) -> None:
        for held in self._held:
            held.close()
        for reading in self._readings:
            reading.close()


class _Held:
    """What was read of a volume while its services were held, in a file without a name."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._file = tempfile.TemporaryFile(dir=reading.folder.path)  # noqa: SIM115 - closed with the cycle
        self._spool = Spool.unnamed(self._file.fileno())
        self.nbytes = 0  # of blocks

    def fill(self, workers: ThreadPoolExecutor) -> None:
        """Read the volume; while this goes on its services wait."""
        for chunk in self._reading.chunks(workers):
            self._spool.add(0, [(run, digests, content) for run, content, digests in chunk.runs], chunk.zeros)
            self.nbytes += sum(len(content) for _, content, _ in chunk.runs)

    def chunks(self) -> Generator[Chunk, None, None]:
        for entry in self._spool.entries():
            if entry.nbytes:
                yield Chunk([entry.run], b"", [(entry.run, os.pread(self._file.fileno(), entry.nbytes, entry.at), entry.digests)])
            else:
                yield Chunk([entry.run], b"", [], [entry.run])

    def close(self) -> None:
        self._file.close()


def _note(sent: _Sent) -> None:
    state = source_state(sent.folder)
    noted = blocks.coarse(blocks.joined(state.sent, sent.touched), MAX_NOTED)
    if noted != state.sent:
        sent.folder.save(replace(state, sent=noted))


def _confirm(sent: _Sent, applied: float, epoch: int) -> None:
    state = source_state(sent.folder)
    if sent.cycle <= state.cycle:
        return
    started = sent.unit.read_started if sent.consistent else state.read_started
    known: dict[str, Any] = {"cycle": sent.cycle, "confirmed": sent.cycle, "applied_at": applied, "read_started": started}
    if sent.reading.copy.uncompared:
        known |= {"compared": None, "sent": []}
    with Beside(lambda: sent.reading.confirmed(sent.cycle, sent.state, epoch)):
        sent.folder.save(replace(state, **known, consistent=sent.consistent, how=sent.how))
