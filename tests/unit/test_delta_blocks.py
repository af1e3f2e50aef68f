# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Blocks, their digests and holes."""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta import blocks
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.delta.lag import differing_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.delta_pair import content, quick_folder, write_sparse

BLOCKS = st.lists(st.sampled_from([0, 0, 1, 2]), max_size=40)
TAIL = st.sampled_from([0, 1, 513])


def naive(data: bytes) -> bytes:
    return b"".join(hashlib.sha256(data[at : at + BLOCK]).digest() for at in range(0, len(data), BLOCK))


@settings(deadline=None, max_examples=60)
@given(numbers=BLOCKS, tail=TAIL, sparse=st.booleans())
def test_a_scan_finds_every_block_whether_there_are_holes_or_not(numbers: list[int], tail: int, sparse: bool) -> None:
    data = content(numbers, tail)
    with quick_folder() as folder:
        path = folder / "volume"
        write_sparse(path, data) if sparse else path.write_bytes(data)
        found: dict[int, bytes] = {}
        with path.open("rb") as stream:
            size = blocks.size_of(stream.fileno())
            digests = blocks.scan(stream.fileno(), size, lambda index, block, _: found.update({index: block or b""}))
            assert b"".join(block or bytes(blocks.length(index, size)) for index, block in sorted(found.items())) == data
            assert blocks.digests_of(stream.fileno(), size, [(0, blocks.count(size))]) == digests
        assert bytes(digests) == naive(data)
        assert list(found) == list(range(blocks.count(size)))


@given(st.sets(st.integers(0, 60)))
def test_ranges_are_sorted_apart_and_complete(indexes: set[int]) -> None:
    found = blocks.ranges(indexes)
    assert list(blocks.indexes(found)) == sorted(indexes)
    assert all(sum(one) < other[0] for one, other in itertools.pairwise(found))


@given(before=st.integers(0, 5), after=st.integers(0, 5), tail=TAIL)
def test_digests_of_an_extended_volume_are_those_of_zeros(before: int, after: int, tail: int) -> None:
    old, new = content([1] * before), content([1] * min(before, after) + [0] * max(0, after - before), tail if after > before else 0)
    assert bytes(blocks.resized(naive(old), len(new))) == naive(new)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], 0),
        ([1, 2, 3], [1, 9, 3], BLOCK),
        ([1], [1, 2], BLOCK),
        ([1, 2], [1], BLOCK),
        ([], [], 0),
        ([0], [0, 0], BLOCK),
    ],
)
def test_the_bytes_that_differ(old: list[int], new: list[int], expected: int) -> None:
    size = max(len(old), len(new)) * BLOCK
    assert differing_bytes(naive(content(old)), naive(content(new)), size) == expected


def test_reserving_changes_no_content_and_no_size(tmp_path: Path) -> None:
    path = tmp_path / "volume"
    write_sparse(path, content([1, 0, 0, 2]))
    with path.open("r+b") as stream:
        blocks.reserve(stream.fileno(), [(1, 2), (4, 3)])
    assert path.read_bytes() == content([1, 0, 0, 2])


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
