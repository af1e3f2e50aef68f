# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The states of cycles that a target keeps, and what may be promoted."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta import undo
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.delta_pair import Pair, content, own
from tests.support.filesystems import kinds, mounted
from tests.support.processes import wait_until


@pytest.fixture
def pair() -> Iterator[Pair]:
    with tempfile.TemporaryDirectory(prefix="xdr-", dir=Path(__file__).parent) as folder:
        yield Pair(Path(folder), "orders", grows=True)


def names(pair: Pair) -> list[str]:
    return [point.name for point in undo.points(pair.replication(pair.target, "orders").folder.undo)]


def cycle(pair: Pair, numbers: list[int], tail: int = 0, **options: object) -> bytes:
    pair.write(pair.source, "orders", content(numbers, tail))
    pair.sync(**{"recovery_points": 3, **options})
    return pair.read(pair.target, "orders")


def test_the_last_states_are_kept_with_their_times(pair: Pair) -> None:
    pair.ready()
    kept = [cycle(pair, [number, number + 1, 7]) for number in range(1, 7)]
    assert names(pair) == ["cycle-3", "cycle-4", "cycle-5"]
    points = undo.points(pair.replication(pair.target, "orders").folder.undo)
    times = [point.describe()["read_started"] for point in points]
    assert times == sorted(times)
    assert None not in times
    pair.turn(pair.target, "promoted", "cycle-4")
    assert pair.read(pair.target, "orders") == kept[3]
    assert names(pair) == [], "a promoted volume is written by its instance, so no state of a cycle is whole any more"


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    states=st.lists(st.tuples(st.lists(st.integers(0, 3), max_size=6), st.sampled_from([0, 1, 700])), min_size=3, max_size=7),
    back=st.integers(0, 2),
)
def test_any_kept_state_is_promoted_byte_for_byte(pair: Pair, states: list[tuple[list[int], int]], back: int) -> None:
    pair.write(pair.source, "orders", content([1]))
    pair.turn(pair.source, "promoted")
    pair.turn(pair.target, "promoted")
    pair.ready("before-reverse")
    kept = {}
    for state in states:
        now = cycle(pair, *state)
        kept[f"cycle-{pair.replication(pair.target, 'orders').state.cycle}"] = now
    known = [name for name in names(pair) if name in kept]
    name = known[max(0, len(known) - 1 - back)]
    pair.turn(pair.target, "promoted", name)
    assert pair.read(pair.target, "orders") == kept[name]
    assert "before-reverse" in names(pair)


def test_a_point_from_before_outlives_the_states_of_cycles(pair: Pair) -> None:
    pair.write(pair.target, "orders", content([9, 9, 9]))
    pair.ready("before-reverse")
    for number in range(1, 7):
        cycle(pair, [number, number + 1, 7])
    assert names(pair) == ["before-reverse", "cycle-3", "cycle-4", "cycle-5"]
    pair.turn(pair.target, "restored", "before-reverse")
    assert pair.read(pair.target, "orders") == content([9, 9, 9])


def test_a_state_that_is_not_kept_is_not_promoted(pair: Pair) -> None:
    pair.ready()
    cycle(pair, [1])
    with pytest.raises(XdrError, match=r"no recovery point 'cycle-9'\. Known are: none"):
        pair.turn(pair.target, "promoted", "cycle-9")


class Writer:
    """Writes to the source as long as a cycle reads it."""

    def __init__(self, pair: Pair) -> None:
        self._path, self._stop = pair.path(pair.source, "orders"), threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        with self._path.open("r+b", buffering=0) as stream:
            while not self._stop.is_set():
                stream.seek(0)
                stream.write(b"busy")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def busy_cycle(pair: Pair, numbers: list[int]) -> dict[str, object]:
    pair.write(pair.source, "orders", content(numbers))
    with Writer(pair):
        [result] = pair.sync(recovery_points=3)
    return dict(result)


def test_a_volume_that_is_written_while_it_is_read_is_no_point_in_time(pair: Pair) -> None:
    pair.ready()
    whole = cycle(pair, [1, 2, 3])
    age = pair.replication(pair.target, "orders").state.read_started
    result = busy_cycle(pair, [4, 5, 6])
    assert (result["crash_consistent"], result["how"]) == (False, "orders was written while it was read")
    state = pair.replication(pair.target, "orders").state
    assert not state.consistent
    assert result["read_started"] == state.read_started == age, "the last consistent point is as old as it was"
    busy_cycle(pair, [5, 5, 5])
    assert names(pair) == ["cycle-1"], "what is no point in time is not kept as one"
    pair.turn(pair.target, "promoted")
    assert pair.read(pair.target, "orders") == whole


