# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Seeds, series, the operator's choice, and the command line: without a lab."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from rich.console import Console
from typer.testing import CliRunner

from portal import PROJECT
from portal.cli import app
from portal.faults import record, series
from portal.faults.ground import RESOURCES
from portal.faults.kinds import KINDS
from portal.faults.operator import next_action
from portal.faults.places import STEPS, Place
from portal.faults.scenario import Scenario, every, of_seed
from portal.faults.series import Series


def test_consecutive_seeds_mean_each_scenario_once() -> None:
    known = every()
    assert {of_seed(seed, known).name for seed in range(len(known))} == {one.name for one in known}
    assert len(known) == len(set(known))


def test_each_step_is_hit_by_many_kinds() -> None:
    assert len(KINDS) >= 12
    for step in STEPS:
        assert len({one.kind.name for one in every(step)}) >= 12


def test_only_narrows() -> None:
    assert {one.place.step for one in every("verify")} == {"verify"}
    assert [one.name for one in every("disk-full@release/intent")] == ["disk-full@release/intent"]
    with pytest.raises(ValueError, match="'no-such' is no step, kind or scenario"):
        every("no-such")


def test_a_place_is_reached_in_a_failback_alone() -> None:
    place = Place("final_sync", "done")
    run = {"action": "failback", "phases": {"final_sync": {"intent": 1.0, "done": None}}}
    assert not place.reached(None)
    assert not place.reached({"run": run})
    assert Place("final_sync").reached({"run": run})
    run["phases"]["final_sync"]["done"] = 2.0  # type: ignore[index]
    assert place.reached({"run": run})
    assert not place.reached({"run": {**run, "action": "replicate"}})


@pytest.mark.parametrize(
    ("state", "up", "asks", "action"),
    [
        ("FAILED_BACK", {"frankfurt": set(RESOURCES)}, "failback", ""),
        ("FAILED_BACK", {}, "failback", "start"),
        ("READY", {"amsterdam": set(RESOURCES)}, "failback", ""),
        ("REVERSING", {"amsterdam": {"orders-db"}}, "failback", "start"),
        ("ROLLING_BACK", {}, "failback", "rollback"),
        ("FAILING_BACK", {}, "failback", "failback"),
        ("FAILING_BACK", {}, "rollback", "rollback"),
        ("NO_OWNER", {}, "failback", "failback"),
    ],
)
def test_the_operators_next_action(state: str, up: dict[str, set[str]], asks: str, action: str) -> None:
    assert next_action(state, up, asks) == action


def played(scenario: Scenario) -> dict[str, Any]:
    place = {"kind": scenario.kind.name, "step": scenario.place.step, "mark": scenario.place.mark}
    return {**place, "outcome": "home", "breaches": [], "reached": True, "exit_code": 0, "operator": [], "seconds": 1.0}


def test_an_interrupted_series_goes_on_where_it_was(tmp_path: Path) -> None:
    wanted, played_now, told = Series(3, 4), [], list[str]()

    def play(scenario: Scenario) -> dict[str, Any]:
        if len(played_now) == 2:
            raise KeyboardInterrupt
        played_now.append(scenario.name)
        return played(scenario)

    with pytest.raises(KeyboardInterrupt):
        series.go(wanted, tmp_path, play, told.append)
    with wanted.file(tmp_path).open("a") as stream:
        stream.write('{"seed": 5, "torn')
    rest = series.go(wanted, tmp_path, played, told.append)
    assert sorted(one["seed"] for one in rest) == [3, 4, 5, 6]
    assert [one["scenario"] for one in rest[:2]] == played_now
    assert any("2 of 4 were played" in text for text in told)
    assert len(series.go(wanted, tmp_path, played, told.append)) == 4  # it is complete: all of it is played again


def test_a_table_shows_what_did_not_hold() -> None:
    wanted = Series(0, 2)
    good, bad = ({"seed": seed, **played(of_seed(seed, every()))} for seed in wanted.seeds)
    bad["breaches"] = ["orders-db at dr: 1 lost (the first is 7)"]
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(series.table(wanted, [good, bad]))
    text = console.export_text()
    assert "1 of 2 held (50.0 %)" in text
    assert "again: xdr faults run --seed 1 --iterations 1" in text
    document = series.document(wanted, [good, bad])
    assert (document["success_rate"], [one["seed"] for one in document["failed"]]) == (0.5, [1])
    assert "BREACH: orders-db at dr: 1 lost" in series.line({"scenario": "x", **bad})


def test_a_user_is_told_that_it_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = CliRunner().invoke(app, ["faults", "run"])
    assert result.exit_code == 5
    assert "the fault lab needs root: it puts each host into a network namespace" in " ".join(result.stderr.split())


def test_a_wrong_step_names_those_there_are() -> None:
    result = CliRunner().invoke(app, ["faults", "run", "--only", "lunch"])
    assert result.exit_code == 5
    assert "stop_services" in result.stderr


def test_a_record_keeps_every_play_and_names_how_to_play_it_again(tmp_path: Path) -> None:
    file = tmp_path / "runs.json"
    first = {"seed": 7, **played(of_seed(7, every())), "scenario": "a@b/intent", "breaches": ["1 lost"], "reported": []}
    later = {**first, "breaches": [], "seconds": 2.0, "operator": [{"from": "READY", "action": "failback", "exit_code": 0, "more": 1}]}
    named = {**first, "seed": 0, "scenario": "c@d/done", "reached": False, "breaches": []}
    assert record.add(file, [first]) == 1
    assert record.add(file, [first, later]) == 2
    assert record.add(file, [named], only="c@d/done") == 3
    kept = json.loads(file.read_text())
    assert {name: kept[name] for name in ("runs", "held", "struck", "scenarios", "kinds")} == {
        "runs": 3, "held": 2, "struck": 2, "scenarios": 2, "kinds": 2,
    }  # fmt: skip
    assert [(one["seed"], one.get("only")) for one in kept["results"]] == [(0, "c@d/done"), (7, None), (7, None)]
    assert kept["results"][2]["operator"] == [["READY", "failback", 0]]
    file.write_text("[]")
    with pytest.raises(XdrError, match="no record of played scenarios"):
        record.add(file, [first])
    assert file.read_text() == "[]"


def test_the_record_that_is_kept_plays_what_there_is() -> None:
    kept = json.loads((PROJECT / "docs" / "faults-runs.json").read_text())
    assert kept["runs"] == len(kept["results"])
    assert kept["held"] == sum(not one["breaches"] for one in kept["results"])
    assert {one["scenario"] for one in kept["results"]} <= {one.name for one in every()}
