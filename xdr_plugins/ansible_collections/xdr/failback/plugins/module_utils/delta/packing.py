# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Blocks on the wire: runs of them in a frame, packed one by one where that pays."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Callable

from .. import accelerators
from ..errors import XdrError
from . import blocks
from .blocks import BLOCK, CHUNK_BLOCKS, Content, Range
from .scanning import Run
from .wire import Frame, broken

_RUN = struct.Struct(">QII")  # first block, number of blocks, bytes as they are stored in the frame
_TRY_AFTER = 8 << 20  # bytes from one look at the link's speed to the next
_WORTH = 1.3  # how much faster packing must make the whole

Compress = Callable[[bytes], bytes]


def available() -> list[str]:
    """What this host can unpack, the best first."""
    return [name for name in ("zstd", "zlib") if name == "zlib" or accelerators.load("zstandard")]


def agreed(wanted: str, theirs: Sequence[str]) -> str:
    """The name to pack with, empty for none; ``wanted`` is none, auto, zlib or zstd."""
    both = [name for name in available() if name in theirs]
    if wanted in ("none", ""):
        return ""
    if wanted != "auto" and wanted not in both:
        todo = "Apply the role site_accelerators to both hosts, or say compression: auto"
        raise XdrError(f"compression {wanted} is not there at both ends", todo=todo, code="no_compression")
    return (both[0] if both else "") if wanted == "auto" else wanted


def _compress(name: str) -> Compress:
    if name == "zstd" and (library := accelerators.load("zstandard")):
        compressor: Compress = library.ZstdCompressor(level=1).compress
        return compressor
    return lambda content: zlib.compress(content, 1)


class Packer:
    """Makes the payload of frames. With ``always`` each block is packed; else only while the link is the slower part, that is
    while packing would bring a block over sooner, as measured on the blocks that go over.
    """

    def __init__(self, name: str, *, always: bool) -> None:
        self.name, self._always = name, always
        self._compress = _compress(name) if name else None
        self.raw = self.stored = 0  # bytes of blocks, before and after
        self._packing = always and bool(name)
        self._since = self._since_bytes = 0.0

    def payload(self, runs: list[Run]) -> tuple[list[Content], int]:
        """The parts of a frame's payload, and the number of runs in them."""
        packed = [piece for run in runs for piece in self._pieces(run)]
        self.raw += sum(len(run[1]) for run in runs)
        self.stored += sum(len(content) for _, content in packed)
        head = b"".join(_RUN.pack(*run, len(content)) for run, content in packed)
        return [head, *(content for _, content in packed)], len(packed)

    def _pieces(self, run: Run) -> Iterator[tuple[Range, Content]]:
        (first, number), content, _ = run
        if not self._packing or not self._compress:
            yield run[0], content
            return
        view = memoryview(content)
        for index in range(number):
            block = bytes(view[index * BLOCK : (index + 1) * BLOCK])
            small = self._compress(block)
            yield (first + index, 1), small if len(small) < len(block) else block

    def look(self, sent: int, seconds: float, sample: list[Run]) -> None:
        """Decide anew: ``sent`` bytes took ``seconds`` in writes to the link; ``sample`` went over last."""
        if self._always or not self._compress or sent - self._since_bytes < _TRY_AFTER or not sample:
            return
        link = (sent - self._since_bytes) / max(seconds - self._since, 1e-6)
        self._since, self._since_bytes = seconds, sent
        block = sample[0][1][:BLOCK]
        began = time.perf_counter()
        ratio = len(self._compress(block)) / len(block)
        packing = len(block) / max(time.perf_counter() - began, 1e-9)
        if not self._packing or ratio < 1:
            self._packing = min(packing, link / ratio) > link * _WORTH

    @property
    def ratio(self) -> float:
        """Bytes that went over for each byte of blocks; 1.0 where nothing was packed."""
        return self.stored / self.raw if self.raw else 1.0


def unpacked(frame: Frame, size: int, name: str) -> Iterator[tuple[Range, Content]]:
    """The runs of a frame for a volume of ``size`` bytes. Raises XdrError for anything that is not exactly such runs."""
    number = frame.number("runs")
    payload = memoryview(frame.payload)
    at = number * _RUN.size
    if not 0 < number <= CHUNK_BLOCKS or at > len(payload):
        raise broken("blocks without their numbers", frame.peer)
    total = blocks.count(size)
    left = CHUNK_BLOCKS
    for first, some, stored in _RUN.iter_unpack(payload[:at]):
        left -= some
        if not some or left < 0 or first + some > total or at + stored > len(payload):
            raise broken("blocks outside the volume", frame.peer)
        nbytes = blocks.nbytes((first, some), size)
        content = payload[at : at + stored]
        at += stored
        yield (first, some), content if stored == nbytes else _inflated(content, nbytes, name, frame.peer)
    if at != len(payload):
        raise broken("more than blocks", frame.peer)


def _inflated(content: Content, nbytes: int, name: str, peer: str) -> bytes:
    """What was packed, of exactly this length: never more is made than is due."""
    try:
        found = _decompress(content, nbytes, name)
    except Exception as error:  # each library has errors of its own
        raise broken("packed blocks that are damaged", peer) from error
    if len(found) != nbytes:
        raise broken("a block is cut", peer)
    return found


def _decompress(content: Content, nbytes: int, name: str) -> bytes:
    if name == "zstd":
        library: Any = accelerators.load("zstandard")
        with library.ZstdDecompressor(max_window_size=1 << 20).stream_reader(content) as stream:
            return bytes(stream.read(nbytes + 1))
    if name == "zlib":
        return zlib.decompressobj().decompress(content, nbytes + 1)
    raise ValueError("nothing was agreed on")
