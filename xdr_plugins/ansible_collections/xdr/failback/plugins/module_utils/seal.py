# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The seal of a witness's record: what its file has and no copy of it can, so that one that comes from a backup is noticed.

A file that is put back by tar, rsync or cp is another inode, or the same number born at another time. A reboot changes neither.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from pathlib import Path
from typing import Any

from .durable import parsed, replacing, together

RESTORED = "restored: its record is a copy from a backup and may tell an old epoch"
_BIRTH = 0x800  # STATX_BTIME
_THIS_FILE = 0x1000  # AT_EMPTY_PATH

Seal = dict[str, int]


def of(fd: int) -> Seal:
    """{"inode"} and, where the file system knows it, {"born"} in nanoseconds since 1970. Both outlive a rename."""
    born = _born(fd)
    return {"inode": os.fstat(fd).st_ino, **({} if born is None else {"born": born})}


def write(path: Path, document: dict[str, Any]) -> None:
    """Replace ``path`` durably by the document and the seal of the very file that will be there."""
    together([replacing(path, lambda stream: {**document, "seal": of(stream.fileno())})])


def read(path: Path) -> tuple[Any, bool]:
    """The document (None where there is no file), and whether its seal is broken. One without a seal is of an older version: whole.

    Raises XdrError for a file that is not JSON.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            document, here = parsed(stream.read(), path), of(stream.fileno())
    except FileNotFoundError:
        return None, False
    return document, isinstance(document, dict) and not _is(document.get("seal") or {}, here)


def _is(seal: Seal, here: Seal) -> bool:
    """What only one of them tells decides nothing: a new kernel may tell more."""
    return all(here.get(name, value) == value for name, value in seal.items())


@functools.cache
def _statx() -> Any:
    return getattr(ctypes.CDLL(None, use_errno=True), "statx", None)


def _born(fd: int) -> int | None:
    """When the file was made: no call can set that. None where the system or its file system does not tell."""
    answer = ctypes.create_string_buffer(256)
    call = _statx()
    if call is None or call(fd, b"", _THIS_FILE, _BIRTH, answer):
        return None
    (mask,) = struct.unpack_from("=I", answer)
    seconds, nanoseconds = struct.unpack_from("=qI", answer, 80)
    return int(seconds * 1_000_000_000 + nanoseconds) if mask & _BIRTH else None
