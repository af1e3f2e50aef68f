# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What arrives over the wire is checked before anything is believed, and nobody waits for ever."""

from __future__ import annotations

import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta import wire as wires
from ansible_collections.xdr.failback.plugins.module_utils.delta.apply import spool_dir
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.delta.receiver import serve
from ansible_collections.xdr.failback.plugins.module_utils.delta.wire import Pace, Wire
from ansible_collections.xdr.failback.plugins.module_utils.errors import NotReached, Refused, XdrError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.delta_pair import PAIR, PLAN, Pair, content, pipe, quick_folder


@contextmanager
def two_ends(timeout: float = 10.0) -> Iterator[tuple[Wire, Wire, BinaryIO]]:
    """Both ends of a session, and the stream by which the first one writes."""
    (down_in, down_out), (up_in, up_out) = pipe(), pipe()
    with down_in, down_out, up_in, up_out:
        yield Wire(up_in, down_out, peer="far", timeout=timeout), Wire(down_in, up_out, peer="near", timeout=timeout), down_out


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


@settings(deadline=None, max_examples=60)
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
            near.send_long("data", bytes(1 << 20))


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


# -- a receiver that is talked to by hand ---------------------------------------------------------------------------

OLD = content([1, 2])


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    pair = Pair(tmp_path, "orders")
    pair.write(pair.source, "orders", OLD)
    pair.ready()
    pair.sync()
    return pair


@contextmanager
def receiver(pair: Pair, **hello: Any) -> Iterator[Wire]:
    """A session with the real receiver after the hello; whatever comes of it, the volume is untouched and no spool is left."""
    with two_ends() as (near, far, down_out):
        thread = threading.Thread(target=serve, args=(pair.target.state_dir, _Ends(far._in), _Ends(far._out)))
        thread.start()
        fields = {
            "version": 1,
            "plan": PLAN,
            "run_id": "",
            "epoch": PAIR[0],
            "attempt": PAIR[1],
            "volumes": [{"name": "orders", "size": len(OLD)}],
        }
        near.send("hello", **{**fields, **hello})
        yield near
        down_out.close()
        thread.join(10)
        assert not thread.is_alive()
    assert pair.read(pair.target, "orders") == OLD
    folder = spool_dir(pair.target.state_dir, PLAN)
    assert not folder.exists() or not list(folder.iterdir())


class _Ends:
    def __init__(self, fd: int) -> None:
        self.fileno = lambda: fd


@pytest.mark.parametrize(
    "hello",
    [
        {"version": 2},
        {"version": "1"},
        {"plan": "../../etc"},
        {"plan": "other"},
        {"plan": None},
        {"epoch": -1},
        {"volumes": "orders"},
        {"volumes": [{"name": "../orders", "size": 1}]},
        {"volumes": [{"name": "orders"}]},
        {"volumes": [["orders"]]},
        {"run_id": 7},
    ],
)
def test_a_wrong_hello_is_refused(pair: Pair, hello: dict[str, Any]) -> None:
    with receiver(pair, **hello) as near, pytest.raises(XdrError):
        near.receive("copy")


def unit(near: Wire, **fields: Any) -> None:
    near.receive("copy")
    near.receive_long("digests", 64)
    own = {"name": "orders", "size": len(OLD), "data_bytes": BLOCK, **fields}
    near.send("unit", cycle=2, read_started=1.0, volumes=[own])


NUMBER = (0).to_bytes(8, "big")


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        (b"", {"blocks": 1}),
        (NUMBER, {"blocks": 0}),
        (NUMBER + bytes(10), {"blocks": 1}),
        ((2).to_bytes(8, "big") + bytes(BLOCK), {"blocks": 1}),
        (NUMBER + bytes(BLOCK), {"blocks": 1, "volume": 1}),
        (NUMBER + bytes(BLOCK), {"blocks": 1 << 40}),
        (b"no zlib", {"blocks": 1, "zlib": True}),
        (zlib.compress(NUMBER + bytes(10)), {"blocks": 1, "zlib": True}),
    ],
)
def test_wrong_blocks_are_refused(pair: Pair, payload: bytes, fields: dict[str, Any]) -> None:
    with receiver(pair) as near:
        unit(near)
        near.send("blocks", payload, **{"volume": 0, **fields})
        with pytest.raises(XdrError, match="not XDR's protocol"):
            near.receive()


def test_blocks_that_do_not_make_the_source_are_refused(pair: Pair) -> None:
    with receiver(pair) as near:
        unit(near)
        near.send("blocks", NUMBER + b"x" * BLOCK, volume=0, blocks=1)
        near.send("commit", roots=[{"root": "0" * 64}])
        with pytest.raises(XdrError, match="does not make the source's volumes") as failure:
            near.receive()
        assert failure.value.code == "not_equal"


def test_a_cycle_that_cannot_fit_is_refused_before_it_is_received(pair: Pair) -> None:
    with receiver(pair) as near:
        unit(near, data_bytes=1 << 60)
        with pytest.raises(XdrError, match=r"the disk is full: \d+ bytes are free and \d+ bytes are needed") as failure:
            near.receive()
        assert failure.value.code == "disk_full"


def test_a_volume_is_not_in_a_unit_twice(pair: Pair) -> None:
    with receiver(pair) as near:
        near.receive("copy")
        near.receive_long("digests", 64)
        item = {"name": "orders", "size": len(OLD), "data_bytes": 0}
        near.send("unit", cycle=2, read_started=1.0, volumes=[item, item])
        with pytest.raises(XdrError, match="no unit here"):
            near.receive()


@settings(deadline=None, max_examples=40)
@given(
    header=st.dictionaries(
        st.sampled_from(["kind", "volume", "volumes", "cycle", "size", "all"]),
        st.one_of(
            st.integers(),
            st.text(),
            st.none(),
            st.lists(st.integers()),
            st.sampled_from(["unit", "compare", "compared", "extents", "orders"]),
        ),
    )
)
def test_a_receiver_that_is_talked_nonsense_to_ends(header: dict[str, Any]) -> None:
    with quick_folder() as folder:
        pair = Pair(folder, "orders")
        pair.write(pair.target, "orders", OLD)
        pair.ready()
        with receiver(pair) as near:
            near.receive("copy")
            near.receive_long("digests", 64)
            near._write(frame(json.dumps(header).encode()))
