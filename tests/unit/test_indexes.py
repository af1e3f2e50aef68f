# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What every page asks goes through an index, on a store with years of runs: each query is caught as it is sent, and its plan is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from portal.store import Store, audit, events, lags, observations, runs


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    made = Store.open(f"sqlite:///{tmp_path_factory.mktemp('store') / 'xdr.sqlite'}")
    yield made
    made.close()


def plans_of(store: Store, ask: Callable[[Store], Any]) -> list[str]:
    """How SQLite goes about each query of ``ask``."""
    sent: list[tuple[str, Any]] = []

    def caught(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        sent.append((statement, parameters))

    sa.event.listen(store.engine, "before_cursor_execute", caught)
    try:
        ask(store)
    finally:
        sa.event.remove(store.engine, "before_cursor_execute", caught)
    with store.reading() as connection:
        selects = [one for one in sent if one[0].startswith("SELECT")]
        return [row[3] for query, values in selects for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values)]


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda store: runs.at_work(store), "runs_unended"),
        (lambda store: runs.unended(store), "runs_unended"),
        (lambda store: runs.ended_since(store, 1.0), "runs_by_end"),
        (lambda store: runs.heads(store, 20), "runs_asked_for"),
        (lambda store: runs.latest(store), "runs_asked_for"),
        (lambda store: runs.latest(store, before=5.0), "runs_asked_for"),
        (lambda store: runs.latest(store, plan="webshop"), "runs_of_plan_asked_for"),
        (lambda store: runs.latest(store, cycles=True), "runs_by_time"),
        (lambda store: runs.latest(store, plan="webshop", cycles=True), "runs_of_plan_scheduled"),
        (lambda store: runs.newest_move(store, "webshop"), "runs_of_plan_by_action"),
        (lambda store: runs.last_begun(store, "webshop", "replicate"), "runs_of_plan_by_action"),
        (lambda store: observations.stamps(store), "COVERING INDEX observations_seen"),
        (lambda store: events.last(store, "r"), "sqlite_autoindex_events_1"),
        (lambda store: events.lasts(store, ["r", "s"]), "sqlite_autoindex_events_1"),
        (lambda store: events.after(store, "r", 5), "sqlite_autoindex_events_1"),
        (lambda store: audit.latest(store, 100, 5000), "INTEGER PRIMARY KEY"),
        (lambda store: lags.summed(store, "webshop", 1.0, 5.0), "sqlite_autoindex_lags_1"),
    ],
    ids=[
        *(
            "at work",
            "unended",
            "ended since",
            "heads",
            "runs",
            "older runs",
            "runs of a plan",
            "cycles",
            "cycles of a plan",
            "newest move",
        ),
        *("last begun", "stamps", "last event", "last events", "events after", "audit", "lags"),
    ],
)
def test_the_index(store: Store, ask: Callable[[Store], Any], index: str) -> None:
    found = plans_of(store, ask)
    assert any(f"{index} " in f"{step} " for step in found), found
    assert not [step for step in found if step.startswith("SCAN") and "INDEX" not in step], found


@pytest.mark.parametrize(
    "ask", [lambda store: runs.latest(store), lambda store: runs.latest(store, plan="p"), lambda store: runs.unended(store)]
)
def test_nothing_is_sorted(store: Store, ask: Callable[[Store], Any]) -> None:
    """The newest fifty of a million come from the end of the index."""
    assert not [step for step in plans_of(store, ask) if "TEMP B-TREE" in step]
