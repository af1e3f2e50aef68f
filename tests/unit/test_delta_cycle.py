# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Cycles of the delta sync between two real state folders, over pipes."""

from __future__ import annotations

import resource
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta import apply
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.delta.lag import lag
from ansible_collections.xdr.failback.plugins.module_utils.delta.receiver import serve
from ansible_collections.xdr.failback.plugins.module_utils.delta.session import Session
from ansible_collections.xdr.failback.plugins.module_utils.delta.wire import Frame
from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import Refused, XdrError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.delta_pair import Content, Pair, content, in_killed_child, own, pipe, quick_folder

BLOCKS = st.lists(st.integers(0, 3), max_size=9)
TAIL = st.sampled_from([0, 1, 511, BLOCK - 1])


def pair_of(tmp_path: Path, **options: Any) -> Pair:
    pair = Pair(tmp_path, "orders", "customers", **options)
    for name, number in (("orders", 1), ("customers", 2)):
        pair.write(pair.source, name, content([number, 0, number + 2, 0, 0, 7]))
    return pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return pair_of(tmp_path).ready()


@settings(max_examples=15)
@given(states=st.lists(st.tuples(BLOCKS, TAIL), min_size=1, max_size=4), compression=st.sampled_from(["none", "zlib"]))
def test_after_each_cycle_the_target_is_the_source(states: list[tuple[Content, int]], compression: str) -> None:
    with quick_folder() as folder:
        pair = Pair(folder, "orders", grows=True)
        pair.write(pair.source, "orders", b"")
        pair.ready()
        for blocks, tail in states:
            pair.write(pair.source, "orders", content(blocks, tail))
            result = pair.sync(compare=True, compression=compression)[0]
            assert pair.read(pair.target, "orders") == content(blocks, tail)
            assert result["equal"]
            assert pair.sync()[0]["blocks_changed"] == 0
            assert pair.sync(verify=True, extents="all")[0]["equal"]


