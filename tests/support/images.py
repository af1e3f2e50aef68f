# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A raw image to be tracked, and what the reflink tracker keeps of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.interface import Tracker

from tests.support.filesystems import Disk
from tests.support.strokes import play

SIZE = 64 * BLOCK
FULL = SIZE // 2  # the first half holds data, the second is a hole


@contextmanager
def image(disk: Disk) -> Iterator[Path]:
    """Alone in a folder of its own."""
    with tempfile.TemporaryDirectory(dir=disk.point) as folder:
        yield made(Path(folder, "orders.img"))


def made(path: Path) -> Path:
    play(path, [("write", 0, FULL, 7), ("truncate", SIZE, 0, 0)])
    return path


def clones(volume: Path) -> Path:
    return volume.with_name(f".{volume.name}.xdr")


def content(tracker: Tracker) -> bytes:
    """The volume at the newest mark."""
    fd = tracker.reader()
    assert fd is not None
    with os.fdopen(fd, "rb") as stream:
        return stream.read()
