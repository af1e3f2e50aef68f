# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Old blocks that are kept while a cycle comes in: they count only if nothing moved until the commit, and nothing of them is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta import apply, identity, undo, undo_log
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.errors import Refused, XdrError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.delta_pair import Pair, content, cut_after, gone_on, pipe, quick_folder, receive_in_killed_child
from tests.support.filesystems import kinds, mounted
from tests.support.processes import wait_until

OLD = {"orders": content([1, 2, 0, 4]), "customers": content([3, 0, 5, 5], tail=9)}
NEW = {"orders": content([1, 0, 3, 6, 7], tail=33), "customers": content([8, 0])}


@pytest.fixture(autouse=True)
def _times_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody maps these volumes, so memory tells of every write here."""
    monkeypatch.setattr(identity, "_EXACT", (*identity._EXACT, "tmpfs"))


@pytest.fixture
def pair() -> Iterator[Pair]:
    with quick_folder() as folder:
        yield gone_on(folder / "begun", OLD, NEW)


@pytest.fixture
def rereads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The volumes whose old blocks a commit read anew."""
    found: list[str] = []
    old = apply._old

    def noted(entries: Any, volume: apply.Incoming, size: int) -> Any:
        found.append(volume.folder.volume.name)
        return old(entries, volume, size)

    monkeypatch.setattr(apply, "_old", noted)
    return found


def undo_of(pair: Pair, name: str) -> Path:
    return pair.replication(pair.target, name).folder.undo


def segments(pair: Pair) -> list[Path]:
    """Those that no point has taken."""
    return [path for name in pair.volumes for path in undo_of(pair, name).glob(f"{undo_log.PREFIX}*")]


def check_nothing_is_left(pair: Pair) -> None:
    """Each file of a point is one that it knows."""
    assert not segments(pair)
    for name in pair.volumes:
        for point in undo.points(undo_of(pair, name)):
            known = {"meta.json", "index", "manifest", *(segment for segment, _ in point.segments)}
            assert {path.name for path in point.folder.iterdir()} <= known


def check_goes_back(pair: Pair, point: str, state: dict[str, bytes]) -> None:
    pair.turn(pair.target, "restored", point)
    assert {name: pair.read(pair.target, name) for name in pair.volumes} == state
    check_nothing_is_left(pair)


class Held:
    """A cycle whose commit does not reach the target before ``let_go``."""

    def __init__(self, pair: Pair, **options: Any) -> None:
        self._pair, self._options, self._go = pair, options, threading.Event()
        self.error: XdrError | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._pair.through(self._gate, lambda up: up, **self._options)
        except XdrError as error:
            self.error = error

    def _gate(self, source: BinaryIO) -> BinaryIO:
        reader, writer = pipe()

        def copy() -> None:
            with source, writer, contextlib.suppress(BrokenPipeError):
                while chunk := source.read(1 << 20):
                    before, commit, behind = chunk.partition(b'{"kind":"commit"')
                    writer.write(before)
                    if commit:
                        self._go.wait(60)
                    writer.write(commit + behind)

        threading.Thread(target=copy, daemon=True).start()
        return reader

    def __enter__(self) -> Held:
        self._thread.start()
        pair = self._pair
        wait_until(lambda: sum(path.stat().st_size > BLOCK for path in segments(pair)) == len(pair.volumes), "old blocks are kept", 60)
        return self

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.mark.parametrize("states", [0, 3])
def test_the_commit_need_not_read_what_was_kept(pair: Pair, rereads: list[str], states: int) -> None:
    pair.sync(recovery_points=states)
    assert rereads == []
    assert pair.both(pair.target) == [NEW[name] for name in pair.volumes]
    check_nothing_is_left(pair)
    if states:
        assert [point.name for point in undo.points(undo_of(pair, "orders"))] == ["before-reverse", "cycle-1"]
        check_goes_back(pair, "cycle-1", OLD)
    check_goes_back(pair, "before-reverse", OLD)


def test_an_overtaken_session_leaves_nothing_and_spoils_nothing(pair: Pair) -> None:
    with Held(pair) as held:
        pair.sync(final=False)
        assert segments(pair), "a living session's are left alone"
    assert isinstance(held.error, Refused)
    assert held.error.code == "overtaken"
    check_nothing_is_left(pair)
    check_goes_back(pair, "before-reverse", OLD)


