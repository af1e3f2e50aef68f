# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A volume at the target's end of a session: what is there, what is kept of it, what came for it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..errors import XdrError
from . import blocks, identity, lineage, scanning
from .hashes import DIGEST, NULL, function
from .lineage import Lineage
from .manifest import Draft, Header, Manifest
from .overlay import Overlay
from .state import VolumeFolder
from .trackers.interface import Unknown
from .trackers.manifest import kept


@dataclass
class Target:
    """A volume as it was found: size in bytes (None: there is none yet). ``streamed``: the source needs its digests."""

    folder: VolumeFolder
    generation: int
    size: int | None
    cycle: int
    epoch: int
    base: str = ""
    state: str = ""
    streamed: bool = True
    kept: bool = False
    why: str = ""
    identity: identity.Identity | None = None  # of the copy as it was found, where nobody wrote to it since its digests were kept
    resumed: Overlay | None = None  # what the spool of a session that was cut off holds of it

    def __post_init__(self) -> None:
        self.told = threading.Event()  # the source has all digests of it
        self.begin()

    @property
    def name(self) -> str:
        return self.folder.volume.name

    @property
    def path(self) -> Path:
        return self.folder.volume.path

    def begin(self) -> None:
        """A cycle's frames come for it."""
        self.lineage = Lineage(self.state)
        self.new_size = self.size or 0

    def compare_states(self, theirs: str, digest: str, *, rescan: bool) -> None:
        """Choose what the source needs in order to see what differs."""
        found = self._kept(digest, rescan)
        if isinstance(found, Unknown):
            self.why, self.state = found.why, lineage.unheard_of()
        else:
            self.base, self.kept, self.identity = found.header.state, True, found.header.identity
            self.streamed = self.base != theirs or self.resumed is not None
            self.state = lineage.unheard_of() if self.streamed else self.base
            self.why = "" if self.base == theirs else "the source's digests are of another state"
            found.close()
        if self.resumed:
            self.why = self.why or "it goes on where it was cut off"
        self.begin()

    def _kept(self, digest: str, rescan: bool) -> Manifest | Unknown:
        if self.size is None:
            return Unknown("there is no copy yet")
        if rescan:
            return Unknown("the copy is read anew, as was asked")
        return kept(self.folder.manifest, self.path, digest, self.epoch)

    def digests(self, digest: str, workers: ThreadPoolExecutor) -> Generator[tuple[int, bytes], None, None]:
        """Of the copy, with what the spool holds on top of it: first block, digests. A scan is kept for the next time."""
        source = self._kept_digests() if self.kept else self._scan(digest, workers)
        done = 0
        for first, digests in source:
            yield first, self.resumed.on(first, digests) if self.resumed else digests
            done = first + len(digests) // DIGEST
        for first, number in blocks.chunks([(done, self.digests_due - done)] if self.digests_due > done else []):
            yield first, self.resumed.on(first, NULL * number) if self.resumed else NULL * number

    @property
    def digests_due(self) -> int:
        """How many digests are streamed."""
        return max(blocks.count(self.size or 0), self.resumed.stop if self.resumed else 0)

    def _kept_digests(self) -> Iterator[tuple[int, bytes]]:
        found = Manifest.load(self.folder.manifest)
        if found is None:
            raise XdrError("the digests of the volume are gone", where=str(self.folder.path), todo="Run the cycle again")
        with found:
            yield from found.windows()

    def _scan(self, digest: str, workers: ThreadPoolExecutor) -> Iterator[tuple[int, bytes]]:
        if self.size is None:
            return
        size = self.size
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        draft = Draft(self.folder.manifest)
        try:
            before = identity.settled(fd)
            for chunk in scanning.scan(fd, size, [(0, blocks.count(size))] if size else [], function(digest), workers):
                for (first, _), digests in chunk.each():
                    draft.put(first, digests)
                    yield first, digests
            self.base = lineage.unheard_of()
            draft.publish(Header(digest, size, self.cycle, self.base, "", before, self.epoch))
        finally:
            draft.close()
            os.close(fd)

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def check_size(self, size: int) -> None:
        """Raises XdrError for a source of another size, unless this volume may grow."""
        if self.size is not None and self.size != size and not self.folder.volume.grows:
            raise XdrError(
                f"volume {self.name} has {self.size} bytes here and {size} bytes at the source",
                where=str(self.path),
                todo="Make them the same size, or let the volume grow (grows: true)",
                code="size_differs",
            )
