# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from hypothesis import given
from hypothesis import strategies as st

from portal.lab.orders import Ack, acknowledged, duplicated, lost, numbers_in_file, numbers_of_service, outage, read_log

times = st.floats(0, 1000, allow_nan=False)


def acks(*at: float) -> list[Ack]:
    return [Ack(number, when, when) for number, when in enumerate(at, 1)]


@pytest.mark.parametrize(
    ("at", "since", "until", "seconds"),
    [
        ([1, 2, 3], 1, 3, 1),
        ([1, 2, 8, 9], 1, 9, 6),
        ([1, 2, 8, 9], 4, 5, 6),  # the gap reaches over both edges: it counts in full
        ([1, 2, 8, 9], 2, 5, 6),
        ([1, 2], 1, 10, 8),  # not back yet
        ([9], 1, 9, 8),  # never there before
        ([], 1, 4, 3),
        ([1, 5, 20, 21], 20, 21, 1),  # an outage before the window is another story
    ],
)
def test_outage_is_the_longest_gap(at: list[float], since: float, until: float, seconds: float) -> None:
    assert outage(acks(*at), since, until) == seconds


@given(st.lists(times, min_size=2), st.data())
def test_outage_is_never_shorter_than_any_gap_inside_the_window(at: list[float], data: st.DataObject) -> None:
    since, until = sorted(data.draw(st.tuples(times, times)))
    found = outage(acks(*at), since, until)
    inside = sorted(when for when in at if since <= when <= until)
    assert all(found >= later - earlier for earlier, later in pairwise(inside))
    assert found <= max([*at, until]) - min([*at, since])


@given(st.sets(st.integers(1, 200)), st.lists(st.integers(1, 200)))
def test_lost_and_duplicated_partition_what_was_acknowledged(sent: set[int], stored: list[int]) -> None:
    answered = [Ack(number, 0, 0) for number in sent]
    assert set(lost(answered, stored)) | (set(stored) & sent) == acknowledged(answered)
    assert not set(lost(answered, stored)) & set(stored)
    assert len(stored) - len(set(stored)) == sum(stored.count(number) - 1 for number in duplicated(stored))


def test_log_counts_failures_and_survives_a_torn_line(tmp_path: Path) -> None:
    log = tmp_path / "orders.jsonl"
    lines = [
        {"number": 1, "monotonic": 1.0, "wall": 2.0},
        {"number": 2, "monotonic": 1.5, "wall": 2.5, "why": "status 503"},
        {"number": 3, "monotonic": 2.0, "wall": 3.0},
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"number": 4, "mono')
    found = read_log(log)
    assert acknowledged(found.acks) == {1, 3}
    assert (found.sent, found.failed, found.last, found.torn) == (3, 1, 3, True)
    assert read_log(tmp_path / "none").sent == 0


def test_numbers_of_a_file_are_read_without_touching_it(tmp_path: Path) -> None:
    volume = tmp_path / "orders.img"
    with closing(sqlite3.connect(volume)) as database, database:
        database.execute("CREATE TABLE orders(id INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER, at REAL)")
        database.executemany("INSERT INTO orders(number, at) VALUES (?, 0)", [(3,), (1,), (3,)])
    before = volume.read_bytes()
    assert numbers_in_file(volume) == [3, 1, 3]
    assert volume.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["orders.img"]


def test_missing_database_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(XdrError, match=r"none\.img: the orders database cannot be read"):
        numbers_in_file(tmp_path / "none.img")
    with pytest.raises(XdrError, match="did not answer"):
        numbers_of_service("http://127.0.0.1:1")
