# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What counts of the way a failback has left a host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from portal.faults.ending import differences, read


def left(folder: Path, name: str, **changes: Any) -> Path:
    """The plan's folder of a host."""
    plan = folder / name
    for part in ("running", "spool", "volumes/orders/undo/before-reverse", "volumes/orders/undo/cycle-3"):
        (plan / part).mkdir(parents=True)
    record = {"standing": "accepted", "owner": "primary", "epoch": 3, "attempt": [2, 9], "offer": None}
    record |= {"run": {"action": "failback", "outcome": "ok", "id": "r1", "started": 1.0}, **changes}
    (plan / "ownership.json").write_text(json.dumps(record))
    (plan / "running" / "orders-db.json").write_text("{}")
    (plan / "volumes" / "orders" / "replication.json").write_text(json.dumps({"role": "target", "cycle": 4, "consistent": True}))
    return plan


def test_numbers_and_times_do_not_count(tmp_path: Path) -> None:
    one, other = left(tmp_path, "one"), left(tmp_path, "other", attempt=[2, 12], run={"action": "failback", "outcome": "ok", "id": "r2"})
    (other / "volumes" / "orders" / "undo" / "cycle-4").mkdir()
    assert differences(read({"primary": one}), read({"primary": other})) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"standing": "released"}, "standing at primary is 'released', not 'accepted'"),
        ({"epoch": 5}, "epoch at primary is 5, not 3"),
        ({"offer": {"epoch": 4, "to": "dr", "at": 1.0}}, "offer at primary is [4, 'dr'], not [None, None]"),
        ({"run": {"action": "failback", "outcome": None}}, "run's outcome at primary is None, not 'ok'"),
    ],
)
def test_what_the_record_says_counts(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    one, other = left(tmp_path, "one"), left(tmp_path, "other", **changes)
    [difference] = differences(read({"primary": one}), read({"primary": other}))
    assert told in difference


def test_what_lies_about_counts(tmp_path: Path) -> None:
    one, other = left(tmp_path, "one"), left(tmp_path, "other")
    (other / "spool" / "session-1").touch()
    (other / "running" / "orders-db.json").unlink()
    (other / "volumes" / "orders" / "undo" / "before-rollback").mkdir()
    found = "\n".join(differences(read({"primary": one}), read({"primary": other})))
    assert "files in the spool at primary is 1, not 0" in found
    assert "instances marked as running at primary is [], not ['orders-db']" in found
    assert "recovery points of orders at primary is ['before-reverse', 'before-rollback'], not ['before-reverse']" in found
