# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Sessions of two real ends with bytes changed, cut out or put in between them, in both directions.

Ten minutes of it: XDR_EXAMPLES=40 ./xdr test tests/unit/test_delta_fuzz.py --timeout 3600
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta import receiver, session
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.delta_pair import BLOCK, Pair, content, pipe, quick_folder
from tests.support.examples import examples

SILENCE = 0.5  # seconds: a length that promises too much leaves both ends waiting for each other
OLD, NEW = content([1, 2, 3, 0, 5, 6]), content([1, 9, 3, 7, 0, 6, 8], 100)
VALUES = st.sampled_from([b"\0", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b'"', b"}", b"-1", b"1e999", b"[[["])
# most of a session is blocks: half of the places are near its start, where the frames' headers are
PLACES = st.one_of(st.integers(0, 700), st.integers(0, 4 * BLOCK))
STROKES = st.lists(st.tuples(PLACES, st.sampled_from(["over", "in", "out"]), VALUES), min_size=1, max_size=3)


def struck(strokes: list[tuple[int, str, bytes]]) -> Callable[[BinaryIO], BinaryIO]:
    """A stream in which at some places bytes are written over, put in, or left out."""

    def through(source: BinaryIO) -> BinaryIO:
        reader, writer = pipe()

        def copy() -> None:
            at = 0
            try:
                with source, writer:
                    while chunk := source.read(65536):
                        found = bytearray(chunk)
                        here = sorted(each for each in strokes if at <= each[0] < at + len(chunk))
                        for place, what, value in reversed(here):
                            _strike(found, place - at, what, value)
                        at += len(chunk)
                        while found:
                            del found[: writer.write(found) or 0]
            except (BrokenPipeError, ValueError):
                pass  # an end has had enough

        threading.Thread(target=copy, daemon=True).start()
        return reader

    return through


def _strike(data: bytearray, at: int, what: str, value: bytes) -> None:
    data[at : at if what == "in" else at + len(value)] = b"" if what == "out" else value


@contextmanager
def impatient() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "SILENCE", SILENCE)
        patch.setattr(receiver, "IDLE", SILENCE)
        yield


def tree(folder: Path, *, but: tuple[Path, ...]) -> dict[str, bytes]:
    """All files below a folder, apart from those below others."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not any(path.is_relative_to(other) for other in but))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@settings(max_examples=examples(25), suppress_health_check=list(HealthCheck))
@given(down=STROKES | st.just([]), up=STROKES | st.just([]), points=st.sampled_from([0, 2]), units=st.integers(1, 3))
def test_whatever_becomes_of_a_session_no_end_hangs_or_writes_where_it_must_not(
    down: list[tuple[int, str, bytes]], up: list[tuple[int, str, bytes]], points: int, units: int
) -> None:
    with quick_folder() as folder:
        pair = Pair(folder, *("orders", "customers", "parcels")[:units], unit="", grows=True)
        for name in pair.volumes:
            pair.write(pair.source, name, OLD)
        pair.ready().sync(recovery_points=points)
        for name in pair.volumes:
            pair.write(pair.source, name, NEW)
        (folder / "primary" / "volumes" / "other.img").write_bytes(os.urandom(100))
        own = tuple(host.state_dir / "plans" for host in (pair.source, pair.target))
        volumes = [pair.path(pair.target, name) for name in pair.volumes]
        before = tree(folder, but=(*own, *volumes))
        try:
            with impatient():
                pair.through(struck(down), struck(up), recovery_points=points)
        except XdrError:
            assert all(data in (OLD, NEW) for data in pair.both(pair.target)), "one state or the other, never between"
        else:
            assert pair.both(pair.target) == [NEW] * units, "it said so"
        assert tree(folder, but=(*own, *volumes)) == before
        pair.sync(recovery_points=points)
        assert pair.both(pair.target) == [NEW] * units
