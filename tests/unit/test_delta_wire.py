# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What arrives over the wire is checked before anything is believed, and nobody waits for ever."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta import packing
from ansible_collections.xdr.failback.plugins.module_utils.delta import wire as wires
from ansible_collections.xdr.failback.plugins.module_utils.delta.apply import spool_dir
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.delta.hashes import NULL
from ansible_collections.xdr.failback.plugins.module_utils.delta.inbox import Digests, Inbox
from ansible_collections.xdr.failback.plugins.module_utils.delta.lineage import Lineage
from ansible_collections.xdr.failback.plugins.module_utils.delta.pace import Pace
from ansible_collections.xdr.failback.plugins.module_utils.delta.packing import Packer
from ansible_collections.xdr.failback.plugins.module_utils.delta.receiver import serve
from ansible_collections.xdr.failback.plugins.module_utils.delta.wire import Wire
from ansible_collections.xdr.failback.plugins.module_utils.errors import NotReached, Refused, XdrError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.delta_pair import PAIR, PLAN, Pair, content, pipe, quick_folder


@contextmanager
def two_ends(timeout: float = 10.0) -> Iterator[tuple[Wire, Wire, BinaryIO]]:
    """Both ends of a session, and the stream by which the first one writes."""
    (down_in, down_out), (up_in, up_out) = pipe(), pipe()
    with down_in, down_out, up_in, up_out:
        near, far = Wire(up_in, down_out, peer="far", timeout=timeout), Wire(down_in, up_out, peer="near", timeout=timeout)
        with contextlib.closing(near), contextlib.closing(far):
            yield near, far, down_out


def frame(header: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">II", len(header), len(payload)) + header + payload


@given(kind=st.text(min_size=1, max_size=20), payload=st.binary(max_size=3000))
def test_a_frame_arrives_as_it_was_sent(kind: str, payload: bytes) -> None:
    with two_ends() as (near, far, _):
        if kind not in ("error", "working"):
            near.send(kind, payload, number=7)
            found = far.receive(kind)
            assert (found.kind, found.number("number"), found.payload) == (kind, 7, payload)


GARBAGE = [
    b"Welcome to fra-hv1!\r\nLast login: today\r\n",
    frame(b"[]"),
    frame(b"{}"),
    frame(b'{"kind": 7}'),
    frame(b"not json"),
    frame(b"[" * 100_000),
    frame(b"\xff\xfe"),
    frame(b'{"kind":"error"}'),
    struct.pack(">II", 1 << 21, 0),
    struct.pack(">II", 10, 1 << 31),
    b"",
    b"\0" * 8,
]


@settings(max_examples=60)
@given(garbage=st.binary(max_size=200))
@example(garbage=b"")
def test_garbage_is_refused_without_waiting(garbage: bytes) -> None:
    check_refused(garbage)


@pytest.mark.parametrize("garbage", GARBAGE)
def test_known_kinds_of_garbage_are_refused(garbage: bytes) -> None:
    check_refused(garbage)


def check_refused(garbage: bytes) -> None:
    with two_ends() as (_, far, stream):

        def write() -> None:
            with stream:
                stream.write(garbage)

        writer = threading.Thread(target=write)
        writer.start()
        with pytest.raises(XdrError) as failure:
            far.receive("hello")
        writer.join(5)
        assert failure.value.code in ("protocol", "not_reached")


@pytest.mark.parametrize("value", [None, -1, 1.5, True, "7", 1 << 62, [], {}])
def test_a_number_is_a_number(value: Any) -> None:
    with pytest.raises(XdrError, match="field 'n' is no number"):
        wires.Frame({"n": value}, b"", "far").number("n")


@pytest.mark.parametrize("payload", [b"x", struct.pack(">QQ", 0, 0), struct.pack(">QQ", 9, 2), struct.pack(">QQ", (1 << 64) - 1, 2)])
def test_ranges_lie_in_the_volume(payload: bytes) -> None:
    with pytest.raises(XdrError, match="protocol"):
        wires.Frame({}, payload, "far").ranges(10)


def test_a_failure_of_the_other_end_is_told_here_with_its_code() -> None:
    with two_ends() as (near, far, _):
        far.report(Refused("it is not yours", where="ams", todo="Go away", code="wrong_owner"))
        with pytest.raises(Refused, match=r"far: ams: it is not yours\. Go away") as refusal:
            near.receive("hello")
        assert refusal.value.code == "wrong_owner"