def test_without_any_point_in_time_nothing_is_promoted(pair: Pair) -> None:
    pair.ready()
    busy_cycle(pair, [1, 2, 3])
    with pytest.raises(XdrError, match=r"orders was written while it was read.*no earlier state is kept") as failure:
        pair.turn(pair.target, "promoted")
    assert failure.value.code == "not_consistent"
    pair.sync(final=True)
    assert pair.turn(pair.target, "promoted")


def test_the_states_of_cycles_end_with_the_direction(pair: Pair) -> None:
    pair.ready()
    for number in range(1, 4):
        cycle(pair, [number])
    own(pair.target, "primary", 3)
    pair.turn(pair.target, "source")
    assert names(pair) == []


# -- over storage with snapshots ---------------------------------------------------------------------------------------


@pytest.fixture(params=kinds("xfs", "btrfs"))
def cloned(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """One unit of two volumes, on a file system that clones; equal after a full compare."""
    with mounted(request.param) as disk:
        pair = Pair(disk.point, "orders", "customers", grows=True)
        for name in pair.volumes:
            pair.write(pair.source, name, content([1 + number % 5 for number in range(64)]))
        pair.ready()
        pair.sync(compare=True)
        yield pair


def test_clones_tell_what_changed_and_are_one_point_in_time(cloned: Pair) -> None:
    with cloned.path(cloned.source, "orders").open("r+b") as stream:
        stream.seek(5 * BLOCK)
        stream.write(b"x" * 2 * BLOCK)
        os.fsync(stream.fileno())
    wait_until(lambda: time.time() - cloned.path(cloned.source, "orders").stat().st_ctime > 0.1, "the write is past", 5)
    results = {result["volume"]: result for result in cloned.sync()}
    assert (results["orders"]["method"], results["orders"]["blocks_changed"]) == ("tracked", 2)
    assert results["customers"]["method"] == "unchanged"
    assert (results["orders"]["crash_consistent"], results["orders"]["how"]) == (True, "snapshot (reflink)")
    assert cloned.both(cloned.source) == cloned.both(cloned.target)


def test_clones_of_a_volume_that_is_written_all_the_time_are_whole(cloned: Pair) -> None:
    """Each write sets two far blocks to the same number: a state with two numbers is none that ever was."""
    path, stop = cloned.path(cloned.source, "orders"), threading.Event()

    def write() -> None:
        number = 0
        with path.open("r+b", buffering=0) as stream:
            while not stop.is_set():
                number += 1
                stream.seek(0)
                stream.write(number.to_bytes(8, "big"))
                stream.seek(60 * BLOCK)
                stream.write(number.to_bytes(8, "big"))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            results = cloned.sync()
            got = cloned.read(cloned.target, "orders")
            first, last = (int.from_bytes(got[at : at + 8], "big") for at in (0, 60 * BLOCK))
            assert first in (last, last + 1), "the second write of a pair may be missing, nothing else"
    finally:
        stop.set()
        writer.join()
    assert not results[0]["crash_consistent"], "two clones of volumes of which one is written are no point in time together"


def test_a_direction_that_ends_leaves_no_clones(cloned: Pair) -> None:
    folder = cloned.path(cloned.source, "orders").parent
    assert any(path.is_dir() for path in folder.iterdir())
    cloned.turn(cloned.source, "promoted")
    assert not any(path.is_dir() for path in folder.iterdir())


def test_a_held_volume_may_grow_once_it_is_let_go(pair: Pair) -> None:
    """The hook that lets go makes the volume longer, as a database does that was waiting."""
    path = pair.path(pair.source, "orders")
    hooks = {"before": [["true"]], "after": [["truncate", "--size", "+4096", "{volume}"]]}
    held = Pair(path.parents[2] / "held", "orders", grows=True, quiesce=hooks)
    held.write(held.source, "orders", content([1, 2]))
    held.ready()
    [result] = held.sync(compare=True, final=False)
    assert (result["crash_consistent"], result["how"], result["bytes_total"]) == (True, "quiesced", 2 * BLOCK)
    assert held.read(held.target, "orders") == content([1, 2])
