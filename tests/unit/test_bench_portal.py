# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr bench portal``: what is seeded and measured, on a small store. Nothing here is about how long anything takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.routing import Route
from typer.testing import CliRunner

from portal import PROJECT
from portal.bench import figures, seed
from portal.bench.figures import Figure, Watched, of_watched, percentile, picked
from portal.bench.pages import BESIDE, STREAMS, UNSEEDED, pages
from portal.bench.seed import HISTORY, Seeded, Size
from portal.bench.watchers import Crowd, Viewer
from portal.cli import app
from portal.plans import load
from portal.store import Store, audit, events, observations, runs, tables
from portal.web.app import ROUTES

SMALL = Size(plans=5, resources=20, events=500)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Seeded]]:
    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('seed') / 'xdr.sqlite'}")
    yield store, seed.fill(store, SMALL, "correct horse battery", lambda text: None)
    store.close()


def count(store: Store, table: sa.Table) -> int:
    with store.reading() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


# -- the seed ----------------------------------------------------------------------------------------------------


def test_the_plans_are_valid(tmp_path: Path) -> None:
    SMALL.estate.write(tmp_path / "inventory")
    found = load(tmp_path / "inventory").plans
    assert list(found) == SMALL.estate.names
    assert {sum(len(group["resources"]) for group in plan["start_order"]) for plan in found.values()} == {20}
    names = [[(group["name"], [one["name"] for one in group["resources"]]) for group in plan["start_order"]] for plan in found.values()]
    assert names == [SMALL.estate.groups(number) for number in range(5)]


def test_as_many_events_as_are_asked_for_in_runs_without_a_gap(seeded: tuple[Store, Seeded]) -> None:
    store, made = seeded
    assert count(store, tables.events) == 500
    assert events.last(store, made.run) == made.last == 50
    assert [event["seq"] for event in events.after(store, made.run)] == list(range(1, 51))
    assert count(store, tables.runs) == 1 + 5 * (len(HISTORY) + seed.CYCLES) - 2  # the run at work, and what it has not come to yet


def test_every_plan_was_seen_and_has_runs(seeded: tuple[Store, Seeded]) -> None:
    store, made = seeded
    assert {f"plan/{name}" for name in SMALL.estate.names} | {observations.SITES} == set(observations.stamps(store))
    assert runs.at_work(store).keys() == {made.plan}
    for name in SMALL.estate.names:
        assert all(run.result for run in runs.latest(store, plan=name, cycles=True) if run.ended)
    assert not audit.verify(store).wrong


# -- which pages -------------------------------------------------------------------------------------------------


def test_every_page_is_measured() -> None:
    """A new one too, without being named; a route with a part that the bench has no value for says so."""
    routes = {route.path for route in ROUTES if isinstance(route, Route) and "GET" in (route.methods or ())}
    measured = list(pages(Seeded("p", "r", "i", 1)))
    assert routes - set(STREAMS) - set(UNSEEDED) == {page.name for page in measured} - set(BESIDE)
    assert {page.path for page in measured if "incidents/" in page.path} == {"/plans/p/incidents/i"}
    assert not [page.path for page in measured if "{" in page.path]


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        ("", ("page /", "page /runs", "event age", "viewers")),
        ("page", ("page /", "page /runs")),
        ("viewers, page /runs", ("viewers", "page /runs")),
    ],
)
def test_the_rows_asked_for(asked: str, rows: tuple[str, ...]) -> None:
    assert picked(asked, ("page /", "page /runs", "event age", "viewers")) == rows


@pytest.mark.parametrize(
    "args",
    [["--plans", "0"], ["--events", "10"], ["--viewers", "0"], ["--repeat", "0"], ["--rows", "page /nowhere"], ["--resources", "100"]],
    ids=["no plans", "few events", "no viewers", "never", "no row", "many resources"],
)
def test_what_cannot_be_measured_is_a_bad_option(args: list[str]) -> None:
    result = CliRunner().invoke(app, ["bench", "portal", *args])
    assert result.exit_code == 5
    assert "Traceback" not in result.output


def test_too_few_open_files_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda kind: (256, 1024))
    result = CliRunner().invoke(app, ["bench", "portal", "--viewers", "2000"])
    assert result.exit_code == 5
    assert "2200 open files are needed, 1024 are allowed" in result.output


