# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a cycle will overwrite in a volume, kept while the cycle comes in: at the commit only the wait for the disk is left.

A session holds no lock then. So what was kept counts only if at the commit, under the lock, the blocks that are wanted are for the same
recovery point, which has got no others meanwhile, and if nobody has written to the volume since before its first block was read. Else the
commit reads anew what it will overwrite.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from . import blocks, identity, undo
from .blocks import Range
from .identity import Identity
from .state import VolumeFolder
from .trackers.manifest import written
from .undo import RecoveryPoint
from .undo_log import Segment, from_volume

_BEHIND = 4  # frames of blocks that wait; more make the session wait


class Keeping:
    """One volume, of ``size`` bytes, in a session; the thread of ``worker`` does it. ``states``: how many states of cycles are kept.
    ``identity``: a settled look at the volume, where this session has taken one.

    ``begun``: there was something to take.
    """

    def __init__(
        self, folder: VolumeFolder, size: int, *, epoch: int, states: int, worker: ThreadPoolExecutor, identity: Identity | None
    ) -> None:
        self._folder, self._size, self._epoch, self._states, self._worker = folder, size, epoch, states, worker
        self._waiting: deque[Future[None]] = deque()
        self.begun = False
        self._segment: Segment | None = None
        self._identity = identity
        self._aim: tuple[object, ...] = ()

    def take(self, of: Iterable[Range]) -> None:
        """Blocks that will be overwritten. Raises what went wrong with those before (OSError where the disk is full)."""
        self._waiting.append(self._worker.submit(self._keep, of))
        while len(self._waiting) > _BEHIND:
            self._waiting.popleft().result()

    def finish(self) -> None:
        """Until all that was taken is kept."""
        while self._waiting:
            self._waiting.popleft().result()

    def segment(self, point: RecoveryPoint) -> Segment | None:
        """At the commit: what was kept, if it is what ``point`` wants and what the volume had until now."""
        kept = self._segment
        if kept is None or self._identity is None or self._aim != point.aim or not kept.path.exists():
            return None
        return None if written(self._folder.volume.path, self._identity) else kept

    def close(self) -> None:
        """What no point has taken is gone."""
        for future in self._waiting:
            future.cancel()
        for future in self._waiting:
            if not future.cancelled():
                future.exception()
        if self._segment:
            self._segment.close()

    def _keep(self, of: Iterable[Range]) -> None:
        if not self.begun:
            self.begun = True
            self._begin()
        if self._segment is None:
            return
        total = blocks.count(self._size)
        fd = os.open(self._folder.volume.path, os.O_RDONLY | os.O_CLOEXEC)  # for this piece of work only: a commit refuses an open volume
        try:
            for batch in from_volume(fd, self._size, (part for run in of for part in blocks.clipped([run], total))):
                self._segment.add(batch)
        finally:
            os.close(fd)

    def _begin(self) -> None:
        """Nothing is kept where nothing is wanted, or where writes by others would not be noticed."""
        try:
            point = undo.due(self._folder.undo, self._folder.load(), size=self._size, epoch=self._epoch, states=self._states)
            if point is None:
                return
            self._identity = self._identity or self._look()
            if self._identity is not None:
                self._aim, self._segment = point.aim, point.segment()
        except FileNotFoundError:  # another session is at the points just now, so what was kept would not count
            return

    def _look(self) -> Identity | None:
        volume = self._folder.volume.path
        if identity.believed(volume):
            return None
        fd = os.open(volume, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return identity.settled(fd)
        finally:
            os.close(fd)
