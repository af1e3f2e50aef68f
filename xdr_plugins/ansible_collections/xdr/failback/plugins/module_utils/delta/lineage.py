# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The name of a volume's state: derived at both ends from the state before and from what a cycle changed.

Where the names are the same, the same blocks were changed in the same way on top of the same content: so source and target
need not send each other the digests of a whole volume to know that they mean the same.
"""

from __future__ import annotations

import hashlib
import secrets
import struct

from .blocks import Range
from .hashes import DIGEST

_RANGE = struct.Struct(">QQ")


def unheard_of() -> str:
    """A new state that nothing was derived from."""
    return secrets.token_hex(16)


class Lineage:
    """Fed with each frame of a cycle, in the order in which they go over."""

    def __init__(self, state: str) -> None:
        self._hash = hashlib.sha256(state.encode())

    def data(self, run: Range, digests: bytes) -> None:
        """Block by block: packing may divide a run."""
        for position in range(run[1]):
            self._hash.update(b"D" + _RANGE.pack(run[0] + position, 1) + digests[position * DIGEST : (position + 1) * DIGEST])

    def zeros(self, run: Range) -> None:
        self._hash.update(b"Z" + _RANGE.pack(*run))

    def state(self, size: int, cycle: int) -> str:
        """The state after the cycle, of a volume of ``size`` bytes."""
        final = self._hash.copy()
        final.update(b"E" + _RANGE.pack(size, cycle))
        return final.hexdigest()
