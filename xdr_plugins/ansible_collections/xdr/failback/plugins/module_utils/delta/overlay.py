# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Digests of blocks that came for a volume and are not applied yet, over those of the volume itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .blocks import write
from .hashes import DIGEST, NULL
from .spool import Entry


class Overlay:
    """In a file without a name, with one bit of memory for each block. ``stop`` is the block behind the last one."""

    def __init__(self, folder: Path, entries: Iterable[Entry]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - open as long as this object
        self._bits = bytearray()
        self.stop = 0
        for entry in entries:
            self._put(entry)

    def _put(self, entry: Entry) -> None:
        first, number = entry.run
        self.stop = max(self.stop, first + number)
        self._bits.extend(bytes(max(0, self.stop // 8 + 1 - len(self._bits))))
        for index in range(first, first + number):
            self._bits[index >> 3] |= 1 << (index & 7)
        write(self._file.fileno(), first * DIGEST, entry.digests or NULL * number)

    def on(self, first: int, digests: bytes) -> bytes:
        """These digests, with the newer ones in their places."""
        stop = min(first + len(digests) // DIGEST, self.stop)
        if stop <= first or not any(self._bits[first >> 3 : (stop >> 3) + 1]):
            return digests
        found = bytearray(digests)
        newer = os.pread(self._file.fileno(), (stop - first) * DIGEST, first * DIGEST)
        for index in range(first, stop):
            if self._bits[index >> 3] & 1 << (index & 7):
                at = (index - first) * DIGEST
                found[at : at + DIGEST] = newer[at : at + DIGEST]
        return bytes(found)

    def close(self) -> None:
        self._file.close()
