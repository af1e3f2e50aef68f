# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A cycle interrupted anywhere: the target is promotable to the old or the new state only, and the next cycle ends right."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta import apply, spool, undo
from ansible_collections.xdr.failback.plugins.module_utils.delta.receiver import serve
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.delta_pair import Pair, content, cut_after, gone_on, in_killed_child, pipe, quick_folder, receive_in_killed_child

OLD = {"orders": content([1, 2, 0, 4]), "customers": content([0, 0, 5], tail=9)}
NEW = {"orders": content([1, 0, 3, 6, 7], tail=33), "customers": content([8, 0])}
MOST = 200  # more system calls than any of these need


@pytest.fixture
def pair() -> Iterator[Pair]:
    with quick_folder() as folder:
        pair = gone_on(folder / "begun", OLD, NEW)
        keep(pair)
        yield pair


def keep(pair: Pair) -> None:
    """From here on ``again`` comes back to this."""
    begun = pair.source.state_dir.parent.parent
    shutil.rmtree(begun.parent / "kept", ignore_errors=True)
    shutil.copytree(begun, begun.parent / "kept")


def again(pair: Pair) -> None:
    """All as it was at the beginning."""
    begun = pair.source.state_dir.parent.parent
    shutil.rmtree(begun)
    shutil.copytree(begun.parent / "kept", begun)


def settled(pair: Pair) -> str:
    """Promote the target and tell in which state it is."""
    pair.turn(pair.target, "promoted")
    found = {name: pair.read(pair.target, name) for name in pair.volumes}
    pair.turn(pair.target, "target")
    assert not list(apply.spool_dir(pair.target.state_dir, "webshop").iterdir())
    assert found in (OLD, NEW), "a mix of two states"
    return "old" if found == OLD else "new"


def check_all_is_well(pair: Pair) -> str:
    """The state that was found; then a clean cycle is right, and the recovery point brings the old state back."""
    state = settled(pair)
    pair.sync(compare=True)
    assert {name: pair.read(pair.target, name) for name in pair.volumes} == NEW
    assert pair.turn(pair.target, "restored", "before-reverse")
    assert {name: pair.read(pair.target, name) for name in pair.volumes} == OLD
    return state


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(down=st.integers(0, 420_000), up=st.integers(0, 2_000), which=st.booleans())
def test_a_stream_that_is_cut_anywhere(pair: Pair, down: int, up: int, which: bool) -> None:
    again(pair)
    cuts: list[Callable[..., object]] = [cut_after(down if which else 1 << 30), cut_after(up if not which else 1 << 30)]
    with contextlib.suppress(XdrError):
        pair.through(*cuts)  # type: ignore[arg-type]
    check_all_is_well(pair)


def test_a_receiver_that_is_killed_at_any_call(pair: Pair) -> None:
    found = []
    for call in range(1, MOST, 2):
        again(pair)
        ended = receive_in_killed_child(pair, call)
        found.append(check_all_is_well(pair))
        if ended:
            break
    assert ended
    assert (found[0], found[-1]) == ("old", "new")
    assert found.count("old") > 10
    assert found.count("new") > 10


def test_a_sender_that_is_killed_at_any_call(pair: Pair) -> None:
    found = []
    for call in range(1, MOST, 2):
        again(pair)
        (down_in, down_out), (up_in, up_out) = pipe(), pipe()

        def child(reader=up_in, writer=down_out, others=(down_in, up_out)) -> None:  # type: ignore[no-untyped-def]
            for other in others:
                other.close()
            pair.send(reader, writer, compare=True)

        receiver = threading.Thread(target=serve, args=(pair.target.state_dir, down_in, up_out))
        ended = in_killed_child(child, call, started=lambda: (down_out.close(), up_in.close(), receiver.start()))  # noqa: B023
        receiver.join(30)
        assert not receiver.is_alive()
        for stream in (down_in, up_out):
            stream.close()
        found.append(check_all_is_well(pair))
        if ended:
            break
    assert ended
    assert {"old", "new"} == set(found)


@pytest.mark.parametrize("state", ["restored", "forgotten"])
def test_a_change_of_recovery_points_that_is_killed_at_any_call(pair: Pair, state: str) -> None:
    """Two points; the older is restored, or the newer merged into it."""
    pair.sync()
    pair.turn(pair.target, "target", "second")
    for name in pair.volumes:
        pair.write(pair.source, name, content([9, 9, 9, 9]))
    pair.sync()
    keep(pair)
    for call in range(1, MOST, 2):
        again(pair)
        point = "before-reverse" if state == "restored" else "second"
        ended = in_killed_child(lambda point=point: pair.turn(pair.target, state, point), call)  # type: ignore[misc]
        pair.turn(pair.target, state, point)
        pair.turn(pair.target, "restored", "before-reverse")
        assert {name: pair.read(pair.target, name) for name in pair.volumes} == OLD
        for name in pair.volumes:
            assert len(undo.points(pair.replication(pair.target, name).folder.undo)) == 1
        if ended:
            return
    pytest.fail("it never came to its end")


def test_a_damaged_spool_of_a_committed_cycle_is_not_promoted(pair: Pair) -> None:
    folder = apply.spool_dir(pair.target.state_dir, "webshop")
    for call in range(1, MOST, 3):  # find a kill that leaves a commit record
        receive_in_killed_child(pair, call)
        if spool.commits(folder):
            break
        again(pair)
    record = spool.load_record(spool.commits(folder)[0])
    with (folder / record["spool"]).open("r+b") as stream:
        stream.seek(40)
        stream.write(b"damage")
    assert pair.replication(pair.target, "orders").situation().pending
    with pytest.raises(XdrError, match="spool of a committed cycle is damaged"):
        pair.turn(pair.target, "promoted")
    with pytest.raises(XdrError, match="spool of a committed cycle is damaged"):
        pair.sync()
