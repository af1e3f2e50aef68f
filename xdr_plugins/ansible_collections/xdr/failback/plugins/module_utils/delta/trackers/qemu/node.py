# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The image as an open node of a qemu process, with its bitmaps."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....errors import XdrError
from ...blocks import BLOCK
from .dirty import Extent, dirty_extents
from .image import advice, same_file
from .qmp import Qmp
from .server import Server

LISTED = "xdr.listed"  # the copy of a bitmap that an export reads, as qemu exports no bitmap that still collects


@dataclass(frozen=True)
class Bitmap:
    """``broken``: it was in use when its process died."""

    name: str
    broken: bool


class Node:
    """``own``: the process is ours."""

    def __init__(self, qmp: Qmp, name: str, server: Server, *, own: bool = False) -> None:
        self.name, self.own = name, own
        self._qmp, self._server = qmp, server
        self._export = f"xdr-{re.sub('[^A-Za-z0-9]', '-', name)}"

    def checked(self, image: Path, volume: Path) -> Node:
        """XdrError where what is written to this node is not plainly what the volume holds."""
        nodes = self._nodes()
        data = _details(nodes, self.name).get("image", {}).get("format-specific", {}).get("data", {})
        file = data.get("data-file")
        opened = any(same_file(node["file"], volume) for node in nodes if node["node-name"] != self.name)
        if file is None:
            what = "the image has no data file: it holds the data itself"
        elif not same_file(file, volume):
            what = f"the image's data file is {file}, not the volume {volume}"
        elif not opened:
            what = f"the image was opened with another data file than the volume {volume}"
        elif not data.get("data-file-raw"):
            what = f"the image has data_file_raw=off, so {volume} need not hold what the instance reads"
        else:
            return self
        raise XdrError(what, where=str(image), todo=advice(image, volume), code="no_image")

    @property
    def size(self) -> int:
        """Bytes of the disk that an instance sees."""
        return int(_details(self._nodes(), self.name)["image"]["virtual-size"])

    def bitmaps(self) -> list[Bitmap]:
        found = _details(self._nodes(), self.name).get("dirty-bitmaps", [])
        return [Bitmap(each["name"], bool(each.get("inconsistent"))) for each in found if each.get("name")]

    def add(self, name: str, *, kept: bool = True) -> None:
        """``kept``: it collects from now on and is stored when the image is closed; otherwise it is empty and stays so."""
        bitmap = {"node": self.name, "name": name, "granularity": BLOCK, "persistent": kept, "disabled": not kept}
        self._qmp.execute("block-dirty-bitmap-add", bitmap)

    def remove(self, name: str) -> None:
        self._qmp.execute("block-dirty-bitmap-remove", {"node": self.name, "name": name})

    def dirty(self, name: str) -> list[Extent]:
        """Sorted extents that a bitmap has collected up to now."""
        self._clear()
        try:
            self.add(LISTED, kept=False)
            self._qmp.execute("block-dirty-bitmap-merge", {"node": self.name, "target": LISTED, "bitmaps": [name]})
            server = self._server.started()
            self._server.export(self._export, self.name, bitmaps=(LISTED,))
            return dirty_extents(server, self._export, LISTED)
        finally:
            with contextlib.suppress(XdrError):  # what stays behind is cleared before the next list
                self._clear()
                self._server.release()

    def _clear(self) -> None:
        """Remove the export and the bitmap of a list, this one's or that of a process which died over it."""
        self._server.remove(self._export)
        if any(bitmap.name == LISTED for bitmap in self.bitmaps()):
            self.remove(LISTED)

    def _nodes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._qmp.execute("query-named-block-nodes", {"flat": True})
        return found


def node_of(qmp: Qmp, image: Path) -> str:
    """The name of the node whose file is the image."""
    for node in qmp.execute("query-named-block-nodes", {"flat": True}):
        if node["drv"] == "qcow2" and same_file(node["file"], image):
            return str(node["node-name"])
    todo = "Let the instance open the image, not the volume; if it does so by another name, let the plan name its node"
    raise XdrError("the qemu process has no qcow2 node of the image", where=str(image), todo=todo, code="no_image")


def _details(nodes: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for node in nodes:
        if node["node-name"] == name:
            return node
    raise XdrError(f"the qemu process has no block node {name}", todo="Correct the node's name in the plan", code="no_image")
