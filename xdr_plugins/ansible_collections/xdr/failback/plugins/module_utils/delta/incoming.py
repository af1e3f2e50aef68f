# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Blocks from the wire into the spool, each checked, all of them proven to make the source's volumes."""

from __future__ import annotations

import zlib

from ..errors import XdrError
from . import blocks
from .blocks import BLOCK, DIGEST
from .spool import Spool
from .wire import MAX_PAYLOAD, Frame, Wire, broken


def receive_blocks(wire: Wire, received: Spool, before: list[bytes], sizes: list[int]) -> list[bytearray]:
    """Spool what comes until the source commits.

    ``before`` are the digests of the volumes as they are. Returns those that they will have; raises XdrError
    (``not_equal``) where these are not the digests of the source's frozen read.
    """
    after = [blocks.resized(digests, size) for digests, size in zip(before, sizes)]
    while True:
        frame = wire.receive("blocks", "zeros", "commit")
        if frame.kind == "commit":
            break
        position = frame.number("volume")
        if position >= len(sizes):
            raise broken("blocks of a volume that is not in this cycle", wire.peer)
        spool = _spool_data if frame.kind == "blocks" else _spool_zeros
        spool(received, position, frame, sizes[position], after[position])
    roots = [item.text("root") for item in frame.items("roots")]
    if roots != [blocks.root(digests, size) for digests, size in zip(after, sizes)]:
        raise XdrError("what arrived does not make the source's volumes", todo="Run the cycle again", code="not_equal")
    return after


def _spool_data(received: Spool, position: int, frame: Frame, size: int, digests: bytearray) -> None:
    number, content = frame.number("blocks"), frame.payload
    if frame.flag("zlib"):
        content = _inflated(content, frame.peer)
    if not 0 < number <= MAX_PAYLOAD // BLOCK or len(content) < number * 8:
        raise broken("blocks without their numbers", frame.peer)
    at = number * 8
    for first in range(0, at, 8):
        index = int.from_bytes(content[first : first + 8], "big")
        if index >= blocks.count(size):
            raise broken("a block outside the volume", frame.peer)
        block = content[at : at + blocks.length(index, size)]
        if len(block) != blocks.length(index, size):
            raise broken("a block is cut", frame.peer)
        received.add(position, index, block)
        digests[index * DIGEST : (index + 1) * DIGEST] = blocks.digest(block)
        at += len(block)


def _inflated(content: bytes, peer: str) -> bytes:
    try:
        return zlib.decompressobj().decompress(content, MAX_PAYLOAD)
    except zlib.error as error:
        raise broken("compressed blocks that are damaged", peer) from error


def _spool_zeros(received: Spool, position: int, frame: Frame, size: int, digests: bytearray) -> None:
    for first, number in frame.ranges(blocks.count(size)):
        received.add_zeros(position, first, number)
        digests[first * DIGEST : (first + number) * DIGEST] = blocks.zero_digest() * number
        if first + number == blocks.count(size):
            digests[-DIGEST:] = blocks.zero_digest(blocks.length(first + number - 1, size))