def test_a_silent_peer_ends_the_session() -> None:
    with two_ends(timeout=0.1) as (near, _, _):
        with pytest.raises(NotReached, match=r"no progress for 0\.1 s"):
            near.receive("hello")
        with pytest.raises(NotReached, match=r"no progress for 0\.1 s"):
            near.send("data", bytes(3 << 20))  # more than a pipe holds


def test_a_peer_that_works_is_waited_for() -> None:
    with two_ends(timeout=0.3) as (near, far, _):

        def work() -> None:
            with far.working(every=0.05):
                time.sleep(0.6)
            far.send("done")

        worker = threading.Thread(target=work)
        worker.start()
        assert near.receive("done").kind == "done"
        worker.join(5)


def test_the_pace_is_an_average() -> None:
    pace, began = Pace(1000), time.monotonic()
    for _ in range(4):
        pace.sent(50)
    assert 0.15 < time.monotonic() - began < 2
    Pace(None).sent(1 << 40)


def test_an_inbox_keeps_the_order_and_ends_with_what_was_said_last() -> None:
    with two_ends() as (near, far, down_out), Inbox(far) as inbox:
        for number in range(20):
            near.send("count", number=number)
        near.report(Refused("no more", code="wrong_owner"))
        down_out.close()
        assert [inbox.receive("count").number("number") for _ in range(20)] == list(range(20))
        with pytest.raises(Refused, match="no more"):
            inbox.receive("count")


def test_an_inbox_that_nobody_empties_is_closed_all_the_same() -> None:
    with two_ends() as (near, far, _), Inbox(far) as inbox:
        for _ in range(50):
            near.send("count")
        assert inbox.receive().kind == "count"


def test_a_silent_end_is_noticed_by_who_waits_for_it() -> None:
    with two_ends(timeout=0.2) as (_, far, _), Inbox(far) as inbox, pytest.raises(NotReached, match="no progress"):
        inbox.receive("hello")


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        ([(0, bytes(64)), (2, bytes(32))], ""),
        ([(1, bytes(32))], "not due"),
        ([(0, bytes(33))], "not due"),
        ([(0, b"")], "not due"),
        ([(0, bytes(32 * 4))], "not due"),
    ],
)
def test_digests_come_one_after_the_other(tmp_path: Path, frames: list[tuple[int, bytes]], problem: str) -> None:
    with two_ends() as (_, far, _):
        inbox = Inbox(far)
        digests = Digests(tmp_path, 3, lambda: inbox)
        sent = [wires.Frame({"first": first}, payload, "far") for first, payload in frames]
        if problem:
            with pytest.raises(XdrError, match=problem):
                digests.put(sent[0])
        else:
            for one in sent:
                digests.put(one)
            digests.wait()
            assert digests.read(1, 5) == bytes(5 * 32)
        digests.close()


# -- a receiver that is talked to by hand ---------------------------------------------------------------------------

OLD = content([1, 2])
NEW = b"x" * BLOCK


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    pair = Pair(tmp_path, "orders")
    pair.write(pair.source, "orders", OLD)
    pair.ready()
    pair.sync()
    return pair


class _Ends:
    def __init__(self, fd: int) -> None:
        self.fileno = lambda: fd


@contextmanager
def receiver(pair: Pair, **hello: Any) -> Iterator[Wire]:
    """A session with the real receiver after the hello; whatever comes of it, the volume is untouched and no spool is left."""
    (down_in, down_out), (up_in, up_out) = pipe(), pipe()
    with down_in, down_out, up_in, up_out:
        thread = threading.Thread(target=serve, args=(pair.target.state_dir, _Ends(down_in.fileno()), _Ends(up_out.fileno())))
        thread.start()
        near = Wire(up_in, down_out, peer="far", timeout=10)
        with contextlib.closing(near):
            near.receive("greeting")
            fields = {
                "version": wires.VERSION,
                "plan": PLAN,
                "run_id": "",
                "epoch": PAIR[0],
                "attempt": PAIR[1],
                "hash": "sha256",
                "compression": "zlib",
                "work": "sync",
                "recovery_points": 0,
                "volumes": [{"name": "orders", "size": len(OLD), "state": ""}],
            }
            near.send("hello", **{**fields, **hello})
            yield near
        down_out.close()
        thread.join(10)
        assert not thread.is_alive()
    assert pair.read(pair.target, "orders") == OLD
    folder = spool_dir(pair.target.state_dir, PLAN)
    assert not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize(
    "hello",
    [
        {"version": 1},
        {"version": "2"},
        {"plan": "../../etc"},
        {"plan": "other"},
        {"plan": None},
        {"epoch": -1},
        {"volumes": "orders"},
        {"volumes": [{"name": "../orders", "size": 1, "state": ""}]},
        {"volumes": [{"name": "orders"}]},
        {"volumes": [["orders"]]},
        {"volumes": [{"name": "orders", "size": len(OLD), "state": ""}] * 2},
        {"run_id": 7},
        {"hash": "md5"},
        {"work": 5},
    ],
)
def test_a_wrong_hello_is_refused(pair: Pair, hello: dict[str, Any]) -> None:
    with receiver(pair, **hello) as near, pytest.raises(XdrError):
        near.receive("copies")


