# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Blocks, their digests and holes."""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta import blocks, scanning
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK, Range
from ansible_collections.xdr.failback.plugins.module_utils.delta.hashes import DIGEST, NULL, function
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.delta_pair import content, quick_folder, write_sparse

BLOCKS = st.lists(st.sampled_from([0, 0, 1, 2]), max_size=40)
TAIL = st.sampled_from([0, 1, 513])


def naive(data: bytes) -> bytes:
    """SHA-256 of each block; 32 zero bytes for one of zeros."""
    parts = (data[at : at + BLOCK] for at in range(0, len(data), BLOCK))
    return b"".join(hashlib.sha256(part).digest() if part.strip(b"\0") else NULL for part in parts)


@settings(max_examples=60)
@given(numbers=BLOCKS, tail=TAIL, sparse=st.booleans(), other=BLOCKS)
def test_a_scan_finds_every_block_whether_there_are_holes_or_not(numbers: list[int], tail: int, sparse: bool, other: list[int]) -> None:
    data, known = content(numbers, tail), naive(content(other))
    with quick_folder() as folder, scanning.pool() as workers:
        path = folder / "volume"
        write_sparse(path, data) if sparse else path.write_bytes(data)
        with path.open("rb") as stream:
            size = blocks.size_of(stream.fileno())
            everything = [(0, blocks.count(size))] if size else []

            def theirs(first: int, number: int) -> bytes:
                return known[first * DIGEST : (first + number) * DIGEST].ljust(number * DIGEST, b"\0")

            chunks = list(scanning.scan(stream.fileno(), size, everything, function("sha256"), workers, theirs))
    assert b"".join(chunk.digests for chunk in chunks) == naive(data)
    mine = naive(data)
    differing = [index for index in range(blocks.count(size)) if mine[index * 32 : index * 32 + 32] != theirs(index, 1)]
    assert list(blocks.indexes(blocks.joined(*(chunk.touched for chunk in chunks)))) == differing
    for (first, number), content_of, digests in (run for chunk in chunks for run in chunk.runs):
        assert content_of == data[first * BLOCK : (first + number) * BLOCK]
        assert digests == naive(content_of)


RANGES = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 90)), max_size=8).map(lambda found: blocks.joined(found))


@settings(max_examples=30)
@given(of=RANGES)
def test_a_scan_of_extents_reads_these_and_no_others(of: list[Range]) -> None:
    data = content([number % 5 for number in range(300)])
    digests = naive(data)
    of = blocks.clipped(of, 300)
    with quick_folder() as folder, scanning.pool() as workers:
        (folder / "volume").write_bytes(data)
        with (folder / "volume").open("rb") as stream:
            chunks = list(scanning.scan(stream.fileno(), len(data), of, function("sha256"), workers))
    parts = [part for chunk in chunks for part in chunk.parts]
    assert list(blocks.indexes(parts)) == list(blocks.indexes(of))
    assert b"".join(chunk.digests for chunk in chunks) == b"".join(digests[32 * i : 32 * i + 32] for i in blocks.indexes(of))
    assert all(sum(number for _, number in chunk.parts) <= blocks.CHUNK_BLOCKS for chunk in chunks)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=12))
def test_joined_ranges_are_the_union_sorted_and_apart(of: list[Range]) -> None:
    found = blocks.joined(of)
    assert list(blocks.indexes(found)) == sorted(set(blocks.indexes(of)))
    assert all(sum(one) < other[0] for one, other in itertools.pairwise(found))


@given(of=st.lists(st.integers(0, 60), max_size=30).map(blocks.ranges), done=st.integers(0, 70))
def test_what_is_behind_some_blocks_is_the_rest_of_them(of: list[Range], done: int) -> None:
    left = blocks.behind(of, done)
    assert list(blocks.indexes(left)) == list(blocks.indexes(of))[done:]
    assert all(number for _, number in left)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=12), st.integers(1, 5))
def test_coarse_ranges_lose_nothing(of: list[Range], most: int) -> None:
    of = blocks.joined(of)
    found = blocks.coarse(of, most)
    assert len(found) <= most
    assert set(blocks.indexes(of)) <= set(blocks.indexes(found))


@given(st.sets(st.integers(0, 60)))
def test_ranges_are_sorted_apart_and_complete(indexes: set[int]) -> None:
    found = blocks.ranges(indexes)
    assert list(blocks.indexes(found)) == sorted(indexes)
    assert all(sum(one) < other[0] for one, other in itertools.pairwise(found))


def test_reserving_changes_no_content_and_no_size(tmp_path: Path) -> None:
    path = tmp_path / "volume"
    write_sparse(path, content([1, 0, 0, 2]))
    with path.open("r+b") as stream:
        blocks.reserve(stream.fileno(), [(1, 2), (4, 3)])
    assert path.read_bytes() == content([1, 0, 0, 2])


def test_a_hole_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    with (tmp_path / "volume").open("w+b", buffering=0) as stream:
        stream.write(bytes(8 * BLOCK))
        assert not blocks.has_holes(stream.fileno(), 8 * BLOCK)
        assert blocks.has_holes(stream.fileno(), 8 * BLOCK + 1), "it is about to grow"
        blocks.clear(stream.fileno(), 5 * BLOCK, BLOCK)
        assert blocks.has_holes(stream.fileno(), 8 * BLOCK)


@pytest.mark.parametrize(("offset", "nbytes"), [(0, BLOCK), (BLOCK, 2 * BLOCK), (3 * BLOCK, 7), (0, 0)])
def test_cleared_bytes_are_zeros(tmp_path: Path, offset: int, nbytes: int) -> None:
    path, data = tmp_path / "volume", content([1, 2, 3, 4], 7)
    path.write_bytes(data)
    with path.open("r+b") as stream:
        blocks.clear(stream.fileno(), offset, nbytes)
    assert path.read_bytes() == data[:offset] + bytes(nbytes) + data[offset + nbytes :]


def test_a_missing_volume_has_no_size(tmp_path: Path) -> None:
    assert blocks.size_at(tmp_path / "nothing") is None
    assert not os.listdir(tmp_path)  # noqa: PTH208