def test_what_others_wrote_meanwhile_is_kept_too(pair: Pair, rereads: list[str]) -> None:
    with Held(pair) as held, pair.path(pair.target, "orders").open("r+b") as stream:
        stream.seek(3 * BLOCK)
        stream.write(b"written by somebody else")
    assert held.error is None
    assert rereads == ["orders"]
    assert pair.read(pair.target, "orders") == NEW["orders"]
    check_goes_back(
        pair,
        "before-reverse",
        {**OLD, "orders": OLD["orders"][: 3 * BLOCK] + b"written by somebody else" + OLD["orders"][3 * BLOCK + 24 :]},
    )


def test_a_point_that_was_opened_meanwhile_gets_the_old_blocks(pair: Pair, rereads: list[str]) -> None:
    with Held(pair) as held:
        pair.turn(pair.target, "target", "second")
    assert held.error is None
    assert sorted(rereads) == sorted(pair.volumes)
    check_goes_back(pair, "second", OLD)
    check_goes_back(pair, "before-reverse", OLD)


def test_segments_that_were_taken_away_are_read_anew(pair: Pair, rereads: list[str]) -> None:
    with Held(pair) as held:
        for path in segments(pair):
            path.unlink()
    assert held.error is None
    assert sorted(rereads) == sorted(pair.volumes)
    check_goes_back(pair, "before-reverse", OLD)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(down=st.integers(100_000, 420_000))
def test_a_session_that_goes_on_keeps_what_the_first_one_would_have(pair: Pair, rereads: list[str], down: int) -> None:
    begun = pair.source.state_dir.parent.parent
    if not (begun.parent / "kept").exists():
        shutil.copytree(begun, begun.parent / "kept")
    shutil.rmtree(begun)
    shutil.copytree(begun.parent / "kept", begun)
    rereads.clear()
    with contextlib.suppress(XdrError):
        pair.through(cut_after(down), lambda up: up)
    assert not segments(pair)
    pair.sync()
    assert rereads == []
    assert pair.both(pair.target) == [NEW[name] for name in pair.volumes]
    check_goes_back(pair, "before-reverse", OLD)


def test_a_receiver_that_is_killed_at_any_call_leaves_nothing_for_long(pair: Pair) -> None:
    """The next session clears up, and the recovery point is whole."""
    begun = pair.source.state_dir.parent.parent
    shutil.copytree(begun, begun.parent / "kept")
    left = 0
    for call in range(1, 200, 3):
        shutil.rmtree(begun)
        shutil.copytree(begun.parent / "kept", begun)
        ended = receive_in_killed_child(pair, call)
        left += bool(segments(pair))
        found = [pair.read(pair.target, name) for name in pair.volumes]
        pair.turn(pair.target, "promoted")
        pair.turn(pair.target, "target")
        settled = [pair.read(pair.target, name) for name in pair.volumes]
        assert settled in ([OLD[name] for name in pair.volumes], [NEW[name] for name in pair.volumes]), (call, found)
        pair.sync()
        check_nothing_is_left(pair)
        check_goes_back(pair, "before-reverse", OLD)
        if ended:
            break
    assert ended
    assert left > 2, "it was killed while segments were written"


@pytest.fixture(params=kinds("tmpfs-16m"))
def small(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """On a file system that has room for the spool of the new state (all zeros), and none for the old one."""
    with mounted(request.param) as disk:
        pair = Pair(disk.point, "orders", grows=True)
        pair.write(pair.source, "orders", content([1 + number for number in range(48)]))
        pair.ready()
        pair.sync()
        pair.turn(pair.target, "target", "before-reverse")
        pair.write(pair.source, "orders", content([0] * 47 + [1]))
        space = os.statvfs(disk.point)
        (disk.point / "ballast").write_bytes(bytes(space.f_bavail * space.f_frsize - (2 << 20)))
        yield pair


def test_a_disk_that_is_full_of_old_blocks_is_said_so_and_nothing_was_changed(small: Pair) -> None:
    before = small.read(small.target, "orders")
    with pytest.raises(XdrError, match=r"the disk is full.*no volume was changed") as failure:
        small.sync()
    assert failure.value.code == "disk_full"
    assert small.read(small.target, "orders") == before
    check_nothing_is_left(small)
    (small.source.state_dir.parents[1] / "ballast").unlink()
    small.sync()
    assert small.read(small.target, "orders") == content([0] * 47 + [1])
    check_goes_back(small, "before-reverse", {"orders": before})
