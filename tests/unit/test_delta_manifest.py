# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Kept digests: never whole on disk unless they are, and never believed after somebody else wrote."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta import identity, manifest
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.delta.manifest import Draft, Header, Manifest
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.interface import Unknown
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.manifest import kept
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.delta_pair import in_killed_child, quick_folder

ONE, TWO = b"1" * 32, b"2" * 32


def made(path: Path, digests: bytes, **fields: object) -> None:
    draft = Draft(path)
    draft.put(0, digests)
    draft.publish(Header("sha256", len(digests) // 32 * BLOCK, **fields))  # type: ignore[arg-type]


def read(path: Path, number: int) -> bytes | None:
    found = Manifest.load(path)
    if found is None:
        return None
    with found:
        return found.read(0, number)


@settings(max_examples=40)
@given(
    digests=st.lists(st.sampled_from([ONE, TWO, bytes(32)]), max_size=9),
    changes=st.lists(st.tuples(st.integers(0, 8), st.sampled_from([ONE, TWO, bytes(32)])), max_size=6),
    size=st.integers(0, 9),
)
def test_changes_are_made_in_place_and_what_is_cut_off_is_zeros(digests: list[bytes], changes: list[tuple[int, bytes]], size: int) -> None:
    with quick_folder() as folder:
        path = folder / "manifest"
        made(path, b"".join(digests))
        changes = [change for change in changes if change[0] < size]
        assert manifest.update(path, Header("sha256", size * BLOCK, cycle=7, state="s"), changes)
        expected = (digests + [bytes(32)] * 9)[:size]
        for index, digest in changes:
            expected[index] = digest
        assert read(path, 12) == b"".join(expected) + bytes(32) * (12 - size)
        found = Manifest.load(path)
        assert found
        assert (found.header.cycle, found.header.state) == (7, "s")
        assert b"".join(part for _, part in found.windows(2)) == b"".join(expected)
        found.close()


def test_digests_of_another_kind_are_not_mixed_in(tmp_path: Path) -> None:
    made(tmp_path / "manifest", ONE)
    assert not manifest.update(tmp_path / "manifest", Header("blake3", BLOCK), [(0, TWO)])
    assert not manifest.update(tmp_path / "none", Header("sha256", BLOCK), [(0, TWO)])
    assert read(tmp_path / "manifest", 1) == ONE


@pytest.mark.parametrize("damage", [b"", b"{", b"x" * 5000, b'{"version": 1}'])
def test_what_is_no_manifest_is_none(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "manifest").write_bytes(damage)
    assert Manifest.load(tmp_path / "manifest") is None


def test_a_change_that_is_killed_at_any_call_leaves_old_or_new_or_none(tmp_path: Path) -> None:
    path, found = tmp_path / "manifest", []
    for call in range(1, 20):
        made(path, ONE + ONE, state="old")
        ended = in_killed_child(lambda: manifest.update(path, Header("sha256", 2 * BLOCK, state="new"), [(0, TWO), (1, TWO)]), call)
        found.append(read(path, 2))
        if ended:
            break
    assert ended
    assert set(found) == {ONE + ONE, None, TWO + TWO}


def test_a_draft_that_is_not_published_leaves_nothing(tmp_path: Path) -> None:
    draft = Draft(tmp_path / "manifest")
    draft.put(0, ONE)
    draft.close()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A folder on a file system that keeps exact times; /tmp may be in memory."""
    with tempfile.TemporaryDirectory(prefix="xdr-", dir=Path(__file__).parent) as folder:
        assert identity.believed(Path(__file__)) == "", "the checkout lies on a file system that tells nothing of writes"
        yield Path(folder)


def kept_of(folder: Path) -> Manifest | Unknown:
    return kept(folder / "manifest", folder / "volume", "sha256", 3)


def settled(volume: Path) -> identity.Identity | None:
    with volume.open("rb") as stream:
        return identity.settled(stream.fileno())


def rewritten(volume: Path) -> None:
    volume.write_bytes(b"b" * BLOCK)


def replaced(volume: Path) -> None:
    volume.with_name("other").write_bytes(b"a" * BLOCK)
    volume.with_name("other").replace(volume)


def mapped(volume: Path) -> None:
    with volume.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as memory:
        memory[7] = 1


def put_back_in_time(volume: Path) -> None:
    before = volume.stat()
    rewritten(volume)
    os.utime(volume, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("write", [rewritten, replaced, mapped, put_back_in_time])
def test_a_volume_that_somebody_wrote_is_read_anew(on_disk: Path, write: object) -> None:
    volume = on_disk / "volume"
    volume.write_bytes(b"a" * BLOCK)
    made(on_disk / "manifest", ONE, identity=settled(volume), epoch=3)
    found = kept_of(on_disk)
    assert isinstance(found, Manifest)
    found.close()
    write(volume)  # type: ignore[operator]
    found = kept_of(on_disk)
    assert isinstance(found, Unknown)
    assert "it was written at" in found.why or "another file" in found.why


def test_a_page_that_is_dirty_already_does_not_hide_a_write(on_disk: Path) -> None:
    """The second write to a mapped page changes no times as long as the page is dirty; the look makes it clean first."""
    volume = on_disk / "volume"
    volume.write_bytes(b"a" * BLOCK)
    with volume.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as memory:
        memory[7] = 1
        made(on_disk / "manifest", ONE, identity=settled(volume), epoch=3)
        memory[8] = 2
        assert isinstance(kept_of(on_disk), Unknown)


@pytest.mark.parametrize(
    ("fields", "why"),
    [({"epoch": 2}, "has owned the plan since"), ({"identity": None}, "somebody wrote to it while")],
)
def test_digests_of_another_time_are_not_believed(on_disk: Path, fields: dict[str, object], why: str) -> None:
    (on_disk / "volume").write_bytes(b"a" * BLOCK)
    made(on_disk / "manifest", ONE, **{"identity": settled(on_disk / "volume"), "epoch": 3, **fields})
    found = kept_of(on_disk)
    assert isinstance(found, Unknown)
    assert why in found.why


def test_a_device_tells_nothing_and_memory_neither() -> None:
    assert "device" in identity.believed(Path("/dev/null"))
    if Path("/dev/shm").is_mount():
        with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
            assert "tmpfs" in identity.believed(Path(file.name))
