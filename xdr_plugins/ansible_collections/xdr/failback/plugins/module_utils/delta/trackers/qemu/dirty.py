# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The dirty extents of a bitmap, read over NBD with libnbd (metadata context ``qemu:dirty-bitmap:<name>``)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ....errors import NotReached, XdrError
from ....waiting import Deadline

Extent = tuple[int, int]  # offset, number of bytes

PACKAGE = "python3-libnbd"
ANSWERS_WITHIN = 30.0  # seconds for the greeting and for each part of the list
_PART = 1 << 31  # bytes asked about at once; the protocol ends at 4 GiB
_DIRTY = 1  # flag of an extent


def missing() -> str | None:
    """A sentence where libnbd's Python binding is not installed."""
    if importlib.util.find_spec("nbd"):
        return None
    return f"the list of dirty extents needs libnbd's Python binding, which this host's Python lacks: install Debian's package {PACKAGE}"


def dirty_extents(server: Path, export: str, bitmap: str) -> list[Extent]:
    """Sorted extents of an export that are set in one of its bitmaps. ``server``: the NBD server's unix socket."""
    import nbd

    context = f"qemu:dirty-bitmap:{bitmap}"
    found: list[Extent] = []
    try:
        handle = nbd.NBD()
        handle.set_export_name(export)
        handle.add_meta_context(context)
        handle.aio_connect_unix(str(server))
        _wait(handle, lambda: not handle.aio_is_connecting(), server)
        if not handle.can_meta_context(context):
            raise XdrError(f"the NBD export {export} does not offer the bitmap {bitmap}", where=str(server))
        size, at = handle.get_size(), 0
        while at < size:
            at = _part(handle, at, min(size - at, _PART), found, server)
    except nbd.Error as error:
        raise NotReached(f"the NBD server broke off ({error.string})", where=str(server), todo="Run the cycle again") from error
    return found


def _part(handle: Any, at: int, nbytes: int, found: list[Extent], server: Path) -> int:
    """Appends the dirty extents from ``at`` on; returns where the answer ended, which may be earlier than asked for."""
    end = at

    def extent(_context: str, offset: int, entries: list[int], _error: Any) -> int:
        nonlocal end
        for length, flags in zip(entries[::2], entries[1::2]):
            if flags & _DIRTY:
                found.append((offset, length))
            offset += length
        end = offset
        return 0

    cookie = handle.aio_block_status(nbytes, at, extent)
    _wait(handle, lambda: bool(handle.aio_command_completed(cookie)), server)
    if end <= at:
        raise NotReached("the NBD server left out a part of the bitmap", where=str(server), todo="Run the cycle again")
    return end


def _wait(handle: Any, done: Callable[[], bool], server: Path) -> None:
    limit = Deadline(ANSWERS_WITHIN)
    while not done():
        if not limit.left:
            raise NotReached(f"the NBD server did not answer within {limit.seconds:g} s", where=str(server), todo="Run the cycle again")
        handle.poll(int(limit.left * 1000) + 1)
