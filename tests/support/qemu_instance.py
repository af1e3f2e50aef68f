# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""An instance with some volumes: a qemu-storage-daemon that has their images open, and offers them to its guest by NBD."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.interface import Changed
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.qemu import image, room, view
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.qemu.qmp import Qmp, connected
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.qemu_bitmap import QemuBitmap

from tests.support import processes
from tests.support.processes import wait_until
from tests.support.qemu_disk import qemu_io
from tests.support.site_tracker import SiteTracker


class Instance:
    """``layered``: the guest's disks lie on raw nodes above the images. ``folder`` has a short name, for the sockets in it."""

    def __init__(self, folder: Path, volumes: dict[str, Path], *, layered: bool = True) -> None:
        self.volumes, self._layered = volumes, layered
        self.images = {name: path.with_suffix(".qcow2") for name, path in volumes.items()}
        self.socket, self.nbd, self._pid = folder / "qmp", folder / "nbd", folder / "pid"
        self._trackers: list[SiteTracker] = []
        for name, path in volumes.items():
            image.make(self.images[name], path)
        self.start()
        self._nodes = self.nodes()

    def start(self) -> None:
        self._pid.unlink(missing_ok=True)
        argv = ["qemu-storage-daemon", "--pidfile", str(self._pid), "--nbd-server", f"addr.type=unix,addr.path={self.nbd}"]
        argv += ["--chardev", f"socket,id=qmp,path={self.socket},server=on,wait=off", "--monitor", "chardev=qmp"]
        for name, path in self.images.items():
            file = {"driver": "file", "filename": str(path)}
            node = {"driver": "qcow2", "node-name": f"{name}-image", "discard": "unmap", "file": file}
            layer = {"driver": "raw", "node-name": f"{name}-disk", "discard": "unmap", "file": f"{name}-image"}
            argv += ["--blockdev", json.dumps(node)]
            argv += ["--blockdev", json.dumps(layer)] if self._layered else []
            export = {"type": "nbd", "id": name, "node-name": layer["node-name"] if self._layered else node["node-name"], "name": name}
            argv += ["--export", json.dumps({**export, "writable": True})]
        self.process = process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
        wait_until(lambda: self._pid.exists() or process.poll() is not None, "the instance runs")
        assert process.poll() is None

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(20) == 0

    def close(self) -> None:
        for tracker in self._trackers:
            tracker.close()
        processes.end(self.process)

    def tracker(self, name: str, kind: type[Tracker] | None = None) -> Tracker:
        """Its list of changed extents is that of a site host's Python, which has libnbd."""
        self._trackers.append(SiteTracker(self.volumes[name], self.images[name], self.socket, self.nbd))
        tracker = (kind or Tracker)(self.volumes[name], self.images[name], self.socket, None, self.nbd)
        tracker.list, tracker.instance, tracker.disk = self._trackers[-1], self, name
        return tracker

    def trackers(self, kind: type[Tracker] | None = None) -> dict[str, Tracker]:
        return {name: self.tracker(name, kind) for name in self.volumes}

    def uri(self, name: str) -> str:
        return f"nbd+unix:///{name}?socket={self.nbd}"

    def guest(self, name: str, *commands: str) -> None:
        qemu_io("-f", "raw", "-d", "unmap", self.uri(name), commands=commands)

    @contextlib.contextmanager
    def monitor(self) -> Iterator[Qmp]:
        qmp = connected(self.socket)
        assert qmp is not None
        with contextlib.closing(qmp):
            yield qmp

    def nodes(self) -> set[str]:
        with self.monitor() as qmp:
            return {node["node-name"] for node in qmp.execute("query-named-block-nodes", {"flat": True})}

    def left(self) -> list[str]:
        """What is there of snapshots: nodes, exports, files, mounts."""
        with self.monitor() as qmp:
            exports = [each["id"] for each in qmp.execute("query-block-exports") if each["id"] not in self.volumes]
        files = [str(path) for each in self.images.values() for path in (room.path_of(each), view.place_of(each)) if path.exists()]
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        folder = str(next(iter(self.volumes.values())).parent)
        mounted = [line for line in mounts if line.split(" ")[4].startswith(f"{folder}/")]
        return [*sorted(name for name in self.nodes() if name.startswith("xdr-")), *exports, *files, *mounted]


class Tracker(QemuBitmap):
    list: SiteTracker
    instance: Instance
    disk: str

    def changed(self, since: str) -> Changed:
        return self.list.changed(since)
