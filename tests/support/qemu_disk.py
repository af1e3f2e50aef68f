# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A volume with the qcow2 image beside it, and the instance (a qemu-storage-daemon) that has the image open."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.qemu import image
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.qemu.qmp import Qmp, connected

from tests.support import processes
from tests.support.processes import wait_until
from tests.support.site_tracker import SiteTracker


class Disk:
    """``serving``: the instance runs an NBD server of its own. ``folder`` has a short name, for the sockets in it."""

    def __init__(self, folder: Path, size: int, *, serving: bool = False) -> None:
        self.folder, self.serving = folder, serving
        self.volume, self.image = folder / "orders.img", folder / "orders.qcow2"
        self.socket, self.nbd = folder / "qmp", folder / "nbd"
        words = (index.to_bytes(4, "big") * (BLOCK // 4) for index in range(1, -(-size // BLOCK) + 1))
        self.volume.write_bytes(b"".join(words)[:size])
        image.make(self.image, self.volume)
        self.process: subprocess.Popen[bytes] | None = None
        self._trackers: list[SiteTracker] = []

    def tracker(self, **options: Any) -> SiteTracker:
        self._trackers.append(SiteTracker(self.volume, self.image, self.socket, self.nbd if self.serving else None, **options))
        return self._trackers[-1]

    def close(self) -> None:
        for tracker in self._trackers:
            tracker.close()
        if self.process:
            processes.end(self.process)

    def start(self, *nodes: dict[str, Any]) -> None:
        """``nodes``: instead of the plain one of the image."""
        node = {"driver": "qcow2", "node-name": "disk", "discard": "unmap", "file": {"driver": "file", "filename": str(self.image)}}
        pid = self.folder / "pid"
        pid.unlink(missing_ok=True)
        argv = ["qemu-storage-daemon", "--pidfile", str(pid)]
        for each in nodes or (node,):
            argv += ["--blockdev", json.dumps(each)]
        argv += ["--chardev", f"socket,id=qmp,path={self.socket},server=on,wait=off", "--monitor", "chardev=qmp"]
        argv += ["--nbd-server", f"addr.type=unix,addr.path={self.nbd}"] if self.serving else []
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
        self.process = process
        wait_until(lambda: pid.exists() or process.poll() is not None, "the instance runs")  # the pid is written last
        assert process.poll() is None

    def stop(self) -> None:
        """Cleanly: the bitmaps are stored."""
        self._ended("terminate")

    def crash(self) -> None:
        self._ended("kill")

    def _ended(self, how: str) -> None:
        if self.process:
            getattr(self.process, how)()
            self.process.wait(20)
            self.process = None

    def guest(self, *commands: str) -> None:
        """What the instance does to its disk, in the words of qemu-io: in the one that runs, else in a short one."""
        if self.process:
            with self.monitor() as qmp, self._exported(qmp) as address:
                qemu_io("-f", "raw", "-d", "unmap", address, commands=commands)
        else:
            qemu_io("-f", "qcow2", "-d", "unmap", str(self.image), commands=commands)

    @contextlib.contextmanager
    def monitor(self) -> Iterator[Qmp]:
        qmp = connected(self.socket)
        assert qmp is not None
        with contextlib.closing(qmp):
            yield qmp

    @contextlib.contextmanager
    def _exported(self, qmp: Qmp) -> Iterator[str]:
        if not self.serving:
            qmp.execute("nbd-server-start", {"addr": {"type": "unix", "data": {"path": str(self.nbd)}}})
        qmp.execute("block-export-add", {"type": "nbd", "id": "guest", "name": "disk", "node-name": "disk", "writable": True})
        yield f"nbd+unix:///disk?socket={self.nbd}"
        qmp.execute("block-export-del", {"id": "guest", "mode": "hard"})
        wait_until(lambda: not qmp.execute("query-block-exports"), "the export has ended")
        if not self.serving:
            qmp.execute("nbd-server-stop")

    def bitmaps(self) -> dict[str, list[str]]:
        """Names and flags in the closed image, as qemu-img tells them."""
        found = self.details().get("bitmaps", [])
        return {each["name"]: each["flags"] for each in found}

    def details(self) -> dict[str, Any]:
        told = subprocess.run(["qemu-img", "info", "--output=json", str(self.image)], check=True, capture_output=True)
        found: dict[str, Any] = json.loads(told.stdout)["format-specific"]["data"]
        return found


def a_disk(size: int, *, serving: bool = False) -> Iterator[Disk]:
    """One disk; afterwards all that ran on it has ended."""
    with processes.short_folder() as folder:
        disk = Disk(folder, size, serving=serving)
        try:
            yield disk
        finally:
            disk.close()


def qemu_io(*words: str, commands: tuple[str, ...]) -> None:
    argv = ["qemu-io", *words]
    for command in commands:
        argv += ["-c", command]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    assert "failed" not in done.stdout + done.stderr, done.stdout + done.stderr
