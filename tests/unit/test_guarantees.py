# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""docs/guarantees.md names tests and fault scenarios that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from portal.faults.scenario import every

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([a-z_/]+\.py)::(\w+)", TEXT)))
SCENARIOS = sorted(set(re.findall(r"`xdr faults run --only ([^`]+)`", TEXT)))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_named_test_exists(path: str, name: str) -> None:
    source = (ROOT / "tests" / path).read_text(encoding="utf-8")
    assert re.search(rf"^(def {name}\(|{name} = )", source, re.MULTILINE)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_named_scenario_exists(name: str) -> None:
    assert [one.name for one in every(name)] == [name]


def test_there_are_some() -> None:
    assert len(NAMED) > 30
    assert SCENARIOS
