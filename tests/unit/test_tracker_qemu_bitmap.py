# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The tracker qemu_bitmap against the bytes of the volume, with the real qemu-storage-daemon, libnbd and crashes."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK, count, indexes
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.qemu import image
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.qemu.node import LISTED
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.processes import short_folder, wait_until
from tests.support.qemu_disk import Disk
from tests.support.site_tracker import PLUGINS, PYTHON, SiteTracker

SIZE = 64 * BLOCK + 1000  # no whole number of blocks or sectors

WRITES = ["write -P 7 64k 4k", "write -P 8 1M 200000", "write -P 9 3M 512", "write -P 9 4193792 512"]
WRITTEN = [(1, 1), (16, 4), (48, 1), (63, 1)]


@pytest.fixture
def disk() -> Iterator[Disk]:
    yield from a_disk()


@pytest.fixture(params=["stopped", "running", "serving"])
def any_disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    """In both situations; ``serving``: the instance runs an NBD server already."""
    for disk in a_disk(serving=request.param == "serving"):
        if request.param != "stopped":
            disk.start()
        yield disk


def a_disk(*, size: int = SIZE, serving: bool = False) -> Iterator[Disk]:
    with short_folder() as folder:
        disk = Disk(folder, size, serving=serving)
        try:
            yield disk
        finally:
            disk.close()


def differing(before: bytes, after: bytes) -> set[int]:
    """The oracle: blocks of ``after`` that are not as in ``before``."""
    cut = [slice(at, at + BLOCK) for at in range(0, len(after), BLOCK)]
    return {index for index, each in enumerate(cut) if before[each] != after[each]}


# what is named


def test_each_written_block_is_named_and_no_other(any_disk: Disk) -> None:
    tracker, before = any_disk.tracker(), any_disk.volume.read_bytes()
    any_disk.guest("write -P 1 2M 64k")
    tracker.mark("a")
    assert tracker.known("a") == []
    any_disk.guest(*WRITES)
    assert tracker.known("a") == WRITTEN
    assert differing(before, any_disk.volume.read_bytes()) == {32, *indexes(WRITTEN)}


@pytest.mark.parametrize("command", ["write -z 1M 128k", "write -z -u 1M 128k", "discard 1M 128k"])
def test_zeros_and_discards_are_named_and_are_in_the_volume(any_disk: Disk, command: str) -> None:
    tracker = any_disk.tracker()
    tracker.mark("a")
    any_disk.guest(command)
    assert tracker.known("a") == [(16, 2)]
    assert not any(any_disk.volume.read_bytes()[1 << 20 : (1 << 20) + 2 * BLOCK])


def test_each_mark_has_its_own_time(any_disk: Disk) -> None:
    tracker = any_disk.tracker()
    for number, mark in enumerate(["a", "b-2", "c"]):
        tracker.mark(mark)
        any_disk.guest(f"write -P 5 {number * BLOCK} 512")
    assert [tracker.known(mark) for mark in ("a", "b-2", "c")] == [[(0, 3)], [(1, 2)], [(2, 1)]]
    tracker.mark("a")
    assert tracker.known("a") == []
    tracker.drop("c")
    assert "no bitmap of the mark c" in tracker.why("c")
    assert tracker.known("b-2") == [(1, 2)]
    tracker.keep("b-2")
    assert "no bitmap of the mark a" in tracker.why("a")
    assert tracker.known("b-2") == [(1, 2)]
    tracker.forget()
    assert "no bitmap" in tracker.why("b-2")


def test_marks_live_on_when_the_instance_stops_and_starts(disk: Disk) -> None:
    tracker = disk.tracker()
    disk.start()
    tracker.mark("a")
    disk.guest("write -P 5 64k 512")
    disk.stop()
    assert list(disk.bitmaps()) == [f"xdr-a@{SIZE}"]
    assert tracker.known("a") == [(1, 1)]
    tracker.mark("b")
    disk.guest("write -P 6 192k 512")
    disk.start()
    disk.guest("write -P 7 320k 512")
    assert (tracker.known("a"), tracker.known("b")) == ([(1, 1), (3, 1), (5, 1)], [(3, 1), (5, 1)])
    tracker.keep("b")
    disk.stop()
    assert tracker.known("b") == [(3, 1), (5, 1)]


def test_bitmaps_of_others_are_left_alone(any_disk: Disk) -> None:
    others = ["backup", "xdr-backup", "xdr-a@"]
    running = any_disk.process is not None
    any_disk.stop()
    for name in others:
        subprocess.run(["qemu-img", "bitmap", "--add", str(any_disk.image), name], check=True)
    if running:
        any_disk.start()
    tracker = any_disk.tracker()
    tracker.mark("a")
    tracker.keep("a")
    tracker.drop("a")
    any_disk.stop()
    assert sorted(any_disk.bitmaps()) == sorted(others)


# size


def grow_stopped(disk: Disk, size: int) -> None:
    subprocess.run(["qemu-img", "resize", "-q", "--shrink", "-f", "qcow2", str(disk.image), str(size)], check=True)


def grow_running(disk: Disk, size: int) -> None:
    with disk.monitor() as qmp:
        qmp.execute("block_resize", {"node-name": "disk", "size": size})


@pytest.mark.parametrize("grow", [grow_stopped, grow_running])
def test_new_blocks_of_a_grown_volume_are_changed(disk: Disk, grow: Callable[[Disk, int], None]) -> None:
    tracker = disk.tracker()
    tracker.mark("a")
    if grow is grow_running:
        disk.start()
    grow(disk, 80 * BLOCK)
    disk.guest("write -P 5 64k 512")
    assert tracker.known("a") == [(1, 1), (64, 16)]
    tracker.mark("b")
    assert tracker.known("b") == []


