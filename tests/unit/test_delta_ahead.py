# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Units that are begun ahead of their turn: in order, few, and never past one that is large or has hooks."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta import begun, outgoing, sender
from ansible_collections.xdr.failback.plugins.module_utils.delta.ahead import Ahead
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import Range
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.delta_pair import Pair, content, cut_after, quick_folder
from tests.support.processes import wait_until

SMALL, LARGE, ALONE = 3 << 20, None, 0


@dataclass(frozen=True)
class Unit:
    name: str
    waiting_bytes: int | None


class Begin:
    """Notes what is begun; what is to fail does."""

    def __init__(self, failing: str = "") -> None:
        self.begun: list[str] = []
        self._failing = failing

    def __call__(self, unit: Unit) -> Unit:
        self.begun.append(unit.name)
        if unit.name == self._failing:
            raise XdrError("it cannot be begun")
        return unit


@contextlib.contextmanager
def ahead(begin: Begin, units: list[Unit]) -> Iterator[Ahead[Unit, Unit]]:
    with contextlib.closing(Ahead(begin, lambda unit: unit.waiting_bytes == ALONE, units)) as found:
        yield found


@given(st.lists(st.sampled_from([SMALL, LARGE, ALONE]), max_size=8), st.integers(1, 4))
def test_all_come_in_order(sizes: list[int | None], most: int) -> None:
    units, going, found = [Unit(str(number), size) for number, size in enumerate(sizes)], [], []
    with ahead(Begin(), units) as begun_ones:
        while True:
            unit = begun_ones.take(wait=not going) if len(going) < most else None
            if unit:
                going.append(unit)
            elif going:
                assert LARGE not in [each.waiting_bytes for each in going[:-1]], "a unit was begun before a large one was done"
                assert ALONE not in [each.waiting_bytes for each in going[1:]], "it was not alone"
                begun_ones.done(going[0])
                found.append(going.pop(0))
            else:
                break
    assert found == units


@pytest.mark.parametrize(
    ("second", "third", "first_ones", "then"),
    [(SMALL, SMALL, "123", "1234"), (SMALL, LARGE, "123", "123"), (LARGE, SMALL, "12", "12"), (ALONE, SMALL, "1", "1234")],
)
def test_how_far_it_goes_ahead(second: int | None, third: int | None, first_ones: str, then: str) -> None:
    """Three small ones fill the room."""
    begin = Begin()
    with ahead(begin, [Unit("1", SMALL), Unit("2", second), Unit("3", third), Unit("4", SMALL)]) as found:
        wait_until(lambda: len(begin.begun) == len(first_ones), "as many are begun as may be", 30)
        first = found.take(wait=True)
        assert first
        assert "".join(begin.begun) == first_ones, "it waits in memory until it is done"
        found.done(first)
        wait_until(lambda: len(begin.begun) == len(then), "the next ones are begun", 30)
    assert "".join(begin.begun) == then


def test_a_failure_comes_at_its_turn_and_is_the_end() -> None:
    begin = Begin(failing="2")
    with ahead(begin, [Unit("1", SMALL), Unit("2", SMALL), Unit("3", SMALL)]) as found:
        first = found.take(wait=True)
        assert first
        assert found.take(wait=False) is None
        with pytest.raises(XdrError, match="cannot be begun"):
            found.take(wait=True)
    assert begin.begun == ["1", "2"]


@pytest.mark.parametrize("failing", ["", "2"])
def test_the_thread_lives_until_all_is_read(failing: str) -> None:
    """The process that serves a snapshot dies with the thread that started it."""
    threads: list[threading.Thread] = []

    def begin(unit: Unit) -> Unit:
        threads.append(threading.current_thread())
        if unit.name == failing:
            raise XdrError("it cannot be begun")
        return unit

    with contextlib.closing(Ahead(begin, lambda _: False, [Unit("1", SMALL), Unit("2", SMALL)])) as found:
        first = found.take(wait=True)
        assert first
        wait_until(lambda: len(threads) == 2, "both are begun", 30)
        found.done(first)
        threads[0].join(0.2)
        assert threads[0].is_alive()
    assert not threads[0].is_alive()


def many(folder: Path) -> Pair:
    """Each volume is a unit, of one to five blocks."""
    names = [f"volume-{number}" for number in range(9)]
    pair = Pair(folder, *names, unit="", grows=True)
    for number, name in enumerate(names):
        pair.write(pair.source, name, content([1 + number, 2, 3, 0, 5, 6][: 2 + number % 5]))
    return pair.ready("before-reverse")


