# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What the target reads back from its disk for a proof."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor

from ..errors import XdrError
from . import blocks, scanning
from .blocks import Range
from .hashes import DIGEST, function
from .target import Target
from .wire import Frame, Wire, broken


class Proofs:
    """Answers of a session to the frames ``compare`` and ``extents``."""

    def __init__(self, wire: Wire, targets: list[Target], digest: str, workers: ThreadPoolExecutor) -> None:
        self._wire, self._targets, self._digest, self._workers = wire, targets, function(digest), workers

    def compare(self, frame: Frame) -> None:
        """The whole volume."""
        position, target = self._named(frame)
        size = blocks.size_at(target.path) or 0
        self._send(position, target, size, [(0, blocks.count(size))] if size else [])

    def extents(self, frame: Frame) -> None:
        """Some extents, or all; with what this end knows of them."""
        position, target = self._named(frame)
        size = blocks.size_at(target.path)
        if size is None:
            raise XdrError(f"volume {target.name} is missing", where=str(target.path), todo="Run a cycle first", code="no_volume")
        everything = [(0, blocks.count(size))] if size else []
        wanted = everything if frame.flag("all") else frame.ranges(blocks.count(max(size, frame.number("size"))))
        state = target.folder.load()
        self._wire.send("extents", size=size, cycle=state.cycle, compared=(state.compared or {}).get("cycle", 0))
        if size == frame.number("size"):
            self._send(position, target, size, wanted)

    def _named(self, frame: Frame) -> tuple[int, Target]:
        position = frame.number("volume")
        if position >= len(self._targets):
            raise broken("a volume that was not announced", self._wire.peer)
        return position, self._targets[position]

    def _send(self, position: int, target: Target, size: int, of: list[Range]) -> None:
        fd = os.open(target.path, os.O_RDONLY | os.O_CLOEXEC)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, fd)
            stack.enter_context(self._wire.working())
            blocks.drop_cache(fd)
            done = 0
            for chunk in scanning.scan(fd, size, of, self._digest, self._workers):
                self._wire.send("digests", chunk.digests, volume=position, first=done)
                done += len(chunk.digests) // DIGEST