def test_digests_that_come_before_anybody_asks_are_kept(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("orders", "customers"):
        pair.write(pair.target, name, content([1, 2, 3, 4, 5, 6]))
    came, put, copies = threading.Event(), Session._put, Session.copies

    def put_and_tell(session: Session, frame: Frame) -> None:
        try:
            put(session, frame)
        finally:
            came.set()

    def copies_late(session: Session) -> dict[str, Any]:
        assert came.wait(10)
        return copies(session)

    monkeypatch.setattr(Session, "_put", put_and_tell)
    monkeypatch.setattr(Session, "copies", copies_late)
    pair.sync()
    assert pair.both(pair.target) == pair.both(pair.source)


def test_the_first_cycle_makes_the_volumes_sparse(pair: Pair) -> None:
    results = pair.sync()
    assert [result["blocks_changed"] for result in results] == [3, 3]
    assert pair.both(pair.target) == pair.both(pair.source)
    assert pair.path(pair.target, "orders").stat().st_blocks * 512 < 4 * BLOCK
    assert {result["cycle"] for result in results} == {1}


def test_blocks_that_became_zeros_are_flagged_not_sent_and_make_holes(pair: Pair) -> None:
    pair.sync()
    pair.write(pair.source, "orders", content([1, 0, 0, 0, 0, 0]))
    orders = next(result for result in pair.sync() if result["volume"] == "orders")
    assert orders["blocks_changed"] == 2
    assert 0 < orders["bytes_sent"] < 200
    assert pair.both(pair.target) == pair.both(pair.source)
    assert pair.path(pair.target, "orders").stat().st_blocks * 512 < 2 * BLOCK


def test_a_second_cycle_sends_nothing_and_is_a_newer_point(pair: Pair) -> None:
    pair.sync()
    before = pair.replication(pair.target, "orders").state
    again = pair.sync()
    after = pair.replication(pair.target, "orders").state
    assert sum(result["bytes_sent"] for result in again) == 0
    assert not any(result["resized"] for result in again)
    assert after.cycle == before.cycle + 1
    assert (after.read_started or 0) > (before.read_started or 0)


def test_the_lag_is_counted_against_the_confirmed_cycle(pair: Pair) -> None:
    here = pair.replication(pair.source, "orders")
    assert lag(here.folder, here.state) == ("unknown", "unknown")
    began = time.time()
    pair.sync()
    assert lag(here.folder, here.state)[0] == 0
    pair.write(pair.source, "orders", content([1, 9, 3, 0, 0, 8]))
    behind, age = lag(here.folder, here.state)
    assert behind == 2 * BLOCK
    assert isinstance(age, float)
    assert 0 <= age <= time.time() - began
    far = pair.replication(pair.target, "orders")
    assert lag(far.folder, far.state) == ("unknown", "unknown")


def test_sent_extents_are_verified_only_after_a_full_compare(pair: Pair) -> None:
    pair.sync()
    with pytest.raises(Refused, match="no full compare") as refusal:
        pair.sync(verify=True)
    assert refusal.value.code == "no_compare"
    pair.sync(compare=True)
    pair.write(pair.source, "orders", content([1, 9, 3, 0, 0, 8]))
    pair.sync(final=True)
    results = {result["volume"]: result["blocks"] for result in pair.sync(verify=True)}
    assert results == {"orders": 2, "customers": 0}
    pair.turn(pair.source, "promoted")
    pair.turn(pair.source, "source")
    with pytest.raises(Refused, match="no full compare"):
        pair.sync(verify=True)


def test_a_compare_that_the_target_does_not_know_of_proves_nothing(pair: Pair) -> None:
    pair.sync(compare=True)
    pair.turn(pair.target, "promoted")
    pair.turn(pair.target, "target")
    with pytest.raises(Refused, match="no full compare"):
        pair.sync(verify=True)


@pytest.mark.parametrize("extents", ["sent", "all"])
def test_a_verification_names_the_volume_and_the_block_that_differs(pair: Pair, extents: str) -> None:
    pair.sync(compare=True)
    pair.write(pair.source, "orders", content([1, 0, 5, 0, 0, 7]))
    pair.sync()
    with pair.path(pair.target, "orders").open("r+b") as stream:
        stream.seek(2 * BLOCK + 5)
        stream.write(b"x")
    with pytest.raises(XdrError, match=r"volume orders is not equal at both ends: block 2 ") as failure:
        pair.sync(verify=True, extents=extents)
    assert failure.value.code == "not_equal"


def test_a_cycle_heals_a_target_that_was_changed_by_others(pair: Pair) -> None:
    pair.sync()
    pair.write(pair.target, "orders", content([9, 9, 9, 9, 9, 9]))
    pair.sync(compare=True)
    assert pair.both(pair.target) == pair.both(pair.source)


def test_sizes_that_differ_are_an_error_unless_the_volume_grows(pair: Pair) -> None:
    pair.write(pair.target, "orders", bytes(1000))
    with pytest.raises(XdrError, match=f"volume orders has 1000 bytes here and {6 * BLOCK} bytes at the source") as failure:
        pair.sync()
    assert failure.value.code == "size_differs"
    assert pair.read(pair.target, "orders") == bytes(1000)


def test_a_missing_source_volume_is_named(pair: Pair) -> None:
    pair.path(pair.source, "orders").unlink()
    with pytest.raises(XdrError, match="volume orders is missing"):
        pair.sync()


def test_a_missing_folder_at_the_target_is_named(pair: Pair) -> None:
    pair.path(pair.target, "orders").parent.rmdir()
    with pytest.raises(XdrError, match="folder of the volume is missing"):
        pair.sync()


def test_the_receiver_refuses_what_its_site_owns(pair: Pair) -> None:
    pair.sync()
    own(pair.target, "primary", 3)
    pair.write(pair.source, "orders", content([5]))
    with pytest.raises(Refused, match="site primary owns plan webshop") as refusal:
        pair.sync(pair=(3, 1))
    assert refusal.value.code == "wrong_owner"


def test_the_receiver_refuses_an_older_pair(pair: Pair) -> None:
    pair.target.write_record(epoch=2, owner="dr", standing="superseded", attempt=(2, 9))
    with pytest.raises(Refused) as refusal:
        pair.sync()
    assert refusal.value.code == "stale_attempt"


def test_the_receiver_refuses_a_volume_that_is_no_target(pair: Pair) -> None:
    pair.turn(pair.target, "promoted") if pair.sync() else None
    with pytest.raises(Refused, match="has the role none"):
        pair.sync()


def test_the_sender_refuses_a_volume_that_is_no_source(tmp_path: Path) -> None:
    pair = pair_of(tmp_path)
    with pytest.raises(Refused, match="has the role none here"):
        pair.sync()


def test_the_receiver_refuses_an_unknown_volume(pair: Pair) -> None:
    document = read_json(pair.target.plan_dir / "plan.json")
    pair.target.write_plan(volumes={"customers": document["volumes"]["customers"]})
    with pytest.raises(Refused, match="volume orders is not registered here"):
        pair.sync()


def test_the_receiver_refuses_a_volume_that_a_process_holds_open(pair: Pair) -> None:
    pair.sync()
    before = pair.read(pair.target, "orders")
    pair.write(pair.source, "orders", content([5, 5, 5, 5, 5, 5]))
    with pair.path(pair.target, "orders").open("rb") as volume:
        holder = subprocess.Popen(["/usr/bin/cat", "-"], stdin=subprocess.PIPE, pass_fds=[volume.fileno()])
    with holder, pytest.raises(Refused, match=f"process {holder.pid} .*holds the volume open") as refusal:
        pair.sync()
    assert refusal.value.code == "volume_in_use"
    assert pair.read(pair.target, "orders") == before


def test_a_process_that_lets_the_volume_go_is_waited_for(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pair.path(pair.source, "orders")
    with path.open("rb") as volume:
        holder = subprocess.Popen(["/usr/bin/cat", "-"], stdin=subprocess.PIPE, pass_fds=[volume.fileno()])
    with holder:
        monkeypatch.setattr(time, "sleep", lambda _: holder.communicate())
        apply.refuse_open([path])
        assert holder.returncode == 0, "it was not let go before anybody looked"


def test_a_final_delta_is_read_from_volumes_at_rest(pair: Pair) -> None:
    with pair.path(pair.source, "orders").open("rb"), pytest.raises(Refused, match="still holds the volume open"):
        pair.sync(final=True)


def test_a_limit_of_bandwidth_is_kept(pair: Pair) -> None:
    began = time.monotonic()
    pair.sync(bandwidth_limit=6 * BLOCK * 2)
    assert time.monotonic() - began > 0.3


def test_units_are_moved_one_by_one_and_a_failure_leaves_the_ones_done(tmp_path: Path) -> None:
    pair = pair_of(tmp_path).ready()
    for host in (pair.source, pair.target):
        volumes = read_json(host.plan_dir / "plan.json")["volumes"]
        for name, volume in volumes.items():
            volume["unit"] = name
        volumes["orders"]["quiesce"] = {"before": [["false"]], "after": []}
        host.write_plan(volumes=volumes)
    with pytest.raises(XdrError, match=r"quiesce\.before: false"):
        pair.sync()
    assert pair.read(pair.target, "customers") == pair.read(pair.source, "customers")
    assert not pair.path(pair.target, "orders").exists()


def test_a_spool_that_cannot_be_written_leaves_the_volumes_untouched(pair: Pair) -> None:
    """The receiver may write files of 100 kB at most; the cycle needs more."""
    pair.sync()
    before = pair.both(pair.target)
    pair.write(pair.source, "orders", content([5, 5, 5, 5, 5, 5]))
    (down_in, down_out), (up_in, up_out) = pipe(), pipe()
    with down_in, down_out, up_in, up_out:

        def child() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
            down_out.close()
            up_in.close()
            assert serve(pair.target.state_dir, down_in, up_out) == 1

        failure: list[XdrError] = []

        def send() -> None:
            try:
                pair.send(up_in, down_out)
            except XdrError as error:
                failure.append(error)

        sender = threading.Thread(target=send)
        assert in_killed_child(child, 0, started=lambda: (down_in.close(), up_out.close(), sender.start()))
        sender.join(30)
    assert "the disk reported File too large" in failure[0].sentence()
    assert pair.both(pair.target) == before
    assert not list((pair.target.plan_dir / "spool").iterdir())
    pair.sync()
    assert pair.both(pair.target) == pair.both(pair.source)
