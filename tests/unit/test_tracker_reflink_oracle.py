# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The reflink tracker against a comparison of every byte, on real file systems: it may name too much, never too little."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta import blocks
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.reflink import Reflink
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.filesystems import Disk, kinds, mounted
from tests.support.images import content
from tests.support.strokes import FURTHEST, PAGE, Stroke, play, strokes


@pytest.fixture(scope="module", params=kinds("xfs", "btrfs", "btrfs-compressed", "btrfs-nodatacow"))
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    with mounted(request.param) as one:
        yield one


def differing(one: bytes, other: bytes) -> set[int]:
    """The oracle: blocks of ``other`` that are not the same in ``one``, by content or by length."""
    return {at // BLOCK for at in range(0, len(other), BLOCK) if one[at : at + BLOCK] != other[at : at + BLOCK]}


def named(tracker: Reflink, since: str, size: int) -> set[int]:
    """What the tracker says, in the shape that the interface promises."""
    ranges = tracker.changed(since)
    assert isinstance(ranges, list), ranges
    assert all(sum(one) < other[0] for one, other in itertools.pairwise(ranges))
    found = set(blocks.indexes(ranges))
    assert not ranges or (ranges[0][0] >= 0 and sum(ranges[-1]) <= blocks.count(size))
    return found


@settings(max_examples=50)
@given(first=strokes, rounds=st.lists(strokes, min_size=1, max_size=2), late=strokes)
def test_no_changed_block_is_missed(disk: Disk, first: list[Stroke], rounds: list[list[Stroke]], late: list[Stroke]) -> None:
    with tempfile.TemporaryDirectory(dir=disk.point) as folder:
        volume = Path(folder, "volume")
        play(volume, [("write", 0, FURTHEST // 2, 7), ("allocate", FURTHEST // 2, 4 * BLOCK, 0), *first])
        tracker = Reflink(volume)
        tracker.mark("0")
        before, touched_late = volume.read_bytes(), set[int]()
        for number, some in enumerate(rounds, 1):
            touched = play(volume, some) | touched_late
            tracker.mark(str(number))
            after = volume.read_bytes()
            touched_late = play(volume, late)  # after the mark: none of this cycle's business
            found = named(tracker, str(number - 1), len(after))
            assert differing(before, after) <= found
            if disk.kind != "btrfs-compressed" and min(len(before), len(after)) > PAGE:  # a smaller file may lie among the metadata
                assert found <= touched
            assert content(tracker) == after
            tracker.keep(str(number))
            before = after
        tracker.forget()
        assert list(Path(folder).iterdir()) == [volume]