def begun(near: Wire, **fields: Any) -> str:
    """After the copies; the state that the next one is derived from."""
    [copy] = near.receive("copies").items("volumes")
    if copy.flag("streamed") and copy.number("blocks"):
        assert len(near.receive("digests").payload) == 64
    near.send("begin", **{"volume": 0, "size": len(OLD), "expected": BLOCK, **fields})
    return copy.text("state")


def payload(*runs: tuple[int, int, int], body: bytes = b"") -> bytes:
    return b"".join(struct.pack(">QII", *run) for run in runs) + body


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", {"runs": 1}),
        (payload((0, 1, BLOCK), body=NEW), {"runs": 0}),
        (payload((0, 1, BLOCK), body=b"x" * 10), {"runs": 1}),
        (payload((0, 1, 10), body=b"x" * 10), {"runs": 1}),
        (payload((2, 1, BLOCK), body=NEW), {"runs": 1}),
        (payload((1, 2, 2 * BLOCK), body=NEW * 2), {"runs": 1}),
        (payload((0, 0, 0)), {"runs": 1}),
        (payload(((1 << 64) - 1, 2, BLOCK), body=NEW), {"runs": 1}),
        (payload((0, 1, BLOCK), body=NEW + b"more"), {"runs": 1}),
        (payload((0, 1, BLOCK), body=NEW), {"runs": 1, "volume": 1}),
        (payload((0, 1, BLOCK), body=NEW), {"runs": 1 << 40}),
        (payload((0, 1, 8), body=zlib.compress(bytes(64 << 20))[:8]), {"runs": 1}),
        (payload((0, 1, len(zlib.compress(bytes(BLOCK + 1)))), body=zlib.compress(bytes(BLOCK + 1))), {"runs": 1}),
    ],
)
def test_wrong_blocks_are_refused(pair: Pair, body: bytes, fields: dict[str, Any]) -> None:
    with receiver(pair) as near:
        begun(near)
        near.send("blocks", body, **{"volume": 0, **fields})
        with pytest.raises(XdrError, match="not XDR's protocol"):
            near.receive()


@pytest.mark.parametrize("ranges", [[(2, 1)], [(0, 3)], [(0, 0)], [((1 << 64) - 1, 1)]])
def test_zeros_outside_the_volume_are_refused(pair: Pair, ranges: list[tuple[int, int]]) -> None:
    with receiver(pair) as near:
        begun(near)
        near.send("zeros", wires.packed(ranges), volume=0)
        with pytest.raises(XdrError, match="outside the volume"):
            near.receive()


def unit(near: Wire, state: str, **fields: Any) -> None:
    item = {"volume": 0, "size": len(OLD), "state": state, **fields}
    near.send("unit", volumes=[item], cycle=2, read_started=1.0, consistent=True, how="")


def test_blocks_that_do_not_make_the_source_are_refused(pair: Pair) -> None:
    with receiver(pair) as near:
        state = begun(near)
        lineage = Lineage(state)
        lineage.data((0, 1), hashlib.sha256(b"y" * BLOCK).digest())
        near.send("blocks", payload((0, 1, BLOCK), body=NEW), volume=0, runs=1)
        unit(near, lineage.state(len(OLD), 2))
        with pytest.raises(XdrError, match="does not make the source's volumes") as failure:
            near.receive()
        assert failure.value.code == "not_equal"