# -- figures -----------------------------------------------------------------------------------------------------


def watched(**changes: Any) -> Watched:
    whole = {"asked": 2, "connected": 2, "arrived": {1: [10.02, 10.05], 2: [10.11, 10.2]}, "told": {1: 10.0, 2: 10.1}}
    return Watched(**{**whole, "lost": 0, "doubled": 0, "cpu_s": 0.2, **changes})


def test_the_delay_counts_from_when_the_event_was_told() -> None:
    figure = of_watched("viewers", watched(), 100.0)
    assert (figure.value, figure.worst, figure.cpu, figure.ok, figure.broken) == (100.0, 100.0, 50.0, True, False)
    assert not of_watched("viewers", watched(), 99.0).ok


@pytest.mark.parametrize("changes", [{"lost": 1}, {"doubled": 1}, {"connected": 1}, {"arrived": {1: []}}])
def test_what_does_not_come_once_breaks_the_row(changes: dict[str, Any]) -> None:
    figure = of_watched("viewers", watched(**changes), 1000.0)
    assert figure.broken
    assert not figure.ok
    json.dumps(figure.to_json(), allow_nan=False)


@pytest.mark.parametrize(("share", "value"), [(50, 2), (75, 3), (99, 4), (100, 4)])
def test_percentile(share: float, value: float) -> None:
    assert percentile([1, 2, 3, 4], share) == value


@pytest.mark.parametrize(
    ("pieces", "lost", "doubled", "last"),
    [
        ([b"id: 1\r\nevent: log\r\n", b"id: 2\r\n"], 0, 0, 2),
        ([b"id: 1\r", b"\nid", b": 2\r\n"], 0, 0, 2),
        ([b"id: 2\r\n"], 1, 0, 2),
        ([b"id: 1\r\nid: 1\r\nid: 2\r\n"], 0, 1, 2),
        ([b'id: 1\r\ndata: {"text": "id: 7"}\r\n'], 0, 0, 1),
    ],
    ids=["whole", "in pieces", "a gap", "doubled", "text"],
)
def test_what_a_viewer_counts(pieces: list[bytes], lost: int, doubled: int, last: int) -> None:
    import asyncio

    async def read() -> Viewer:
        viewer = Viewer(crowd, b"")
        viewer.data_received(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        viewer.data_received(b"\r\n" + pieces[0])
        for piece in pieces[1:]:
            viewer.data_received(piece)
        assert viewer.ready.result()
        return viewer

    crowd = Crowd(0, 9)
    crowd.viewers = 1
    viewer = asyncio.run(read())
    assert (crowd.lost, crowd.doubled, viewer.seq) == (lost, doubled, last)
    viewer.end()
    assert crowd.lost == lost + 9 - last


# -- the command -------------------------------------------------------------------------------------------------


def test_a_small_run_says_all_and_leaves_only_its_seed(tmp_path: Path) -> None:
    argv = [
        str(Path(sys.executable).parent / "xdr"),
        "bench",
        "portal",
        "--plans",
        "5",
        "--events",
        "500",
        "--viewers",
        "20",
        "--repeat",
        "1",
    ]
    own = {**os.environ, "XDR_VAR": str(tmp_path)}
    done = subprocess.run([*argv, "--json"], cwd=PROJECT, env=own, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert set(document) == {"machine", "asked", "rows"}
    rows = {row["name"]: row for row in document["rows"]}
    expected = [f"{figures.PAGES} {page.name}" for page in pages(Seeded("", "", "", 0))]
    assert list(rows) == [*expected, figures.AGE, figures.VIEWERS]
    assert all(row["value"] > 0 and row["goal"] > 0 and row["unit"] == "ms" for row in rows.values())
    assert rows[figures.VIEWERS]["why"].startswith("20 of 20 viewers connected, 0 events lost, 0 doubled")
    kept = sorted(path.name.partition("-2")[0] for path in tmp_path.iterdir())
    assert kept == ["lock", "portal", "portal-seed"]


def test_a_figure_has_what_the_row_of_the_json_promises() -> None:
    row = Figure("page /", 12.5, 100.0).to_json()
    assert {"name", "value", "goal", "unit", "ok"} <= set(row)
    assert row["ok"] is True
