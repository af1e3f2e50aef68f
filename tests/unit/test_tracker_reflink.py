# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The reflink tracker on real file systems: what it names, and where it can be used."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta import blocks
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers import extents
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.interface import Unknown
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.reflink import Reflink, available
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from tests.support.filesystems import Disk, kinds, mounted
from tests.support.images import FULL, SIZE, clones, content, image, made
from tests.support.strokes import PAGE, Stroke, play


@pytest.fixture(scope="module", params=kinds("xfs", "btrfs", "btrfs-nodatacow"))
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    with mounted(request.param) as one:
        yield one


@pytest.fixture
def volume(disk: Disk) -> Iterator[Path]:
    with image(disk) as path:
        yield path


ODD = SIZE + 5 * PAGE + 3


@pytest.mark.parametrize(
    ("strokes", "named"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([("write", 5 * BLOCK + 9, 1, 1)], [(5, 1)], id="one byte"),
        pytest.param([("write", 5 * BLOCK - 1, 2, 1)], [(4, 2)], id="over an edge"),
        pytest.param([("write_through", 5 * BLOCK, PAGE, 1), ("write_through", 9 * BLOCK, PAGE, 1)], [(5, 1), (9, 1)], id="direct"),
        pytest.param([("write_again", 5 * BLOCK, BLOCK, 0)], [(5, 1)], id="the same again"),
        pytest.param([("write", 40 * BLOCK, PAGE, 1)], [(40, 1)], id="into a hole"),
        pytest.param([("punch", 5 * BLOCK, 2 * BLOCK, 0)], [(5, 2)], id="a new hole"),
        pytest.param([("punch", 40 * BLOCK, 2 * BLOCK, 0)], [], id="a hole in a hole"),
        pytest.param([("allocate", 40 * BLOCK, 9 * BLOCK, 0)], [], id="allocated, not written"),
        pytest.param([("allocate", 40 * BLOCK, 9 * BLOCK, 0), ("write", 41 * BLOCK, 9, 1)], [(41, 1)], id="allocated, then written"),
        pytest.param([("allocate", SIZE, 9 * BLOCK, 1)], [], id="space beyond the end"),
        pytest.param([("write", BLOCK, 9, 1), ("truncate", 20 * BLOCK, 0, 0)], [(1, 1)], id="shorter"),
        pytest.param([("truncate", 20 * BLOCK + 1, 0, 0)], [(20, 1)], id="shorter, inside a block"),
        pytest.param([("truncate", 0, 0, 0)], [], id="empty"),
        pytest.param([("truncate", SIZE + 3 * BLOCK, 0, 0)], [(64, 3)], id="longer, with a hole"),
        pytest.param([("write", SIZE, 3 * BLOCK + 1, 1)], [(64, 4)], id="longer, with data"),
        pytest.param([("truncate", ODD, 0, 0)], [(64, 1)], id="longer, inside a block"),
        pytest.param([("truncate", 20 * BLOCK, 0, 0), ("truncate", SIZE, 0, 0)], [(20, 12)], id="shorter and back"),
    ],
)
def test_what_changed_and_no_more(volume: Path, strokes: list[Stroke], named: list[tuple[int, int]]) -> None:
    tracker = Reflink(volume)
    tracker.mark("one")
    play(volume, strokes)
    tracker.mark("two")
    now = volume.read_bytes()
    play(volume, [("write", 30 * BLOCK, 1, 3), ("truncate", 2 * SIZE, 0, 0)])  # after the mark: this cycle does not see it
    assert tracker.changed("one") == named
    assert tracker.changed("two") == []
    assert content(tracker) == now


@pytest.mark.parametrize("end", [ODD, 65 * BLOCK - 1, 64 * BLOCK + 1])
def test_a_short_end_counts_when_the_volume_grows_over_it(volume: Path, end: int) -> None:
    play(volume, [("truncate", end, 0, 0)])
    tracker = Reflink(volume)
    tracker.mark("one")
    play(volume, [("truncate", end + 1, 0, 0)])
    tracker.mark("two")
    assert tracker.changed("one") == [(64, 1)]


def test_what_another_file_shares_is_not_taken_for_unchanged(volume: Path) -> None:
    """A block moves within the volume: its place is known to the older snapshot, but for another offset."""
    tracker = Reflink(volume)
    tracker.mark("one")
    play(volume, [("share", 3 * BLOCK, BLOCK, 20)])
    tracker.mark("two")
    assert tracker.changed("one") == [(3, 1)]


def test_the_next_cycle_in_another_process_starts_from_what_was_kept(volume: Path) -> None:
    first = Reflink(volume)
    first.mark("one")
    first.mark("abandoned")
    first.drop("abandoned")
    play(volume, [("write", 7 * BLOCK, 1, 1)])
    first.mark("two")
    first.keep("two")
    play(volume, [("write", 9 * BLOCK, 1, 1)])
    second = Reflink(volume)
    second.mark("three")
    assert second.changed("two") == [(9, 1)]
    assert isinstance(second.changed("one"), Unknown)
    assert sorted(path.name for path in clones(volume).iterdir()) == ["three", "three.json", "two", "two.json"]
    assert {path.stat().st_mode & 0o777 for path in clones(volume).iterdir() if not path.suffix} == {0o600}
    second.forget()
    second.forget()
    assert list(volume.parent.iterdir()) == [volume]


def test_a_dropped_mark_is_as_if_it_had_not_been_set(volume: Path) -> None:
    tracker = Reflink(volume)
    tracker.mark("one")
    before = volume.read_bytes()
    play(volume, [("write", 7 * BLOCK, 1, 1)])
    tracker.mark("two")
    tracker.drop("two")
    tracker.drop("never-set")
    assert content(tracker) == before
    assert tracker.changed("one") == []