def test_a_size_that_was_not_begun_is_refused(pair: Pair) -> None:
    with receiver(pair) as near:
        state = begun(near)
        unit(near, Lineage(state).state(BLOCK, 2), size=BLOCK)
        with pytest.raises(XdrError, match="does not make the source's volumes"):
            near.receive()


def test_a_cycle_that_cannot_fit_is_refused_before_it_is_received(pair: Pair) -> None:
    with receiver(pair) as near:
        begun(near, expected=1 << 60)
        with pytest.raises(XdrError, match=r"the disk is full: \d+ bytes are free and \d+ bytes are needed") as failure:
            near.receive()
        assert failure.value.code == "disk_full"


def test_a_volume_is_not_in_a_unit_twice(pair: Pair) -> None:
    with receiver(pair) as near:
        state = Lineage(begun(near)).state(len(OLD), 2)
        item = {"volume": 0, "size": len(OLD), "state": state}
        near.send("unit", volumes=[item, item], cycle=2, read_started=1.0, consistent=True, how="")
        with pytest.raises(XdrError, match="no unit here"):
            near.receive()


def test_a_commit_of_nothing_is_refused(pair: Pair) -> None:
    with receiver(pair) as near:
        begun(near)
        near.send("commit")
        with pytest.raises(XdrError, match="a commit of nothing"):
            near.receive()


KINDS = ["begin", "unit", "compare", "compared", "extents", "blocks", "zeros", "commit", "end", "digests"]
VALUES = st.one_of(st.integers(-1, 1 << 63), st.text(max_size=9), st.none(), st.booleans(), st.lists(st.integers(), max_size=3))
FIELDS = ("volume", "size", "expected", "runs", "cycle", "at", "blocks", "all", "read_started", "how", "consistent")
ITEMS = st.lists(st.dictionaries(st.sampled_from(["volume", "size", "state"]), VALUES), max_size=3)
HEADERS = st.fixed_dictionaries({"kind": st.sampled_from(KINDS)}, optional={**dict.fromkeys(FIELDS, VALUES), "volumes": ITEMS})


@settings(max_examples=40)
@given(frames=st.lists(st.tuples(HEADERS, st.binary(max_size=200)), min_size=1, max_size=5))
def test_a_receiver_that_is_talked_nonsense_to_ends(frames: list[tuple[dict[str, Any], bytes]]) -> None:
    with quick_folder() as folder:
        pair = Pair(folder, "orders")
        pair.write(pair.target, "orders", OLD)
        pair.ready()
        with receiver(pair) as near, contextlib.suppress(XdrError):
            begun(near)
            for header, body in frames:
                near._write([frame(json.dumps(header).encode(), body)])


LEVELS = st.sampled_from(["none", "zlib", "zstd"])


@settings(max_examples=40)
@given(blocks=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=9), level=LEVELS, tail=st.integers(1, BLOCK))
def test_what_was_packed_is_unpacked(blocks: list[bytes], level: str, tail: int) -> None:
    whole = b"".join((block * BLOCK)[:BLOCK] for block in blocks)
    whole = whole[: len(whole) - BLOCK + tail]
    name = packing.agreed(level, packing.available()) if level in packing.available() else ""
    packer = Packer(name, always=bool(name))
    parts, runs = packer.payload([((3, len(blocks)), whole, NULL * len(blocks))])
    got = wires.Frame({"runs": runs}, b"".join(parts), "far")
    found = dict(packing.unpacked(got, 3 * BLOCK + len(whole), name))
    assert b"".join(bytes(found[run]) for run in sorted(found)) == whole
    assert not name or packer.ratio <= 1


def test_a_link_that_is_slower_than_packing_is_packed_for_and_a_fast_one_is_not() -> None:
    text, noise = b"0123456789abcdef" * (BLOCK // 16), os.urandom(BLOCK)
    for block, seconds, expected in ((text, 100.0, True), (text, 1e-6, False), (noise, 100.0, False)):
        packer = Packer("zlib", always=False)
        packer.look(9 << 20, seconds, [((0, 1), block, NULL)])
        packer.payload([((0, 1), block, NULL)])
        assert (packer.ratio < 1) == expected


def test_a_compression_that_one_end_lacks_is_named() -> None:
    assert packing.agreed("auto", []) == ""
    assert packing.agreed("auto", ["zlib"]) == "zlib"
    with pytest.raises(XdrError, match="compression zlib is not there at both ends"):
        packing.agreed("zlib", ["zstd"])