def test_ranges_end_with_a_volume_that_was_cut(disk: Disk) -> None:
    tracker = disk.tracker()
    tracker.mark("a")
    disk.guest(*WRITES)
    grow_stopped(disk, 17 * BLOCK + 512)
    assert tracker.known("a") == [(1, 1), (16, 2)]


@pytest.mark.parametrize("size", [1, 512, BLOCK, BLOCK + 1])
def test_small_volumes(size: int) -> None:
    for disk in a_disk(size=size):
        tracker = disk.tracker()
        tracker.mark("a")
        assert tracker.known("a") == []
        if size >= 512:
            disk.guest("write -P 5 0 512")
            assert tracker.known("a") == [(0, 1)]
        tracker.forget()
        assert disk.volume.stat().st_size == size


def test_of_an_empty_volume_qemu_stores_no_bitmap() -> None:
    for disk in a_disk(size=0):
        tracker = disk.tracker()
        tracker.mark("a")
        assert "no bitmap of the mark a" in tracker.why("a")


# crashes


def crashed(disk: Disk, tracker: SiteTracker) -> None:
    """A mark that was stored, one that was not, a write, and a kill -9."""
    tracker.mark("stored")
    disk.start()
    tracker.mark("new")
    disk.guest("write -P 5 64k 512")
    disk.crash()


@pytest.mark.parametrize("again", [False, True], ids=["nothing runs", "started again"])
def test_after_a_crash_nothing_is_known(disk: Disk, again: bool) -> None:
    tracker = disk.tracker()
    crashed(disk, tracker)
    if again:
        disk.start()
        disk.guest("write -P 6 128k 512")
    assert "the bitmap was in use when its process died, so it may miss writes" in tracker.why("stored")
    assert "no bitmap of the mark new" in tracker.why("new")
    tracker.mark("after")
    disk.guest("write -P 7 192k 512")
    assert tracker.known("after") == [(3, 1)]


@pytest.mark.parametrize("again", [False, True], ids=["nothing runs", "started again"])
@pytest.mark.parametrize("end", ["keep", "drop", "forget", "mark"])
def test_what_a_crash_left_can_be_removed(disk: Disk, again: bool, end: str) -> None:
    tracker = disk.tracker()
    crashed(disk, tracker)
    assert "in-use" in disk.bitmaps()[f"xdr-stored@{SIZE}"]
    if again:
        disk.start()
    {"keep": tracker.keep, "drop": tracker.drop, "mark": tracker.mark, "forget": lambda _: tracker.forget()}[end](
        "other" if end == "keep" else "stored"
    )
    disk.stop()
    assert not any("in-use" in flags for flags in disk.bitmaps().values())
    assert list(disk.bitmaps()) == ([f"xdr-stored@{SIZE}"] if end == "mark" else [])


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
    for other in a_disk():
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


# any order of writes, marks and restarts

PLACES = st.tuples(st.integers(0, 62), st.integers(1, 2 * BLOCK // 512))
STEPS = st.one_of(
    st.tuples(st.sampled_from(["write -P 5", "write -P 6", "write -z", "discard"]), PLACES),
    st.tuples(st.sampled_from(["mark", "keep", "drop"]), st.sampled_from(["a", "b", "c"])),
    st.tuples(st.sampled_from(["restart", "crash", "look"]), st.none()),
)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=4, max_size=10), running=st.booleans(), serving=st.booleans())
def test_no_order_of_events_makes_a_tracker_miss_a_block(steps: list[tuple[str, object]], running: bool, serving: bool) -> None:
    for disk in a_disk(serving=serving):
        if running:
            disk.start()
        Course(disk).all([*steps, ("look", None)])


class Course:
    """What the volume was at each mark, and which blocks were written since."""

    def __init__(self, disk: Disk) -> None:
        self.disk, self.tracker = disk, disk.tracker()
        self.marks: dict[str, tuple[bytes, set[int]]] = {}
        self.lost: set[str] = set()

    def all(self, steps: list[tuple[str, object]]) -> None:
        for step, argument in steps:
            act = getattr(self, step, None)
            if act:
                act(argument)
            else:
                self.write(step, argument)

    def write(self, command: str, place: object) -> None:
        assert isinstance(place, tuple)
        block, sectors = place
        length = min(sectors * 512, SIZE // 512 * 512 - block * BLOCK)
        self.disk.guest(f"{command} {block * BLOCK} {length}")
        for _, touched in self.marks.values():
            touched |= set(range(block, count(block * BLOCK + length)))

    def mark(self, name: str) -> None:
        self.tracker.mark(name)
        self.marks[name] = (self.disk.volume.read_bytes(), set())
        self.lost.discard(name)

    def keep(self, name: str) -> None:
        self.tracker.keep(name)
        self.marks = {mark: known for mark, known in self.marks.items() if mark == name}

    def drop(self, name: str) -> None:
        self.tracker.drop(name)
        self.marks.pop(name, None)

    def restart(self, _: object) -> None:
        self.disk.stop() if self.disk.process else self.disk.start()

    def crash(self, _: object) -> None:
        if self.disk.process:
            self.disk.crash()
            self.lost |= set(self.marks)

    def look(self, _: object) -> None:
        now = self.disk.volume.read_bytes()
        for mark in ("a", "b", "c"):
            if mark not in self.marks or mark in self.lost:
                assert self.tracker.why(mark)
            else:
                before, touched = self.marks[mark]
                named = set(indexes(self.tracker.known(mark)))
                assert differing(before, now) <= named <= touched
