# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Blocks of which only some pages of 4 KiB differ: the target tells its pages' digests, and gets the others.

A page's digest is cut to 16 bytes, for it only finds what need not be sent: the block that is put together is then held
against the source's whole digest of it, like every other.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from . import blocks
from .blocks import BLOCK, Content, Range
from .hashes import Hash
from .scanning import Run
from .wire import Frame, broken

PAGE = 4096
PER_BLOCK = BLOCK // PAGE
_DIGEST = 16
_PATCH = struct.Struct(">QH")  # block, one bit for each of its pages that follows, the first page's the lowest
PROBE = 4  # blocks that are asked for before anything is known
_USUAL = 4  # volumes after which it is thought that the next ones are like them
_SURE = 16  # blocks from which their share tells
_WORTH = 0.5  # it is, if less than this part of the pages differs

MAX_BLOCKS = blocks.CHUNK_BLOCKS


def digests(content: Content, digest: Hash) -> bytes:
    """Of the pages of whole blocks."""
    view = memoryview(content)
    return b"".join(digest(view[at : at + PAGE])[:_DIGEST] for at in range(0, len(view), PAGE))


def of_copy(fd: int, asked: list[Range], digest: Hash) -> Iterator[bytes]:
    """The pages' digests of some blocks of the copy."""
    for first, number in asked:
        yield digests(blocks.content(fd, first * BLOCK, number * BLOCK), digest)


def divided(runs: list[Run], whole: int, most: int) -> tuple[list[Run], list[Run]]:
    """At most ``most`` blocks of the runs that lie below block ``whole``, which both ends have in full; and the rest."""
    below: list[Run] = []
    above: list[Run] = []
    for (first, number), content, known in runs:
        cut = min(max(whole - first, 0), number, most)
        most -= cut
        digest = len(known) // number
        if cut:
            below.append(((first, cut), content[: cut * BLOCK], known[: cut * digest]))
        if cut < number:
            above.append(((first + cut, number - cut), content[cut * BLOCK :], known[cut * digest :]))
    return below, above


@dataclass
class Worth:
    """Whether asking for pages is worth it, learnt from the blocks of a volume so far: of a few, not where all of all pages differ.
    ``asking``: None before these, which are ``probe``.
    """

    asking: bool | None = None
    probe: int = PROBE
    tried: int = 0
    differing: int = 0

    def learn(self, number: int, differing: int) -> None:
        self.tried, self.differing = self.tried + number, self.differing + differing
        if self.tried >= self.probe:
            self.asking = self.differing < self.tried * PER_BLOCK * (_WORTH if self.tried >= _SURE else 1)


class Probe:
    """How many blocks of a volume are asked for first: fewer once a few volumes of the session had nothing but whole blocks."""

    def __init__(self) -> None:
        self._whole = 0  # volumes, one after the other

    @property
    def blocks(self) -> int:
        return PROBE if self._whole < _USUAL else 1

    def learn(self, worth: Worth) -> None:
        """From a volume that has gone over."""
        if worth.tried:
            self._whole = self._whole + 1 if worth.asking is False and worth.differing == worth.tried * PER_BLOCK else 0


def patch(runs: list[Run], theirs: bytes, digest: Hash, worth: Worth) -> list[Content]:
    """The payload of a frame ``patches`` for these runs."""
    heads: list[bytes] = []
    bodies: list[Content] = []
    at = 0
    for (first, number), content, _ in runs:
        view = memoryview(content)
        ours = digests(content, digest)
        for position in range(number):
            bits, kept = 0, []
            for page in range(PER_BLOCK):
                place = (position * PER_BLOCK + page) * _DIGEST
                if ours[place : place + _DIGEST] != theirs[at + place : at + place + _DIGEST]:
                    bits |= 1 << page
                    start = position * BLOCK + page * PAGE
                    kept.append(view[start : start + PAGE])
            heads.append(_PATCH.pack(first + position, bits))
            bodies += kept
            worth.learn(1, len(kept))
        at += number * PER_BLOCK * _DIGEST
    return [b"".join(heads), *bodies]


def due(runs: list[Run]) -> int:
    """Bytes of the digests that the target answers with."""
    return sum(run[0][1] for run in runs) * PER_BLOCK * _DIGEST


def patched(frame: Frame, fd: int, whole: int) -> Iterator[tuple[Range, bytes]]:
    """The blocks of a frame ``patches``, put together from the copy and its pages. Raises XdrError for anything else."""
    number, payload = frame.number("blocks"), memoryview(frame.payload)
    at = number * _PATCH.size
    if not 0 < number <= MAX_BLOCKS or at > len(payload):
        raise broken("pages without their numbers", frame.peer)
    for index, bits in _PATCH.iter_unpack(payload[:at]):
        if index >= whole:
            raise broken("pages outside the volume", frame.peer)
        content = bytearray(blocks.content(fd, index * BLOCK, BLOCK))
        for page in range(PER_BLOCK):
            if bits & 1 << page:
                if at + PAGE > len(payload):
                    raise broken("a page is cut", frame.peer)
                content[page * PAGE : (page + 1) * PAGE] = payload[at : at + PAGE]
                at += PAGE
        yield (index, 1), bytes(content)
    if at != len(payload):
        raise broken("more than pages", frame.peer)
