# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What stands in the way of the tracker qemu_bitmap: dead trackers, writes past qemu, and all that an operator must mend."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.qemu import image
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.qemu.node import LISTED
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from tests.support.processes import wait_until
from tests.support.qemu_disk import Disk, a_disk
from tests.support.site_tracker import PLUGINS, PYTHON, SiteTracker

SIZE = 64 * BLOCK + 1000


@pytest.fixture
def disk() -> Iterator[Disk]:
    yield from a_disk(SIZE)


# trackers that died, and others at work


HOLD = """
import sys
from pathlib import Path
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.qemu.daemon import storage_daemon
with storage_daemon(Path(sys.argv[1]), writable=True, todo=""):
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(disk: Disk) -> Iterator[subprocess.Popen[bytes]]:
    """Another process of ours that has the image open."""
    disk.tracker().mark("a")
    argv, env = [PYTHON, "-c", HOLD, str(disk.image)], {**os.environ, "PYTHONPATH": str(PLUGINS)}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout
        assert process.stdout.readline() == b"open\n"
        yield process


def test_a_daemon_of_ours_ends_with_a_process_that_is_killed(disk: Disk, holder: subprocess.Popen[bytes]) -> None:
    with pytest.raises(XdrError, match="another process has the image open"):
        disk.tracker().known("a")
    holder.kill()
    info = ["qemu-img", "info", str(disk.image)]
    wait_until(lambda: subprocess.run(info, capture_output=True).returncode == 0, "the image is free")
    assert disk.tracker().known("a") == []


def test_a_tracker_waits_for_another_that_is_at_it(disk: Disk, holder: subprocess.Popen[bytes]) -> None:
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(disk.tracker().known, "a")
        assert holder.stdin
        holder.stdin.close()
        assert found.result() == []


def test_what_a_killed_tracker_left_in_the_instance_is_no_hindrance(disk: Disk) -> None:
    disk.start()
    tracker = disk.tracker()
    tracker.mark("a")
    disk.guest("write -P 5 64k 512")
    server = {"addr": {"type": "unix", "data": {"path": f"{disk.socket}.xdr"}}}
    copy = {"node": "disk", "name": LISTED, "granularity": BLOCK, "disabled": True}
    export = {"type": "nbd", "id": "xdr-disk", "name": "xdr-disk", "node-name": "disk", "bitmaps": [LISTED]}
    with disk.monitor() as qmp:
        qmp.execute("nbd-server-start", server)
        qmp.execute("block-dirty-bitmap-add", copy)
        qmp.execute("block-export-add", export)
    assert tracker.known("a") == [(1, 1)]
    disk.guest("write -P 6 128k 512")  # which starts the instance's own NBD server
    assert tracker.known("a") == [(1, 2)]


# past qemu


def test_a_write_past_qemu_after_the_image_was_closed_shows(disk: Disk) -> None:
    tracker = disk.tracker()
    tracker.mark("a")
    wait_until(lambda: write_past(disk, 5 * BLOCK, b"past"), "the clock has gone on")
    assert "past qemu" in tracker.why("a")
    tracker.mark("b")
    assert "no bitmap" in tracker.why("a")
    disk.guest("write -P 5 64k 512")
    assert tracker.known("b") == [(1, 1)]


def write_past(disk: Disk, at: int, data: bytes) -> bool:
    with disk.volume.open("r+b") as stream:
        stream.seek(at)
        stream.write(data)
    return image.written_past(disk.image, disk.volume)


@pytest.mark.parametrize("crash", [False, True])
def test_a_forgotten_image_hides_nothing_that_is_written_past_it(disk: Disk, crash: bool) -> None:
    """A site that becomes a target: where its instance had zeroed or discarded, the old image would show zeros for what is received."""
    tracker = disk.tracker()
    tracker.mark("a")
    disk.start()
    disk.guest("write -z 1M 1M", "discard 2M 1M", "write -P 5 3M 64k")
    disk.crash() if crash else disk.stop()
    before, mode = disk.volume.read_bytes(), disk.image.stat().st_mode
    tracker.forget()
    assert (disk.volume.read_bytes(), disk.image.stat().st_mode, disk.bitmaps()) == (before, mode, {})
    write_past(disk, 1 << 20, b"received" * (1 << 17))
    compare = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2", str(disk.volume), str(disk.image)]
    assert subprocess.run(compare, capture_output=True).returncode == 0
    assert sorted(path.name for path in disk.folder.iterdir() if "orders" in path.name) == ["orders.img", "orders.qcow2"]


# what an operator must mend


def test_an_image_in_use_elsewhere_is_told(disk: Disk) -> None:
    tracker = disk.tracker()
    tracker.mark("a")
    disk.start()
    disk.socket.unlink()
    for call in (tracker.known, tracker.mark):
        with pytest.raises(XdrError, match="another process has the image open") as failure:
            call("a")
        assert failure.value.code == "volume_in_use"
    disk.stop()
    assert tracker.known("a") == []


def test_an_unnamed_nbd_server_is_told(disk: Disk) -> None:
    disk.serving = True
    disk.start()
    disk.serving = False
    tracker = disk.tracker()
    tracker.mark("a")
    with pytest.raises(XdrError, match="runs an NBD server already, and does not tell where"):
        tracker.known("a")
    disk.serving = True
    assert disk.tracker().known("a") == []


def test_a_missing_package_is_named(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.tracker().mark("a")
    assert "install Debian's package python3-libnbd" in disk.tracker(options="-S").why("a")
    empty = disk.folder / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    bare = disk.tracker()
    for call, package in ((bare.known, "qemu-system-common"), (bare.mark, "qemu-system-common")):
        with pytest.raises(XdrError, match=f"Install Debian's package {package}") as failure:
            call("a")
        assert failure.value.code == "no_program"
    with pytest.raises(XdrError, match="Install Debian's package qemu-utils"):
        image.make(disk.image, disk.volume)


def qemu_img(*words: str | Path) -> None:
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


def missing(disk: Disk) -> None:
    disk.image.unlink()


def not_qcow2(disk: Disk) -> None:
    disk.image.write_bytes(bytes(BLOCK))


def with_own_data(disk: Disk) -> None:
    qemu_img("create", "-f", "qcow2", disk.image, str(SIZE))


def of_another_volume(disk: Disk) -> None:
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={disk.folder}/other.img,data_file_raw=on", disk.image, str(SIZE))


def of_a_lost_volume(disk: Disk) -> None:
    of_another_volume(disk)
    (disk.folder / "other.img").unlink()


def not_raw(disk: Disk) -> None:
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={disk.folder}/empty.img", disk.image, str(SIZE))
    qemu_img("amend", "-o", f"data_file={disk.volume}", disk.image)


WRONG = {
    missing: "the image beside the volume is missing",
    not_qcow2: "cannot open the image .*not in qcow2 format",
    with_own_data: "the image has no data file",
    of_another_volume: "the image's data file is .*other.img, not the volume",
    of_a_lost_volume: "cannot open the image .*other.img",
    not_raw: "data_file_raw=off",
}


@pytest.mark.parametrize("spoil", WRONG, ids=lambda spoil: spoil.__name__)
def test_a_wrong_image_is_told_with_what_makes_a_right_one(disk: Disk, spoil: Callable[[Disk], None]) -> None:
    spoil(disk)
    before, tracker = disk.volume.read_bytes(), disk.tracker()
    with pytest.raises(XdrError, match=WRONG[spoil]) as failure:
        tracker.mark("a")
    assert str(disk.image) in str(failure.value)
    assert failure.value.code == "no_image"
    command = str(failure.value).partition("Make a right one: ")[2].partition(" (")[0]
    for line in command.split(" && "):
        subprocess.run(shlex.split(line), check=True)
    assert disk.volume.read_bytes() == before
    disk.tracker().mark("a")
    assert disk.details()["data-file-raw"] is True
    assert disk.volume.read_bytes() == before


def test_an_instance_without_the_image_is_told(disk: Disk) -> None:
    for other in a_disk(SIZE):
        other.start()
        for node, what in (("", "no qcow2 node of the image"), ("disk", "not the volume"), ("none", "no block node none")):
            tracker = SiteTracker(disk.volume, disk.image, other.socket, node=node)
            with pytest.raises(XdrError, match=what):
                tracker.mark("a")
            tracker.close()


def test_an_instance_that_overrides_the_data_file_is_told(disk: Disk) -> None:
    other = disk.folder / "other.img"
    other.write_bytes(bytes(SIZE))
    nodes = [
        {"driver": "file", "node-name": "data", "filename": str(other)},
        {"driver": "qcow2", "node-name": "disk", "file": {"driver": "file", "filename": str(disk.image)}, "data-file": "data"},
    ]
    disk.start(*nodes)
    with pytest.raises(XdrError, match="opened with another data file"):
        disk.tracker().mark("a")
