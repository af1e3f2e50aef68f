# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Tracker ``qemu_bitmap``: qemu itself notes what is written, in persistent dirty bitmaps.

The volume is a raw file (or device). Beside it lies a small qcow2 image whose ``data_file`` is the volume, with
``data_file_raw=on``: guest data stays plain bytes at their own offsets, the image holds metadata and bitmaps. The instance
(qemu-system, qemu-storage-daemon) opens the image. While it runs, its QMP monitor is asked; when nothing runs, a
qemu-storage-daemon of our own has the image open for the moment.

A mark is one bitmap, ``xdr-<mark>@<size of the volume then>``, which collects what is written after it. A process that is
killed leaves its bitmaps "in use": Unknown. A mark that it had set itself was never stored: Unknown, too.

Where the instance runs, and uses the image through a node of the driver raw, a mark is a snapshot as well (qemu/snapshot.py), of
all the volumes of one process at one moment; it is read as a plain file (qemu/view.py). Where something stands in the way of that, the
mark is one all the same, and ``why`` says what it was.

What this tracker cannot see: writes to the volume past qemu. A volume that is newer than its closed image gives them away,
and its marks count for nothing; but once an instance has opened and closed the image again, nothing about the file tells
them from the guest's own writes. Nor does it see that a volume was cut and grown again by qemu between two marks.
Sources: docs/interop/bitmaps.rst, nbd.txt and qcow2.txt of qemu 7.2; what they leave open was tried with Debian's 7.2.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import XdrError
from .. import blocks
from ..blocks import BLOCK, Range
from .interface import Changed, Tracker, Unknown
from .qemu import daemon, dirty, image, room, snapshot, view
from .qemu.dirty import Extent
from .qemu.node import Node, node_of
from .qemu.qmp import Qmp, QmpRefused, connected
from .qemu.server import Server
from .qemu.snapshot import Snapshot

_BITMAP = re.compile(r"xdr-([A-Za-z0-9-]+)@([0-9]+)")


@dataclass(frozen=True)
class Mark:
    """``size``: the volume's bytes when the mark was set; ``broken``: its bitmap may miss writes."""

    bitmap: str
    name: str
    size: int
    broken: bool


