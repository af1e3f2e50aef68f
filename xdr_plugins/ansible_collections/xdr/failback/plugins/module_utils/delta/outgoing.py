# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The frames of one volume's blocks: whole, or where both ends have the block, only the pages that differ."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from . import pages
from .blocks import BLOCK
from .hashes import DIGEST
from .lineage import Lineage
from .packing import Packer
from .pages import Worth
from .reading import Reading
from .scanning import Chunk, Run
from .session import Session
from .wire import broken, packed

_FRAME = 16  # blocks: what a cut in the middle of a frame loses
_ASKED_AHEAD = 2  # chunks whose pages the target looks up while others are read; they wait in memory


def frames(runs: list[Run]) -> Iterator[list[Run]]:
    """The same blocks in lists of at most _FRAME of them."""
    some: list[Run] = []
    room = _FRAME
    for (first, number), content, digests in runs:
        at = 0
        while at < number:
            part = min(number - at, room)
            each = content[at * BLOCK : (at + part) * BLOCK], digests[at * DIGEST : (at + part) * DIGEST]
            some.append(((first + at, part), *each))
            at, room = at + part, room - part
            if not room:
                yield some
                some, room = [], _FRAME
    if some:
        yield some


class Outgoing:
    """``nbytes``: what went over so far. The lineage is fed in the order in which the frames are sent."""

    def __init__(self, session: Session, reading: Reading, lineage: Lineage, packer: Packer) -> None:
        self._session, self._reading, self._lineage, self._packer = session, reading, lineage, packer
        self._position = session.position(reading.volume)
        self._whole = min(reading.copy.size or 0, reading.size) // BLOCK  # blocks that both ends have in full
        self._worth = Worth(None if reading.copy.patchable else False, session.probe.blocks)
        self._asked: deque[tuple[Chunk, list[Run], list[Run]]] = deque()
        self._rest: list[Run] | None = None  # None: no first blocks are asked for
        self.nbytes = 0

    def send(self, chunk: Chunk) -> None:
        """Of a volume's first blocks only the question is sent; the rest waits for the next chunk or the end: the answer is there then."""
        self._settle()
        most = {None: self._worth.probe, True: pages.MAX_BLOCKS, False: 0}[self._worth.asking]
        below, above = pages.divided(chunk.runs, self._whole, most)
        if self._worth.asking is None and below:
            self._ask(chunk, below, [])
            self._rest = above
            return
        self._ask(chunk, below, above)
        while self._asked and (len(self._asked) > _ASKED_AHEAD or not self._asked[0][1]):
            self._send_next()

    def _settle(self) -> None:
        """The rest of a chunk goes as its first blocks tell."""
        while self._rest is not None:
            rest, self._rest = self._rest, None
            self._send_asked()
            self.send(Chunk([], b"", rest))

    def _ask(self, chunk: Chunk, below: list[Run], above: list[Run]) -> None:
        if below:
            self.nbytes += self._session.ask_pages(self._position, [run[0] for run in below])
        self._asked.append((chunk, below, above))

    def finish(self) -> int:
        """Send what waits; all bytes of the volume."""
        self._settle()
        self._send_asked()
        self._session.probe.learn(self._worth)
        return self.nbytes

    @property
    def ratio(self) -> float:
        return self._packer.ratio

    def _send_asked(self) -> None:
        while self._asked:
            self._send_next()

    def _send_next(self) -> None:
        chunk, below, above = self._asked.popleft()
        if chunk.zeros:
            for zeros in chunk.zeros:
                self._lineage.zeros(zeros)
            self.nbytes += self._session.wire.send("zeros", packed(chunk.zeros), volume=self._position)
        if below:
            self._send_patches(below)
        if above:
            self._note(above)
            for some in frames(above):
                payload, runs = self._packer.payload(some)
                self.nbytes += self._session.wire.send("blocks", *payload, volume=self._position, runs=runs)
            self._packer.look(self._session.wire.sent, self._session.wire.waited, above)

    def _send_patches(self, runs: list[Run]) -> None:
        theirs = self._session.pages(self._position)
        if len(theirs.payload) != pages.due(runs):
            raise broken("digests of other pages", theirs.peer)
        self._note(runs)
        payload = pages.patch(runs, bytes(theirs.payload), self._reading.function, self._worth)
        number = sum(run[0][1] for run in runs)
        self.nbytes += self._session.wire.send("patches", *payload, volume=self._position, blocks=number)

    def _note(self, runs: list[Run]) -> None:
        for run, _, digests in runs:
            self._lineage.data(run, digests)
