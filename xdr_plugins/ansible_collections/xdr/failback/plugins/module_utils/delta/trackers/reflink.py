# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Changed blocks of a raw image on XFS or btrfs: a mark is a clone of the volume, and clones share places on the disk.

Why equal places prove equal content: both clones exist and nobody writes to them, so what they hold now is what the volume
held at their marks. Where both have a byte at one place of the disk, it is one byte. The older clone has held that place since
its mark, so the file system cannot have given it to anything else. The volume itself is not asked: what was written to it
after the newest mark does not matter, and what was in its cache before a mark was written out by the clone. Distances of
places are compared byte by byte, so an extent that is shared in part, or from its middle on, is no special case.

What is answered where places prove nothing:

- Two places, or a hole on one side: changed. (The content may be equal: written again, or moved by a defragmentation.)
- A hole or UNWRITTEN (fallocate: btrfs clones it with its place, XFS as a hole) on both sides: unchanged, both read as zeros
  wherever they lie. No cache can be newer than a clone's extents, for nobody writes to it.
- ENCODED (btrfs, compressed): changed. The kernel tells the start of the compressed extent plus the offset in its *unpacked*
  data, so two extents can have one such "place". Compressed blocks are thus read by each cycle, as a scan would.
- DATA_INLINE, NOT_ALIGNED, DATA_TAIL (small files among btrfs's metadata), UNKNOWN, DELALLOC (not yet on the disk),
  DATA_ENCRYPTED, MERGED and every flag that is yet to come: changed, the place is none or may not be one.
- SHARED and LAST say nothing of the place and are not looked at.
- Another size: the block with the shorter end, and all behind it, changed.

A place has one meaning: btrfs tells logical addresses over all its devices; XFS counts on one of two devices, and both clones
must lie on the same. Others may clone and yet tell no places (SMB tells the offset in the file again), so they are refused
by name. A shared block is not overwritten in place in a file with NO_COW (btrfs's nodatacow) either. XFS's reserves (space
beyond the end, or for copies on write) belong to the volume, never to a clone.

Balancing (btrfs), defragmentation and xfs_fsr move a clone's data without writing to it. An old place taken over by the newer
clone just between two looks could seem equal: so the older clone is looked at before and after, and must not have moved.

Sources: Documentation/filesystems/fiemap.rst, ioctl_ficlonerange(2), and the kernel's fs/btrfs/fiemap.c, fs/xfs/xfs_reflink.c.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ...errors import XdrError
from ..blocks import BLOCK
from . import extents
from .clones import Clones, descriptor
from .interface import Changed, Unknown


def available(volume_path: Path) -> str:
    """Empty where the volume can be tracked, else why not, as words to follow "reflink: ".

    Tried with the volume's first block and a file without a name, of which nothing is left behind.
    """
    volume = Path(os.path.realpath(volume_path))
    try:
        with descriptor(volume, os.O_RDONLY | os.O_NONBLOCK) as source:
            status, name = os.fstat(source), extents.file_system(source)
            if not stat.S_ISREG(status.st_mode):
                return "the volume is not a regular file"
            with descriptor(volume.parent, os.O_RDWR | os.O_TMPFILE) as probe:
                extents.clone(source, probe, min(status.st_size, BLOCK))
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS):
            return f"{name} cannot clone files" + (" (made without reflink=1)" if name == "xfs" else "")
        return f"the volume cannot be cloned beside itself ({error.strerror})"
    return "" if name in extents.TELL_PLACES else f"{name} does not tell where on the disk its files lie"


class Reflink:
    """The tracker of one volume (see interface.py). It needs free space for the old content of what is overwritten between
    two cycles: the clones hold it. The newest mark is the one that this object set last, else the newest that is there.
    """

    name = "reflink"
    snapshots = True

    def __init__(self, volume_path: Path) -> None:
        self._clones = Clones(volume_path)
        self._own: str | None = None

    def mark(self, mark: str) -> None:
        self._clones.make(mark)
        self._own = mark

    def changed(self, since: str) -> Changed:
        with contextlib.ExitStack() as files:
            new = files.enter_context(self._newest())
            try:
                old = files.enter_context(self._clones.opened(since))
                return _changed(old, new)
            except XdrError as error:
                return Unknown(error.what)
            except OSError as error:
                return Unknown(f"the places of snapshot {since} are not told ({error.strerror})")

    def reader(self) -> int | None:
        with self._newest() as fd:
            return os.dup(fd)

    def keep(self, mark: str) -> None:
        self._clones.remove_others(mark)

    def drop(self, mark: str) -> None:
        self._clones.remove(mark)
        if self._own == mark:
            self._own = None

    def forget(self) -> None:
        self._clones.remove_all()
        self._own = None

    @contextlib.contextmanager
    def _newest(self) -> Iterator[int]:
        mark = self._own or self._clones.newest()
        if mark is None:
            raise XdrError("the volume has no snapshot", where=str(self._clones.folder), todo="Run the cycle again", code="no_snapshot")
        with self._clones.opened(mark) as fd:
            yield fd


def _changed(old: int, new: int) -> Changed:
    """Raises OSError."""
    name = extents.file_system(new)
    if name not in extents.TELL_PLACES:
        return Unknown(f"{name} does not tell where on the disk its files lie")
    if extents.device(old) != extents.device(new):
        return Unknown("the snapshots lie on two devices")
    before, after = os.fstat(old).st_size, os.fstat(new).st_size
    ranges = extents.differing(old, new, min(before, after))
    if before != after:
        extents.add(ranges, min(before, after), after)
    return ranges
