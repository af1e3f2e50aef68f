# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The NBD server of a qemu process: it can have one only, which several exports share."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from ....errors import XdrError
from ....waiting import Deadline
from .qmp import Qmp, QmpRefused

ENDS_WITHIN = 30.0  # seconds for an export to end


class Server:
    """``path``: unix socket at which one may be started. ``serving``: that of one that the process runs already."""

    def __init__(self, qmp: Qmp, path: Path, serving: Path | None = None) -> None:
        self._qmp, self._path, self._serving = qmp, path, serving

    def started(self) -> Path:
        """Where it listens, until ``release``."""
        if self._serving:
            return self._serving
        try:
            self._qmp.execute("nbd-server-start", {"addr": {"type": "unix", "data": {"path": str(self._path)}}})
        except QmpRefused as error:
            if "already running" not in error.what or not _listens(self._path):  # else it is ours
                raise _no_server(error) from error
        return self._path

    def release(self) -> None:
        """It ends, if it is ours and its last export is gone."""
        if self._serving or any(export["type"] == "nbd" for export in self._exports()):
            return
        with contextlib.suppress(QmpRefused):  # none runs
            if _listens(self._path):
                self._qmp.execute("nbd-server-stop")

    def export(self, name: str, node: str, *, known_as: str = "", bitmaps: tuple[str, ...] = ()) -> None:
        """``name`` tells it from other exports of the process; ``known_as``: for its readers, else the same."""
        export = {"type": "nbd", "id": name, "name": known_as or name, "node-name": node, "writable": False}
        self._qmp.execute("block-export-add", {**export, "bitmaps": list(bitmaps)})

    def remove(self, name: str) -> None:
        """Also that of a process that died."""
        if self._exported(name):
            self._qmp.execute("block-export-del", {"id": name, "mode": "hard"})
            Deadline(ENDS_WITHIN).wait_for(lambda: not self._exported(name), every=0.005)

    def _exported(self, name: str) -> bool:
        return any(export["id"] == name for export in self._exports())

    def _exports(self) -> Iterator[dict[str, str]]:
        yield from self._qmp.execute("query-block-exports")


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(ENDS_WITHIN)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _no_server(error: QmpRefused) -> XdrError:
    if "already running" not in error.what:
        return XdrError(f"no NBD server could be started ({error.what})", where=error.where)
    todo = "Let the plan name its unix socket, so that the list is read there"
    return XdrError("the qemu process runs an NBD server already, and does not tell where", where=error.where, todo=todo)