def test_a_mark_can_be_set_again(volume: Path) -> None:
    tracker = Reflink(volume)
    tracker.mark("one")
    play(volume, [("write", 7 * BLOCK, 1, 1)])
    tracker.mark("two")
    play(volume, [("write", 9 * BLOCK, 1, 1)])
    tracker.mark("one")
    assert content(tracker) == volume.read_bytes()
    assert tracker.changed("two") == [(9, 1)]


def test_marks_while_others_write(volume: Path) -> None:
    """By write and through a mapping, without a pause; what each snapshot holds is held against what is said of it."""
    tracker, stop = Reflink(volume), threading.Event()

    def scribble(name: str) -> None:
        for seed in range(1_000_000):
            if stop.is_set():
                return
            play(volume, [(name, (seed * 7919) % FULL, 5000, seed % 256)])

    threads = [threading.Thread(target=scribble, args=(name,)) for name in ("write", "store", "write_through")]
    for thread in threads:
        thread.start()
    try:
        tracker.mark("m0")
        before = content(tracker)
        for number in range(1, 16):
            tracker.mark(f"m{number}")
            after = content(tracker)
            ranges = tracker.changed(f"m{number - 1}")
            assert isinstance(ranges, list)
            differing = {at // BLOCK for at in range(0, SIZE, BLOCK) if before[at : at + BLOCK] != after[at : at + BLOCK]}
            assert differing <= set(blocks.indexes(ranges))
            assert content(tracker) == after
            before = after
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.root("btrfs-compressed")
def test_two_compressed_extents_that_seem_to_be_in_one_place() -> None:
    """btrfs puts the new second half just where the kernel claims that the old one is: the answers of FIEMAP are the same."""
    with mounted("btrfs-compressed") as disk:
        volume, filler = disk.point / "orders.img", disk.point / "filler"
        play(volume, [("write", 0, 2 * BLOCK, 2), ("sync", 0, 0, 0)])
        play(filler, [("write", 0, 15 * PAGE, 1), ("sync", 0, 0, 0)])
        tracker = Reflink(volume)
        tracker.mark("one")
        play(volume, [("write", BLOCK, BLOCK, 4)])
        tracker.mark("two")
        assert tracker.changed("one") == [(0, 2)]


@pytest.mark.parametrize("kind", kinds("btrfs", "xfs"))
def test_moving_a_volume_on_the_disk_misses_nothing(kind: str) -> None:
    with mounted(kind) as disk:
        volume = made(disk.point / "orders.img")
        tracker = Reflink(volume)
        tracker.mark("one")
        play(volume, [("write", 7 * BLOCK, 1, 1)])
        if kind == "btrfs":
            balance = ["btrfs", "balance", "start", "-d", str(disk.point)]
            subprocess.run(balance, check=True, capture_output=True)
        else:
            subprocess.run(["xfs_fsr", str(volume)], check=True, capture_output=True)
        tracker.mark("two")
        ranges = tracker.changed("one")
        assert isinstance(ranges, list)
        assert 7 in blocks.indexes(ranges)
        assert kind == "xfs" or ranges == [(7, 1)]  # a balance takes the clones along


# -- where it can be used ------------------------------------------------------------------------------------------


def test_available_tries_it_and_leaves_no_trace(volume: Path) -> None:
    before = volume.stat()
    link = volume.with_name("link")
    link.symlink_to(volume)
    assert (available(volume), available(link)) == ("", "")
    link.unlink()
    assert (volume.stat().st_mtime_ns, volume.stat().st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    assert list(volume.parent.iterdir()) == [volume]
    os.truncate(volume, 0)
    assert available(volume) == ""


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        pytest.param("tmpfs", "tmpfs cannot clone files", marks=pytest.mark.root),
        pytest.param(
            "xfs-without-reflink", "xfs cannot clone files (made without reflink=1)", marks=pytest.mark.root("xfs-without-reflink")
        ),
    ],
)
def test_where_files_cannot_be_cloned(kind: str, why: str) -> None:
    with mounted(kind) as disk:
        volume = made(disk.point / "orders.img")
        assert available(volume) == why
        with pytest.raises(XdrError, match="no snapshot could be made"):
            Reflink(volume).mark("one")
        assert not list(clones(volume).iterdir())


@pytest.mark.parametrize(
    ("path", "why"), [("/dev/null", "the volume is not a regular file"), ("/nowhere/volume", "cannot be cloned beside itself")]
)
def test_what_is_no_file_cannot_be_tracked(path: str, why: str) -> None:
    assert why in available(Path(path))


@pytest.mark.parametrize("flag", ["+C", "-C"])
@pytest.mark.parametrize("kind", kinds("btrfs", "btrfs-nodatacow"))
def test_a_volume_with_checksums_in_a_folder_without_and_the_reverse(kind: str, flag: str) -> None:
    with mounted(kind) as disk:
        volume = disk.point / "orders.img"
        volume.touch()
        subprocess.run(["chattr", flag, str(volume)], check=True)
        made(volume)
        subprocess.run(["chattr", "-C" if flag == "+C" else "+C", str(disk.point)], check=True)
        assert available(volume) == ""
        tracker = Reflink(volume)
        tracker.mark("one")
        play(volume, [("write", 3 * BLOCK, 1, 1)])
        tracker.mark("two")
        assert tracker.changed("one") == [(3, 1)]


def test_a_file_is_told_by_the_name_of_its_file_system(tmp_path: Path) -> None:
    with tmp_path.joinpath("file").open("w") as stream:
        assert re.fullmatch("[a-z0-9]+", extents.file_system(stream.fileno()))
