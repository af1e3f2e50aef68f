# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Cycles that do not read everything: kept digests, trackers, pages; and what finds out a tracker that is wrong."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta import preview
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK, Range
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.interface import Changed, Unknown
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.delta_pair import Pair, content, cut_after

SIZE = 40


class Told:
    """A tracker that is told what changed."""

    name = "told"
    snapshots = False

    def __init__(self, *changed: Range) -> None:
        self.ranges: Changed = list(changed)
        self.calls: list[str] = []

    def mark(self, mark: str) -> None:
        self.calls.append("mark")

    def changed(self, since: str) -> Changed:
        assert since
        return self.ranges

    def reader(self) -> int | None:
        return None

    def keep(self, mark: str) -> None:
        self.calls.append("keep")

    def drop(self, mark: str) -> None:
        self.calls.append("drop")

    def forget(self) -> None:
        self.calls.append("forget")


@pytest.fixture
def pair() -> Iterator[Pair]:
    """On a disk: file systems in memory do not tell who wrote. Equal after a full compare."""
    with tempfile.TemporaryDirectory(prefix="xdr-", dir=Path(__file__).parent) as folder:
        pair = Pair(Path(folder), "orders", grows=True)
        pair.write(pair.source, "orders", content([1 + number % 5 for number in range(SIZE)]))
        pair.ready()
        pair.sync(compare=True)
        yield pair


def poke(pair: Pair, offset: int, data: bytes) -> None:
    with pair.path(pair.source, "orders").open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


def is_equal(pair: Pair) -> bool:
    return pair.both(pair.source) == pair.both(pair.target)


def test_nothing_is_read_where_nobody_wrote(pair: Pair) -> None:
    [result] = pair.sync()
    assert (result["method"], result["bytes_sent"]) == ("unchanged", 0)


def test_the_targets_kept_digests_spare_its_scan(pair: Pair) -> None:
    poke(pair, 3 * BLOCK, b"x")
    [result] = pair.sync()
    assert (result["method"], result["blocks_changed"]) == ("digests", 1)
    assert is_equal(pair)


def test_a_target_that_was_written_is_scanned_and_says_why(pair: Pair) -> None:
    pair.write(pair.target, "orders", content([9] * SIZE))
    [result] = pair.sync()
    assert result["method"] == "scan"
    assert "it was written at" in result["why"]
    assert is_equal(pair)


def test_only_the_tracked_extents_are_read(pair: Pair) -> None:
    poke(pair, 3 * BLOCK, b"x")
    poke(pair, 7 * BLOCK, b"y")
    told = Told((3, 1), (20, 2))
    [result] = pair.sync(trackers={"orders": told})
    assert (result["method"], result["why"], result["blocks_changed"]) == ("tracked", "told", 1)
    assert told.calls == ["mark", "keep"]
    assert pair.read(pair.target, "orders")[3 * BLOCK :][:1] == b"x"
    assert not is_equal(pair), "block 7 was not named, so it was not read"


def test_a_tracker_that_does_not_know_means_a_scan(pair: Pair) -> None:
    poke(pair, 3 * BLOCK, b"x")
    told = Told()
    told.ranges = Unknown("the mark is gone")
    [result] = pair.sync(trackers={"orders": told})
    assert (result["method"], result["why"]) == ("digests", "the mark is gone")
    assert is_equal(pair)


@pytest.mark.parametrize("extents", ["sent", "all"])
def test_a_tracker_that_misses_an_extent_is_caught_by_the_proof(pair: Pair, extents: str) -> None:
    poke(pair, 3 * BLOCK, b"x")
    poke(pair, 7 * BLOCK, b"y")
    pair.sync(final=True, trackers={"orders": Told((3, 1))})
    with pytest.raises(XdrError, match="block 7 ") as failure:
        pair.sync(verify=True, extents=extents)
    assert failure.value.code == "not_equal"


def test_a_tracker_that_misses_an_extent_is_mended_by_a_full_compare(pair: Pair) -> None:
    poke(pair, 7 * BLOCK, b"y")
    told = Told()
    pair.sync(trackers={"orders": told})
    assert not is_equal(pair)
    [result] = pair.sync(compare=True, trackers={"orders": told})
    assert result["equal"]
    assert is_equal(pair)


def test_a_proof_says_when_it_had_no_time_to_read_the_source(pair: Pair) -> None:
    poke(pair, 3 * BLOCK, b"x")
    pair.sync(final=True)
    assert pair.sync(verify=True)[0]["source_read"]
    assert not pair.sync(verify=True, read_source_within=0.0)[0]["source_read"]


