# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The digest of a block. Both ends agree on the fastest that both have; a kept digest is only compared with one of its own kind."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Callable, Union

from .. import accelerators
from ..errors import XdrError

DIGEST = 32  # bytes
NULL = bytes(DIGEST)  # stands for a block of zeros of any length: nothing is hashed, and kept digests of holes are holes
Block = Union[bytes, bytearray, memoryview]
Hash = Callable[[Block], bytes]

_PREFERRED = ("blake3", "sha256")


def available() -> list[str]:
    """The algorithms of this host, the fastest first."""
    return [name for name in _PREFERRED if name == "sha256" or accelerators.load(name)]


def agreed(theirs: Sequence[str]) -> str:
    """The fastest algorithm of both ends. Raises XdrError where there is none."""
    for name in available():
        if name in theirs:
            return name
    raise XdrError("the ends have no digest in common", todo="Install the same agent on both hosts (role site_agent)", code="protocol")


def function(name: str) -> Hash:
    """Raises XdrError for an algorithm that this host does not have (any more)."""
    if name == "blake3" and (library := accelerators.load("blake3")):
        blake3 = library.blake3
        return lambda block: blake3(block).digest()
    if name == "sha256":
        return lambda block: hashlib.sha256(block).digest()
    raise XdrError(f"this host cannot make {name} digests", todo="Apply the role site_accelerators to it", code="no_digest")
