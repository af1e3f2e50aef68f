# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Compiled plans are kept from run to run for as long as nothing has changed that they are made from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.plugin_utils import environment, kept
from ansible_collections.xdr.failback.plugins.plugin_utils.kept_plans import KEEP, compiled_plans
from ansible_collections.xdr.failback.plugins.plugin_utils.source import SourceError

from portal import PROJECT

GROUPS = {"frankfurt": ["fra-hv1"], "amsterdam": ["ams-hv1"], "edge": ["edge1"]}


class Place:
    """An environment, and how often its plans were compiled."""

    def __init__(self, folder: Path) -> None:
        self.compiled = 0
        self.kept = folder / "home" / "xdr_plans"
        self.config = folder / "plans.yml"
        self.plan = folder / "plans" / "webshop.yml"
        self.plan.parent.mkdir()
        for path in (self.config, self.plan):
            path.write_bytes((PROJECT / "inventories" / "lab" / path.relative_to(folder)).read_bytes())
        self.groups = {**GROUPS}

    def plans(self) -> dict[str, Any]:
        return compiled_plans(self.config, self.groups, {}, self.kept)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    one, load = Place(tmp_path), environment.load_environment

    def counted(*arguments: Any) -> environment.Environment:
        one.compiled += 1
        return load(*arguments)

    monkeypatch.setattr(environment, "load_environment", counted)
    return one


def test_the_second_time_they_are_found_and_the_same(place: Place) -> None:
    first = place.plans()
    assert json.dumps(place.plans()) == json.dumps(first)  # the order of the fields, too
    assert place.compiled == 1


def _edit(place: Place) -> None:
    place.plan.write_text(place.plan.read_text().replace("rpo: 5m", "rpo: 6m"))


def _another_plan(place: Place) -> None:
    place.plan.rename(place.plan.with_name("other.yml"))


def _another_host(place: Place) -> None:
    place.groups["frankfurt"] = ["fra-hv1", "fra-hv2"]


def _written_by_others(place: Place) -> None:
    place.kept.chmod(0o777)


@pytest.mark.parametrize("change", [_edit, _another_plan, _another_host, _written_by_others])
def test_after_a_change_they_are_compiled_again(place: Place, change: Callable[[Place], None]) -> None:
    place.plans()
    change(place)
    place.plans()
    assert place.compiled == 2


def test_what_an_edit_says_is_what_comes(place: Place) -> None:
    assert place.plans()["webshop"]["targets"]["rpo"] == 300
    _edit(place)
    assert place.plans()["webshop"]["targets"]["rpo"] == 360


def test_a_wrong_plan_is_told_each_time(place: Place) -> None:
    place.plan.write_text(place.plan.read_text().replace("rpo: 5m", "rpo: 5x"))
    for _ in range(2):
        with pytest.raises(SourceError, match=r"webshop\.yml"):
            place.plans()


def test_a_home_that_cannot_be_written_to_stops_nothing(place: Place) -> None:
    place.kept.parent.write_text("a file where a folder should be")
    assert place.plans() == place.plans()
    assert place.compiled == 2


def test_the_newest_states_are_kept(place: Place) -> None:
    place.plans()
    (newest,) = place.kept.iterdir()
    for number in range(KEEP + 5):
        old = place.kept / f"old{number}.json"
        old.touch()
        os.utime(old, (number, number))
    kept.prune(place.kept, KEEP)
    assert len(list(place.kept.iterdir())) == KEEP
    assert newest.exists()
