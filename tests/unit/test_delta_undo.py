# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Recovery points: what cycles overwrite can be put back, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta import undo
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.delta.roles import Situation, Step, steps
from ansible_collections.xdr.failback.plugins.module_utils.errors import Refused, XdrError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.delta_pair import Content, Pair, content, own, quick_folder

BLOCKS = st.lists(st.integers(0, 3), max_size=7)
STATES = st.lists(st.tuples(BLOCKS, st.sampled_from([0, 1, 700])), min_size=2, max_size=5)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    pair = Pair(tmp_path, "orders", grows=True)
    pair.write(pair.source, "orders", content([1, 2, 3]))
    pair.write(pair.target, "orders", content([7, 0, 8, 9], tail=100))
    return pair


def names(pair: Pair) -> list[str]:
    return [point.name for point in undo.points(pair.replication(pair.target, "orders").folder.undo)]


@settings(max_examples=12)
@given(states=STATES, forgotten=st.integers(0, 5), wanted=st.integers(0, 5), small=st.sampled_from([0, BLOCK, 16 << 20]))
def test_any_point_of_a_chain_is_put_back_byte_for_byte(states: list[tuple[Content, int]], forgotten: int, wanted: int, small: int) -> None:
    """The target goes through all states with a point before each; one point is forgotten, another one restored. Segments below
    ``small`` bytes are joined with others.
    """
    with quick_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(undo, "_SMALL", small)
        patch.setattr(undo, "_PART", 1 << 60)
        pair = Pair(folder, "orders", grows=True)
        pair.write(pair.source, "orders", content(*states[0]))
        pair.ready()
        pair.sync()
        kept: dict[str, bytes] = {}
        for number, state in enumerate(states[1:]):
            kept[f"p{number}x"] = pair.read(pair.target, "orders")
            pair.turn(pair.target, "target", f"p{number}x")
            for each in (state, (state[0][:1], 0), state):
                pair.write(pair.source, "orders", content(*each))
                pair.sync()
        gone = sorted(kept)[forgotten % len(kept)]
        if len(kept) > 1:
            assert pair.turn(pair.target, "forgotten", gone)
            del kept[gone]
        name = sorted(kept)[wanted % len(kept)]
        assert pair.replication(pair.target, "orders").exact(name) is True
        pair.turn(pair.target, "restored", name)
        assert pair.read(pair.target, "orders") == kept[name]
        assert names(pair) == [other for other in sorted(kept) if other <= name]
        assert not pair.turn(pair.target, "restored", name)


def test_the_first_overwritten_block_wins_and_a_restore_is_exact(pair: Pair) -> None:
    old = pair.read(pair.target, "orders")
    pair.ready("before-reverse")
    for numbers in ([1, 2, 3], [4, 4, 4, 4, 4], [5]):
        pair.write(pair.source, "orders", content(numbers))
        pair.sync()
    here = pair.replication(pair.target, "orders")
    assert here.exact("before-reverse") is True
    assert pair.turn(pair.target, "restored", "before-reverse")
    assert pair.read(pair.target, "orders") == old
    assert here.state.cycle == 0
    pair.sync(compare=True)
    assert pair.read(pair.target, "orders") == content([5])


def test_a_full_compare_from_before_a_restore_counts_no_more(pair: Pair) -> None:
    """Else the reversal would be taken for compared, and each failback would find in its downtime that it is not."""
    pair.ready("before-reverse")
    assert pair.sync(compare=True)[0]["compared"]
    assert pair.sync()[0]["compared"]
    pair.turn(pair.target, "restored", "before-reverse")
    assert pair.sync()[0]["compared"] is None
    assert pair.replication(pair.source, "orders").state.compared is None
    assert pair.read(pair.target, "orders") == pair.read(pair.source, "orders")
    assert pair.sync(compare=True)[0]["compared"]
    assert pair.sync()[0]["compared"]


def test_a_volume_that_others_wrote_is_not_exactly_restored(pair: Pair) -> None:
    pair.write(pair.target, "orders", content([1, 0, 8]))
    pair.ready("before-reverse")
    pair.sync()
    with pair.path(pair.target, "orders").open("ab") as stream:
        stream.write(b"x")
    assert pair.replication(pair.target, "orders").exact("before-reverse") is True  # cut off again
    pair.write(pair.target, "orders", content([5, 2, 3]))
    assert pair.replication(pair.target, "orders").exact("before-reverse") is False