class QemuBitmap:
    """``image``: the qcow2 beside the volume. ``socket``: the QMP socket of the instance; where nobody listens there, nothing runs.

    ``node``: the image's node in that process, found by its file when None. ``nbd``: unix socket of the NBD server that the
    instance runs, if it does; otherwise one is started beside ``socket`` while a list or a snapshot is read.
    """

    name = "qemu_bitmap"

    def __init__(self, volume_path: Path, image: Path, socket: Path | None, node: str | None, nbd: Path | None = None) -> None:
        self._volume, self._image, self._socket, self._node, self._nbd = volume_path, image, socket, node, nbd
        self.process = os.path.realpath(socket) if socket else ""
        self.snapshots, self.why = False, ""
        self._mark = ""
        self._viewing = contextlib.ExitStack()

    def mark(self, mark: str) -> None:
        self.mark_with([], mark)

    def mark_with(self, others: Iterable[Tracker], mark: str) -> None:
        together = [self, *(each for each in others if isinstance(each, QemuBitmap))]
        for each in together:
            each._begin(mark)
        if all(each.why == "" for each in together):
            self._take(together, mark)

    def _begin(self, mark: str) -> None:
        self._close()
        self.snapshots, self.why, self._mark = False, "", mark
        with self._open(writable=True) as node:
            _remove(node, [old for old in _marks(node) if old.name == mark])
            node.add(f"xdr-{mark}@{self._size()}")
            if node.own:
                self.why = "no instance runs that could take one"
            elif node.size != self._size():
                self.why = "the volume's size is no whole number of sectors"

    def _take(self, together: list[QemuBitmap], mark: str) -> None:
        """Snapshots of all, where that can be; after their marks, so that these name what is written after the snapshots."""
        why = ""
        try:
            with self._instance() as qmp:
                snapshot.take(qmp, [each._snapshot(qmp) for each in together], mark)
        except XdrError as error:
            why = error.what
        for each in together:
            each.snapshots, each.why = not why, why

    def changed(self, since: str) -> Changed:
        lacking = dirty.missing()
        if lacking:
            return Unknown(lacking)
        with self._open(writable=False) as node:
            mark = next((each for each in _marks(node) if each.name == since), None)
            if mark is None:
                return Unknown(f"{self._image} has no bitmap of the mark {since}: it was removed, or its process died before it was stored")
            if mark.broken:
                return Unknown(f"{self._image}, mark {since}: the bitmap was in use when its process died, so it may miss writes")
            if node.own and image.written_past(self._image, self._volume):
                return Unknown(f"{self._volume} was written after {self._image} was closed, past qemu, so the bitmap misses writes")
            extents, known = node.dirty(mark.bitmap), min(mark.size, node.size)
        return _ranges(extents, known, self._size())

    def reader(self) -> int | None:
        if not self.snapshots:
            return None
        try:
            fd = os.dup(self._viewing.enter_context(self._view()))
        except XdrError as error:
            self.lose(error.what)
            return None
        return fd

    def lose(self, why: str) -> None:
        self.release()
        self.snapshots, self.why = False, why

    def release(self) -> None:
        if not self.snapshots:
            return
        self._close()
        with contextlib.suppress(XdrError), self._instance() as qmp:  # what stays behind is cleared with the mark
            self._snapshot(qmp).clear()

    def _close(self) -> None:
        with contextlib.suppress(XdrError):
            self._viewing.close()

    def keep(self, mark: str) -> None:
        self._close()
        with self._open(writable=True) as node:
            _remove(node, [each for each in _marks(node) if each.name != mark])

    def drop(self, mark: str) -> None:
        self._close()
        with self._open(writable=True) as node:
            _remove(node, [each for each in _marks(node) if each.name == mark])

    def forget(self) -> None:
        """Where nothing runs, the image is made anew besides: what is written to the volume next comes past it (see image.py)."""
        self._close()
        if not self._image.exists():
            return
        with self._open(writable=True) as node:
            _remove(node, _marks(node))
            if node.own:
                image.make(self._image, self._volume)

    @contextlib.contextmanager
    def _open(self, *, writable: bool) -> Iterator[Node]:
        """The image in the instance that runs, else in a daemon of our own. ``writable``: without a snapshot, ours or a dead process's."""
        if not self._image.exists():
            todo = image.advice(self._image, self._volume)
            raise XdrError("the image beside the volume is missing", where=str(self._image), todo=todo, code="no_image")
        qmp = connected(self._socket) if self._socket else None
        if writable:
            view.remove(self._image)
            room.remove(self._image)
        if qmp:
            with contextlib.closing(qmp):
                if writable:
                    self._clear(qmp)
                yield Node(qmp, self._name(qmp), self._server(qmp)).checked(self._image, self._volume)
            return
        if writable and image.written_past(self._image, self._volume):  # else our closing it would hide that
            with self._alone(writable=True):
                image.make(self._image, self._volume)
        with self._alone(writable=writable) as node:
            yield node

    @contextlib.contextmanager
    def _alone(self, *, writable: bool) -> Iterator[Node]:
        ours = daemon.storage_daemon(self._image, writable=writable, todo=image.advice(self._image, self._volume))
        with tempfile.TemporaryDirectory(prefix="xdr-") as folder, ours as qmp:
            yield Node(qmp, daemon.NODE, Server(qmp, Path(folder, "nbd")), own=True).checked(self._image, self._volume)

    def _name(self, qmp: Qmp) -> str:
        return self._node or node_of(qmp, self._image)

    def _server(self, qmp: Qmp) -> Server:
        return Server(qmp, self._server_path, self._nbd)

    @property
    def _server_path(self) -> Path:
        return Path(f"{self._socket}.xdr")

    def _snapshot(self, qmp: Qmp) -> Snapshot:
        return Snapshot(qmp, self._name(qmp), self._image, self._server(qmp))

    def _clear(self, qmp: Qmp) -> None:
        """A snapshot that cannot be removed stands in the way of the next one, not of marks."""
        left = self._snapshot(qmp)
        with contextlib.suppress(QmpRefused):
            left.clear()

    @contextlib.contextmanager
    def _instance(self) -> Iterator[Qmp]:
        qmp = connected(self._socket) if self._socket else None
        if qmp is None:
            raise XdrError("the instance has ended")
        with contextlib.closing(qmp):
            yield qmp

    @contextlib.contextmanager
    def _view(self) -> Iterator[int]:
        with self._instance() as qmp:
            export = self._snapshot(qmp).export(self._mark)
        with view.opened(self._nbd or self._server_path, export, self._image) as fd:
            yield fd

    def _size(self) -> int:
        size = blocks.size_at(self._volume)
        if size is None:
            todo = "See that the plan's path is right and the volume is mounted"
            raise XdrError("the volume is missing", where=str(self._volume), todo=todo, code="no_volume")
        return size


def _marks(node: Node) -> list[Mark]:
    found = ((bitmap, _BITMAP.fullmatch(bitmap.name)) for bitmap in node.bitmaps())
    return [Mark(bitmap.name, match[1], int(match[2]), bitmap.broken) for bitmap, match in found if match]


def _remove(node: Node, marks: list[Mark]) -> None:
    for mark in marks:
        node.remove(mark.bitmap)


def _ranges(extents: list[Extent], known: int, size: int) -> list[Range]:
    """Extents → ranges of blocks in a volume of ``size`` bytes, whose bitmap knows the first ``known``: the rest counts as changed."""
    rest = [(min(known, size), size)] if known != size else []
    found: list[Range] = []
    for offset, nbytes in sorted([*extents, *rest]):
        first, stop = offset // BLOCK, blocks.count(min(offset + nbytes, size))
        if found and first <= sum(found[-1]):
            first, stop = found[-1][0], max(stop, sum(found.pop()))
        if first < stop:
            found.append((first, stop - first))
    return found