def test_of_scattered_writes_only_the_pages_go_over(pair: Pair) -> None:
    for index in range(0, SIZE, 2):
        poke(pair, index * BLOCK + 5000, b"page")
    [result] = pair.sync(final=True, compression="none")
    assert result["blocks_changed"] == SIZE // 2
    assert result["bytes_sent"] < SIZE // 2 * 2 * 4096
    assert is_equal(pair)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    writes=st.lists(st.tuples(st.integers(0, SIZE * BLOCK - 1), st.integers(1, 9000), st.integers(0, 255)), max_size=12),
    size=st.sampled_from([SIZE * BLOCK, SIZE * BLOCK - 5, 7 * BLOCK + 4097, SIZE * BLOCK + 70_000]),
    known=st.booleans(),
)
def test_any_writes_arrive_whatever_way_they_go(pair: Pair, writes: list[tuple[int, int, int]], size: int, known: bool) -> None:
    with pair.path(pair.source, "orders").open("r+b") as stream:
        before = stream.seek(0, 2)
        stream.truncate(size)
        for offset, number, byte in writes:
            if offset < size:
                stream.seek(offset)
                stream.write(bytes([byte]) * min(number, size - offset))
    ranges = [(offset // BLOCK, (offset + number - 1) // BLOCK - offset // BLOCK + 1) for offset, number, _ in writes if offset < size]
    trackers = {"orders": Told(*sorted(ranges))} if known and size >= before else {}
    pair.sync(trackers=trackers)
    assert is_equal(pair)
    assert pair.sync(verify=True)[0]["source_read"]


def predicted(pair: Pair) -> dict[str, object]:
    return pair.sync(work=preview.preview)[0]


def test_a_preview_tells_what_then_happens(pair: Pair) -> None:
    assert (predicted(pair)["method"], predicted(pair)["predicted_bytes"]) == ("unchanged", 0)
    for index in range(8):
        poke(pair, index * BLOCK, bytes([index + 40]) * BLOCK)
    before = predicted(pair)
    assert (before["method"], before["predicted_bytes"]) == ("digests", 8 * BLOCK)
    [result] = pair.sync(final=True)
    assert result["method"] == before["method"]
    assert abs(result["bytes_sent"] - 8 * BLOCK) < 0.25 * 8 * BLOCK
    pair.write(pair.target, "orders", content([9] * SIZE))
    after = predicted(pair)
    assert after["method"] == "scan"
    assert "it was written at" in str(after["why"])
    assert after["compare_seconds"] == 0.0


def test_a_preview_says_what_a_compare_in_the_downtime_costs(pair: Pair) -> None:
    pair.turn(pair.source, "promoted")
    pair.turn(pair.source, "source")
    assert isinstance(predicted(pair)["compare_seconds"], float)
    assert predicted(pair)["compare_seconds"] != 0.0


@pytest.mark.parametrize("seed", range(12))
def test_a_session_that_is_cut_off_goes_on_where_it_was(pair: Pair, seed: int) -> None:
    """At most a twentieth of what went over is sent again; what is on its way in pipes is not counted as gone over."""
    chosen = random.Random(seed)  # noqa: S311
    new = b"".join(chosen.randbytes(BLOCK) for _ in range(200))
    pair.write(pair.source, "orders", new)
    cut = chosen.randrange(len(new))
    with pytest.raises(XdrError):
        pair.through(cut_after(cut), lambda up: up, compression="none")
    spooled = sum(path.stat().st_size for path in (pair.target.plan_dir / "spool").glob("*.part"))
    [result] = pair.sync(compression="none")
    assert is_equal(pair)
    assert result["bytes_sent"] <= len(new) * 1.01 - spooled + 0.05 * cut
    assert spooled >= cut - (4 << 20) - (1 << 20), "all but the last frame was kept"


def test_what_was_cut_off_is_no_use_once_the_copy_has_changed(pair: Pair) -> None:
    pair.write(pair.source, "orders", os.urandom(SIZE * BLOCK))
    with pytest.raises(XdrError):
        pair.through(cut_after(1 << 20), lambda up: up)
    pair.turn(pair.target, "promoted")
    pair.turn(pair.target, "target")
    assert not list((pair.target.plan_dir / "spool").iterdir())
    pair.sync()
    assert is_equal(pair)