@pytest.mark.parametrize("small", [0, 2 << 16, 1 << 30])
@pytest.mark.parametrize("commit_every", [1, 3 << 16, 1 << 30])
def test_units_that_go_over_at_the_same_time_all_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int, commit_every: int
) -> None:
    monkeypatch.setattr(begun, "SMALL", small)
    monkeypatch.setattr(sender, "COMMIT_EVERY", commit_every)
    pair = many(tmp_path)
    for _ in range(2):
        results = pair.sync()
        assert [result["volume"] for result in results] == pair.volumes
        assert pair.both(pair.target) == pair.both(pair.source)
        for number, name in enumerate(pair.volumes):
            data = bytearray(pair.read(pair.source, name))
            data[number * 4096 : number * 4096 + 100] = b"x" * 100  # so that pages are asked for
            pair.path(pair.source, name).write_bytes(data + content([7] * (number % 3)))


def test_the_questions_of_several_units_do_not_wait_for_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = many(tmp_path)
    pair.sync()
    for name in pair.volumes:
        pair.path(pair.source, name).write_bytes(pair.read(pair.source, name)[:-1] + b"y")

    class Patient(Ahead[Any, Any]):
        def take(self, *, wait: bool) -> Any:
            if wait:
                wait_until(lambda: len(self._ready) >= min(3, self._left), "the next ones are begun", 30)
            return super().take(wait=wait)

    monkeypatch.setattr(sender, "Ahead", Patient)
    told: list[str] = []
    ask, answer = outgoing.Session.ask_pages, outgoing.Session.pages
    monkeypatch.setattr(outgoing.Session, "ask_pages", lambda *each: (told.append("ask"), ask(*each))[1])
    monkeypatch.setattr(outgoing.Session, "pages", lambda *each: (told.append("answer"), answer(*each))[1])
    pair.sync()
    assert told.count("ask") == len(pair.volumes)
    assert told[:3] == ["ask"] * 3, "the next questions went before the first answer was waited for"
    assert pair.both(pair.target) == pair.both(pair.source)


def test_fewer_blocks_are_asked_for_once_a_few_volumes_were_written_in_whole_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(begun, "SMALL", 0)  # so that one is over before the next one asks
    pair = Pair(tmp_path, *(f"volume-{number}" for number in range(7)), unit="", grows=True)
    for name in pair.volumes:
        pair.write(pair.source, name, content([1, 2, 3, 4, 5]))
    pair.ready().sync()
    for number, name in enumerate(pair.volumes):
        data = content([6, 7, 8, 9, 10]) if number != 5 else b"".join(content([each])[:-1] + b"y" for each in (1, 2, 3, 4, 5))
        pair.write(pair.source, name, data)
    asked: list[list[int]] = [[] for _ in pair.volumes]
    ask = outgoing.Session.ask_pages

    def noted(session: outgoing.Session, position: int, of: list[Range]) -> int:
        asked[position].append(sum(number for _, number in of))
        return ask(session, position, of)

    monkeypatch.setattr(outgoing.Session, "ask_pages", noted)
    pair.sync()
    assert asked == [[4], [4], [4], [4], [1], [1, 4], [4]]
    assert pair.both(pair.target) == pair.both(pair.source)


@settings(max_examples=12)
@given(down=st.integers(0, 1_200_000), commit_every=st.sampled_from([1, 1 << 18, 1 << 30]))
def test_a_stream_of_many_units_that_is_cut_anywhere(down: int, commit_every: int) -> None:
    with quick_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender, "COMMIT_EVERY", commit_every)
        pair = many(folder)
        pair.sync()
        old = pair.both(pair.target)
        for name in pair.volumes:
            pair.write(pair.source, name, content([9, 8, 7]))
        with contextlib.suppress(XdrError):
            pair.through(cut_after(down), lambda up: up)
        pair.turn(pair.target, "promoted")
        pair.turn(pair.target, "target")
        for name, before in zip(pair.volumes, old, strict=True):
            assert pair.read(pair.target, name) in (before, content([9, 8, 7])), "a mix of two states"
        pair.sync()
        assert pair.both(pair.target) == pair.both(pair.source)
        pair.turn(pair.target, "restored", "before-reverse")