def test_before_the_first_cycle_nothing_is_known_of_the_opening(pair: Pair) -> None:
    pair.ready("before-reverse")
    assert pair.replication(pair.target, "orders").exact("before-reverse") is None
    assert not pair.turn(pair.target, "restored", "before-reverse")


def test_a_point_is_opened_once_until_the_site_has_owned_the_plan_again(pair: Pair) -> None:
    pair.ready("before-reverse")
    assert not pair.turn(pair.target, "target", "before-reverse")
    own(pair.target, "primary", 3)
    own(pair.target, "dr", 4)
    assert pair.turn(pair.target, "target", "before-reverse")
    assert not pair.turn(pair.target, "target", "before-reverse")
    assert names(pair) == ["before-reverse", "before-reverse-2"]
    assert pair.turn(pair.target, "forgotten", "before-reverse")
    assert not pair.turn(pair.target, "forgotten", "before-reverse")
    assert names(pair) == []


def test_a_restore_is_refused_while_a_process_holds_the_volume(pair: Pair) -> None:
    pair.ready("before-reverse")
    pair.sync()
    with pair.path(pair.target, "orders").open("rb"), pytest.raises(Refused, match="holds the volume open"):
        pair.turn(pair.target, "restored", "before-reverse")
    assert pair.turn(pair.target, "restored", "before-reverse")


def test_an_owner_does_not_become_a_target(pair: Pair) -> None:
    own(pair.target, "primary", 3)
    with pytest.raises(Refused, match="site primary owns the plan"):
        pair.replication(pair.target, "orders").check("target", pair.target.record)


def test_what_never_got_a_cycle_is_not_promoted(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "orders")
    pair.turn(pair.target, "target")
    with pytest.raises(XdrError, match="volume orders is missing"):
        pair.turn(pair.target, "promoted")
    pair.write(pair.target, "orders", content([1]))
    with pytest.raises(XdrError, match="has never received a complete cycle"):
        pair.turn(pair.target, "promoted")


SETTLE, TARGET, SOURCE = ("settle", ""), ("role", "target"), ("role", "source")


@pytest.mark.parametrize(
    ("now", "state", "point", "expected"),
    [
        (Situation("none"), "source", "", [SOURCE]),
        (Situation("source"), "source", "", []),
        (Situation("target", pending=True), "source", "", [SETTLE, SOURCE]),
        (Situation("none"), "target", "", [TARGET]),
        (Situation("target"), "target", "", []),
        (Situation("source"), "target", "b", [("open", "b"), TARGET]),
        (Situation("target"), "target", "b", [("open", "b")]),
        (Situation("target", ("b",), ("b",)), "target", "b", []),
        (Situation("target", ("b", "b-2"), ("b-2",)), "target", "b", []),
        (Situation("target", ("b",)), "target", "b", [("open", "b")]),
        (Situation("source", ("b",), ("b",)), "target", "b", [TARGET]),
        (Situation("target"), "promoted", "", [("role", "none")]),
        (Situation("target", pending=True), "promoted", "", [SETTLE, ("role", "none")]),
        (Situation("none"), "promoted", "", []),
        (Situation("source"), "promoted", "", [("role", "none")]),
        (Situation("target", ("b",)), "restored", "b", [("restore", "b")]),
        (Situation("target", ("b",), at_point="b"), "restored", "b", []),
        (Situation("target", ("b",), pending=True, at_point="b"), "restored", "b", [SETTLE, ("restore", "b")]),
        (Situation("none", ("b", "bb", "b-2")), "forgotten", "b", [("forget", "b"), ("forget", "b-2")]),
        (Situation("none", ("bb",)), "forgotten", "b", []),
    ],
)
def test_the_steps_from_what_is_to_what_is_to_be(now: Situation, state: str, point: str, expected: list[Step]) -> None:
    assert steps(now, state, point) == expected


def test_a_point_that_is_not_there_cannot_be_restored() -> None:
    with pytest.raises(XdrError, match=r"no recovery point 'x'. Known are: a, b"):
        steps(Situation("target", ("a", "b")), "restored", "x")
