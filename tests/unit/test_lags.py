# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""replication_lag over time, as the store keeps it; an unknown one is never hidden by a known one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from portal.store import Store, lags
from portal.store.lags import Point, Sum
from portal.web import lag

NOW = 1_800_000_000.0
PLAN = {"name": "shop", "targets": {"rpo": 60}}


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock, in seconds after NOW."""

    def move(seconds: float) -> None:
        monkeypatch.setattr("time.time", lambda: NOW + seconds)

    return move


def looked(store: Store, at: Callable[[float], None], *rows: tuple[float, Any, Any]) -> None:
    for when, nbytes, age in rows:
        at(when)
        lags.add(store, "shop", nbytes, age)


def test_each_look_is_a_point(store: Store, at: Callable[[float], None]) -> None:
    looked(store, at, (0, 10, 2.5), (30, 0, 0.0), (60, "unknown", "unknown"), (90, 7, "unknown"), (120, None, True))
    lags.add(store, "other", 1, 1)
    known = [(0.0, 10.0, 2.5), (30.0, 0.0, 0.0), (60.0, None, None), (90.0, 7.0, None), (120.0, None, None)]
    assert lags.over(store, "shop", NOW, NOW + 200) == [Point(NOW + when, nbytes, age) for when, nbytes, age in known]


def test_many_looks_are_told_by_their_worst(store: Store, at: Callable[[float], None]) -> None:
    looked(store, at, *((number, number % 7, 1.0) for number in range(300)), (150.5, "unknown", 9.0))
    found = lags.over(store, "shop", NOW, NOW + 300, points=10)
    assert len(found) <= 10
    assert {point.bytes for point in found if point.bytes is not None} == {6.0}
    without = [point for point in found if point.bytes is None]
    assert [point.age for point in without] == [9.0], "what was not known once is not known"


def test_what_nobody_is_shown_any_more_is_dropped(store: Store, at: Callable[[float], None]) -> None:
    looked(store, at, (0, 1, 1), (lags.KEPT / 2, 2, 2), (lags.KEPT + 1, 3, 3))
    assert [point.bytes for point in lags.over(store, "shop", NOW, NOW + 2 * lags.KEPT)] == [2.0, 3.0]


def test_the_sum_of_a_span(store: Store, at: Callable[[float], None]) -> None:
    looked(store, at, (0, 1, 500.0), (100, 1, 10.0), (130, 1, 70.0), (160, "unknown", "unknown"))
    assert lags.summed(store, "shop", NOW + 50, limit=60) == Sum(looks=3, unknown=1, over=1, worst=70.0)
    assert lags.summed(store, "other", NOW, limit=60) == Sum(0, 0, 0, None)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "Last 24 hours: nobody has looked."),
        ([(0, 1, 10.0)], "Last 24 hours: at worst 10.0 s old, within RPO at 100 % of the looks."),
        ([(0, 1, "unknown")], "Last 24 hours: never known."),
        ([(0, 1, 61.0), (1, 1, "unknown")], "Last 24 hours: at worst 1 min 1 s old, within RPO at 0 % of the looks, unknown at 50.0 %."),
        (
            [(number, 1, 61.0 if number else 5.0) for number in range(1500)],
            "Last 24 hours: at worst 1 min 1 s old, within RPO at 0.1 % of the looks.",
        ),
    ],
)
def test_in_words(store: Store, at: Callable[[float], None], rows: list[tuple[float, Any, Any]], told: str) -> None:
    looked(store, at, *rows)
    at(3000)
    assert lag.spans(store, PLAN)[0].told == told
