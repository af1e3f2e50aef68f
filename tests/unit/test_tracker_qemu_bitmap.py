# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The tracker qemu_bitmap against the bytes of the volume, with the real qemu-storage-daemon, libnbd and crashes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK, count, indexes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.qemu_disk import Disk, a_disk
from tests.support.site_tracker import SiteTracker

SIZE = 64 * BLOCK + 1000  # no whole number of blocks or sectors

WRITES = ["write -P 7 64k 4k", "write -P 8 1M 200000", "write -P 9 3M 512", "write -P 9 4193792 512"]
WRITTEN = [(1, 1), (16, 4), (48, 1), (63, 1)]


@pytest.fixture
def disk() -> Iterator[Disk]:
    yield from a_disk(SIZE)


@pytest.fixture(params=["stopped", "running", "serving"])
def any_disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    """In both situations; ``serving``: the instance runs an NBD server already."""
    for disk in a_disk(SIZE, serving=request.param == "serving"):
        if request.param != "stopped":
            disk.start()
        yield disk


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
    disk.guest("write -P 5 64k 512", f"write -P 5 {70 * BLOCK} 512")
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
    for disk in a_disk(size):
        tracker = disk.tracker()
        tracker.mark("a")
        assert tracker.known("a") == []
        if size >= 512:
            disk.guest("write -P 5 0 512")
            assert tracker.known("a") == [(0, 1)]
        tracker.forget()
        assert disk.volume.stat().st_size == size


def test_of_an_empty_volume_qemu_stores_no_bitmap() -> None:
    for disk in a_disk(0):
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


# any order of writes, marks and restarts

PLACES = st.tuples(st.integers(0, 62), st.integers(1, 2 * BLOCK // 512))
STEPS = st.one_of(
    st.tuples(st.sampled_from(["write -P 5", "write -P 6", "write -z", "discard"]), PLACES),
    st.tuples(st.sampled_from(["mark", "keep", "drop"]), st.sampled_from(["a", "b", "c"])),
    st.tuples(st.sampled_from(["restart", "crash", "look"]), st.none()),
)


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=4, max_size=10), running=st.booleans(), serving=st.booleans())
def test_no_order_of_events_makes_a_tracker_miss_a_block(steps: list[tuple[str, object]], running: bool, serving: bool) -> None:
    for disk in a_disk(SIZE, serving=serving):
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
