# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""How a cycle reads one volume at the source: which blocks, from what, and what it then knows of them."""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ..durable import Steps
from ..errors import XdrError
from ..site import VolumeOnHost
from . import blocks, identity, manifest, trackers
from .blocks import Range
from .hashes import DIGEST, Hash, function
from .inbox import Digests
from .manifest import Draft, Header, Manifest
from .scanning import Chunk, Known, scan
from .state import VolumeFolder
from .trackers import moment
from .trackers.interface import Joint, Tracker, Unknown

_PART = struct.Struct(">QI")
_FEW = 64 << 10  # bytes


@dataclass
class Copy:
    """What the target said of its copy: size in bytes (None: there is none), newest cycle.

    ``base``: the state of the digests that it keeps. ``state``: what both ends derive the next state from; with blocks in
    its spool that is another one. ``agreed``: the source's own digests are those of the copy. Else ``digests`` are on their
    way, ``kept`` or made by a scan; ``why`` says why.
    """

    size: int | None
    cycle: int
    state: str
    base: str
    agreed: bool
    kept: bool
    why: str
    digests: Digests
    patchable: bool = False  # what the target has on its disk is what the digests are of
    uncompared: bool = False  # no full compare counts there: it has none yet, or was put back to a recovery point since


@dataclass
class Reading:
    """One volume of a cycle. ``given``: a tracker in place of the plan's. ``method``: unchanged, tracked, digests (the copy's are
    kept, the source is read whole) or scan (both ends are read whole); ``why`` says why it is no better one.
    """

    folder: VolumeFolder
    copy: Copy
    digest: str
    mark: str
    given: Tracker | None = None
    size: int = 0
    method: str = ""
    why: str = ""
    ranges: list[Range] = field(default_factory=list)
    identity: identity.Identity | None = None
    fd: int = -1

    def __post_init__(self) -> None:
        self.tracker = self.given or trackers.chosen(self.volume)
        self._joint = self.tracker if isinstance(self.tracker, Joint) else None
        self._own: Manifest | None = None
        self._noted: _Changes | Draft | None = None
        self._marked = False

    @property
    def volume(self) -> VolumeOnHost:
        return self.folder.volume

    def look(self) -> None:
        self.fd = open_volume(self.volume)
        self.identity = identity.settled(self.fd)

    def marked(self) -> None:
        self._marked = True

    def begin(self, *, whole: bool) -> None:
        """After ``mark_all``. Choose what is read of the moment of the mark. ``whole``: everything, whatever a tracker says."""
        snapshot = self.tracker.reader()
        if snapshot is not None:
            self._read_from(snapshot)
        self.size = blocks.size_of(self.fd)
        self._own = self._base()
        self._choose(whole)
        everything = self.ranges == self._everything()
        self._noted = Draft(self.folder.manifest) if everything else _Changes(self.folder.path)

    def _base(self) -> Manifest | None:
        """The source's digests of the state that the target's copy is in, but for blocks in its spool."""
        own = Manifest.load(self.folder.manifest)
        if own and own.header.hash == self.digest and own.header.state and own.header.state == self.copy.base:
            return own
        if own:
            own.close()
        return None

    def _everything(self) -> list[Range]:
        return [(0, blocks.count(self.size))] if self.size else []

    def _choose(self, whole: bool) -> None:
        self.ranges = self._everything()
        if whole or self._own is None:
            self.method = "digests" if self.copy.kept else "scan"
            self.why = "the volume is compared whole in this cycle" if whole else self.copy.why
            return
        if self._is_unchanged(self._own.header):
            self.method, self.ranges = "unchanged", []
            return
        changed = self.tracker.changed(self._own.header.mark) if self._own.header.mark else Unknown("no mark of the last cycle")
        if isinstance(changed, Unknown):
            self.method, self.why = "digests", changed.why
            return
        self.method, self.why = "tracked", self.tracker.name
        self.ranges = blocks.clipped(blocks.joined(changed, self._resized(self._own.header.size)), blocks.count(self.size))

    def _is_unchanged(self, header: Header) -> bool:
        now = self.identity
        return now is not None and now == header.identity and not identity.believed(self.volume.path)

    def _resized(self, before: int) -> list[Range]:
        """The blocks that another size makes other ones, the short last one too."""
        if before == self.size:
            return []
        first = max(0, blocks.count(min(before, self.size)) - 1)
        return [(first, blocks.count(self.size) - first)]

    @property
    def known(self) -> Known:
        """The digests of the copy."""
        return self._own.read if self.copy.agreed and self._own else self.copy.digests.read

    @property
    def base_digests(self) -> Known | None:
        """The source's own digests of the state that the copy is in, but for blocks in the target's spool."""
        return self._own.read if self._own else None

    @property
    def function(self) -> Hash:
        return function(self.digest)

    @property
    def asked_bytes(self) -> int:
        return sum(blocks.nbytes(each, self.size) for each in self.ranges)

    @property
    def expected_bytes(self) -> int:
        """What may go over, as far as it is known beforehand; else 0."""
        return self.asked_bytes if self.method == "tracked" else 0

    def chunks(self, workers: ThreadPoolExecutor) -> Generator[Chunk, None, None]:
        """Read, and note the digests."""
        for chunk in self.compared(workers, self.known):
            for (first, _), digests in chunk.each():
                if self._noted:
                    self._noted.put(first, digests)
            yield chunk

    def compared(self, workers: ThreadPoolExecutor, known: Known) -> Generator[Chunk, None, None]:
        """Read, against some digests. Where a snapshot is lost on the way, the rest is read from the volume."""
        done = 0
        while True:
            try:
                for chunk in scan(self.fd, self.size, blocks.behind(self.ranges, done), self.function, workers, known):
                    done += sum(number for _, number in chunk.parts)
                    yield chunk
                return
            except OSError as error:
                if self._joint is None or not self._joint.snapshots:
                    raise
                self._read_from(open_volume(self.volume))
                self._joint.lose(f"it was lost while it was read ({error.strerror}): no room for old content, or its process ended")

    def _read_from(self, fd: int) -> None:
        if self.fd >= 0:
            with contextlib.suppress(OSError):  # a snapshot that is gone says so once more
                os.close(self.fd)
        self.fd = fd

    def release(self) -> None:
        """All is read."""
        if self._joint:
            self._read_from(-1)
            self._joint.release()

    def is_quiet(self) -> bool:
        """Whether nobody wrote to the volume since the reading began."""
        fd = open_volume(self.volume)
        try:
            os.fsync(fd)
            return self.identity is not None and identity.look(fd) == self.identity and not identity.believed(self.volume.path)
        finally:
            os.close(fd)

    def confirming(self, cycle: int, state: str, epoch: int) -> Steps[None]:
        """The target has applied the cycle: what was read is what it has."""
        header = Header(self.digest, self.size, cycle, state, self.mark, self.identity, epoch)
        if isinstance(self._noted, Draft):
            yield from self._noted.publishing(header)
        elif self._noted:
            yield from manifest.updating(self.folder.manifest, self.digest, lambda: header, self._noted)

    def keep_mark(self) -> None:
        """After ``confirming``: the next cycle asks what changed since this one."""
        self.tracker.keep(self.mark)
        self._marked = False

    def close(self) -> None:
        """Without ``confirmed``, as if this cycle had not been."""
        self._read_from(-1)
        if self._marked:
            self.tracker.drop(self.mark)
        if self._noted:
            self._noted.close()
        if self._own:
            self._own.close()


def mark_all(readings: list[Reading]) -> int:
    """Mark this moment, or as few as their trackers can: how many."""
    for reading in readings:
        reading.look()
    moments = moment.mark_all([reading.tracker for reading in readings], readings[0].mark)
    for reading in readings:
        reading.marked()
    return moments


class _Changes:
    """Digests of some blocks, in a file without a name where they are many."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.SpooledTemporaryFile(_FEW, dir=str(folder))  # noqa: SIM115 - open as long as this object

    def put(self, first: int, digests: bytes) -> None:
        self._file.write(_PART.pack(first, len(digests) // DIGEST) + digests)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        self._file.seek(0)
        while head := self._file.read(_PART.size):
            first, number = _PART.unpack(head)
            yield first, self._file.read(number * DIGEST)

    def close(self) -> None:
        self._file.close()


def open_volume(volume: VolumeOnHost) -> int:
    try:
        return os.open(volume.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        todo = "See that the plan's path is right and the volume is mounted"
        raise XdrError(
            f"volume {volume.name} cannot be read ({error.strerror})", where=str(volume.path), todo=todo, code="no_volume"
        ) from error
