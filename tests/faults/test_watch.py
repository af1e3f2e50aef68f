# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

from typing import Any

from portal.faults.watch import Watch


def record(owner: str | None, epoch: int, standing: str, attempt: tuple[int, int] = (1, 1), draining: bool = False) -> dict[str, Any]:
    return {"owner": owner, "epoch": epoch, "standing": standing, "attempt": list(attempt), "draining": draining}


def told(*moments: dict[str, Any]) -> list[str]:
    """Each moment: site → record."""
    now: dict[str, Any] = {}
    watch = Watch(now.get)
    for moment in moments:
        now.update(moment)
        watch.look()
    return watch.breaches


def test_a_hand_over_is_no_breach() -> None:
    assert (
        told(
            {"dr": record("dr", 2, "accepted"), "primary": record("dr", 2, "superseded")},
            {"dr": record(None, 2, "released")},
            {"primary": record("primary", 3, "accepted", (2, 4))},
            {"dr": record("primary", 3, "superseded", (2, 4))},
        )
        == []
    )


def test_what_goes_back_is_told() -> None:
    assert told({"dr": record("dr", 3, "accepted")}, {"dr": record("dr", 2, "accepted")}) == ["dr: the epoch went back from 3 to 2"]
    assert told({"dr": record("dr", 2, "accepted", (2, 9))}, {"dr": record("dr", 2, "accepted", (2, 8))}) == [
        "dr: the attempt went back from [2, 9] to [2, 8]"
    ]


def test_two_owners_are_told_once() -> None:
    both = {"dr": record("dr", 2, "accepted"), "primary": record("primary", 3, "accepted")}
    assert told(both, both) == ["both sites' records own the plan"]
    draining = {**both, "dr": record("dr", 2, "accepted", draining=True)}
    assert told(draining) == []
