# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A unit of a cycle whose volumes are open and marked: read already, where it is small or its services were held for it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from . import blocks
from .reading import Reading
from .scanning import Chunk
from .spool import Spool
from .unit import Unit

SMALL = blocks.CHUNK_BLOCKS * blocks.BLOCK  # bytes up to which a unit is read ahead of its turn


@dataclass
class Begun:
    """``waiting_bytes``: of what was read and waits in memory; None where it is read or sent at its turn. ``seconds`` of reading so far."""

    unit: Unit
    began: float
    held: list[Held] = field(default_factory=list)
    read: list[list[Chunk]] = field(default_factory=list)
    verdict: tuple[bool, str] | None = None
    seconds: float = 0.0

    @classmethod
    def begin(cls, unit: Unit, workers: ThreadPoolExecutor, *, whole: bool) -> Begun:
        """Raises XdrError where a hook fails, or a volume changes its size while it is read."""
        begun = cls(unit, time.monotonic())
        try:
            with unit.frozen(whole=whole):
                for reading in unit.readings if unit.held else []:
                    begun.held.append(Held(reading))
                    begun.held[-1].fill(workers)
            if not unit.held and sum(reading.asked_bytes for reading in unit.readings) <= SMALL:
                since = time.monotonic()
                begun.read = [list(reading.chunks(workers)) for reading in unit.readings]
                begun.seconds = time.monotonic() - since
                begun.verdict = unit.verdict()
        except BaseException:
            begun.close()
            raise
        return begun

    @property
    def waiting_bytes(self) -> int | None:
        return sum(len(content) for each in self.read for chunk in each for _, content, _ in chunk.runs) if self.read else None

    def chunks(self, position: int, workers: ThreadPoolExecutor) -> Generator[Chunk, None, None]:
        """Of one of its volumes."""
        if self.read:
            yield from self.read[position]
        else:
            yield from self.held[position].chunks() if self.held else self.unit.readings[position].chunks(workers)

    def expected_bytes(self, position: int) -> int:
        """What may go over, as far as that is known; else 0."""
        return self.held[position].nbytes if self.held else self.unit.readings[position].expected_bytes

    def told(self) -> tuple[bool, str]:
        """Once all is read: whether it was one point in time, and how that is known."""
        return self.verdict or self.unit.verdict()

    def close(self) -> None:
        self.read = []
        for held in self.held:
            held.close()


class Held:
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
