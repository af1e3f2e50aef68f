# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Snapshots of volumes in a running qemu process, of all at one moment: copy before write.

Below the instance's raw node (layer.py) comes the filter ``copy-before-write``: before a block is written, its old content goes
to a temporary file (room.py). The driver ``snapshot-access`` reads from there what was written since, and the rest from the volume.

The moment is one ``blockdev-reopen`` for all volumes: qemu lets what has begun end, and begins nothing new, in all of them,
until all filters are in. No ``transaction``: of its actions only ``blockdev-backup`` puts such a filter in, and with that one (7.2) an
error of the temporary file is an error of the guest's write. Here it ends the snapshot (``break-snapshot``), and reading it is an error.
A mark's bitmap is begun before that moment: what falls between is in the snapshot and named by the next cycle besides.

After a kill -9 of ours the filter stays until ``clear``: it takes no more than the file's limit, then breaks the snapshot.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from ....errors import NotReached, XdrError
from . import room
from .layer import OURS, Layer, layer_over
from .qmp import Qmp
from .server import Server

PATIENCE = 5  # seconds that a guest's write may wait for the temporary file, before that ends the snapshot


class Snapshot:
    """That of the image's node ``node``; there is one at a time."""

    def __init__(self, qmp: Qmp, node: str, image: Path, server: Server) -> None:
        self._qmp, self._node, self._image, self._server = qmp, node, image, server
        key = hashlib.sha256(node.encode()).hexdigest()[:12]  # a node's name has 31 characters at most
        self._file, self._bounded, self._room, self.filter, self._view = (
            f"{OURS}{part}-{key}" for part in ("file", "bound", "room", "filter", "view")
        )

    def prepare(self, *, among: int) -> Layer:
        """All but the filter's place: the layer that it goes below."""
        layer = layer_over(self._qmp, self._node)
        size = self._nodes()[self._node]["image"]["virtual-size"]
        most = room.make(self._image, size, among=among)
        try:
            self._add("file", self._file, filename=str(room.path_of(self._image)))
        finally:
            room.remove(self._image)
        self._add("raw", self._bounded, file=self._file, size=most)
        self._add("qcow2", self._room, file=self._bounded)
        last = {"on-cbw-error": "break-snapshot", "cbw-timeout": PATIENCE}
        self._add("copy-before-write", self.filter, file=self._node, target=self._room, **last)
        return layer

    def open(self, mark: str) -> None:
        """Let it be read as ``export(mark)``: a reader of another mark never gets to this one."""
        self._add("snapshot-access", self._view, file=self.filter)
        self._server.started()
        self._server.export(self._view, self._view, known_as=self.export(mark))

    def export(self, mark: str) -> str:
        return f"{self._view}-{mark}"

    def clear(self) -> None:
        """As if it had not been; also what a process that was killed has left."""
        nodes = self._nodes()
        if self._view in nodes:
            self._server.remove(self._view)
            self._server.release()
            self._remove(self._view)
        if self.filter in nodes:
            with contextlib.suppress(_NotBelow):
                self._qmp.execute("blockdev-reopen", {"options": [self._layer_of_filter().over(self._node)]})
        for name in (self.filter, self._room, self._bounded, self._file):
            if name in nodes:
                self._remove(name)

    def _layer_of_filter(self) -> Layer:
        try:
            return layer_over(self._qmp, self.filter)
        except NotReached:
            raise
        except XdrError as error:
            raise _NotBelow(error.what) from error

    def _add(self, driver: str, name: str, **options: Any) -> None:
        self._qmp.execute("blockdev-add", {"driver": driver, "node-name": name, **options})

    def _remove(self, name: str) -> None:
        self._qmp.execute("blockdev-del", {"node-name": name})

    def _nodes(self) -> dict[str, Any]:
        return {node["node-name"]: node for node in self._qmp.execute("query-named-block-nodes", {"flat": True})}


class _NotBelow(XdrError):  # noqa: N818
    """The filter is in nobody's way."""


def take(qmp: Qmp, snapshots: list[Snapshot], mark: str) -> None:
    """All at one moment, in the process of ``qmp``. XdrError where that cannot be; then none is left."""
    try:
        options = [each.prepare(among=len(snapshots)).over(each.filter) for each in snapshots]
        qmp.execute("blockdev-reopen", {"options": options})
        for each in snapshots:
            each.open(mark)
    except NotReached:  # the next to get through clears
        raise
    except XdrError:
        for each in snapshots:
            with contextlib.suppress(XdrError):
                each.clear()
        raise
