# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""docs/guarantees.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = sorted(set(re.findall(r"`([a-z_/]+\.py)::(\w+)", (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8"))))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_named_test_exists(path: str, name: str) -> None:
    source = (ROOT / "tests" / path).read_text(encoding="utf-8")
    assert re.search(rf"^(def {name}\(|{name} = )", source, re.MULTILINE)


def test_there_are_some() -> None:
    assert len(NAMED) > 30
