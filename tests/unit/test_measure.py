# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The demo's figures: from the client's log, the database and the files, never from what the orchestrator believes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portal import measure
from portal.lab.orders import Ack, Log
from portal.results import RunResult, Step


def acks(*times: float) -> list[Ack]:
    return [Ack(number, at, at) for number, at in enumerate(times, 1)]


@pytest.mark.parametrize(
    ("numbers", "lost_before", "lost", "duplicated"),
    [
        ([1, 2, 3], set(), 0, 0),
        ([1, 3], set(), 1, 0),
        ([1, 3], {2}, 0, 0),  # the failover lost it, not the failback
        ([1], {2}, 1, 0),
        ([1, 2, 2, 3, 3], set(), 0, 2),
        ([1, 2, 3, 4], set(), 0, 0),  # committed, its answer never came: neither lost nor doubled
    ],
)
def test_counts(numbers: list[int], lost_before: set[int], lost: int, duplicated: int) -> None:
    log = Log(acks=acks(1.0, 2.0, 3.0), sent=4, last=4)
    assert measure.counts(log, numbers, lost_before) == {"sent": 4, "acknowledged": 3, "lost": lost, "duplicated": duplicated}


def test_failover() -> None:
    """Orders at 1 … 5 s, the site lost at 5.5 s, the last two not replicated, answers again at 12 s."""
    log = acks(1, 2, 3, 4, 5, 12, 13)
    assert measure.failover(log, {4, 5}, 5.5, 12.5) == {"outage_s": 7.0, "rpo_s": 2.5, "lost_acknowledged": 2}


def test_failback() -> None:
    steps = [Step("stop_services", 10.0, 11.0), Step("final_sync", 11.0, 11.5), Step("switch_traffic", 13.0, 14.0)]
    items: list[dict[str, Any]] = [
        {"module": "xdr_delta_sync", "step": "final_sync", "bytes_sent": 5},
        {"module": "xdr_delta_sync", "step": "final_sync", "bytes_sent": 7},
        {"module": "xdr_delta_sync", "step": "verify", "bytes_sent": 100},
        {"module": "xdr_instances", "step": "final_sync"},
    ]
    result = RunResult("r", "failback", "p", 0, "", "", False, 9.0, 1, steps=steps, results=items)
    assert measure.failback(result, acks(9, 10, 14, 15), 9.5, 14.5) == {
        "outage_s": 4.0,
        "final_sync_bytes": 12,
        "final_sync_s": 0.5,
        "cutover_s": 4.0,
        "steps": [
            {"name": "stop_services", "seconds": 1.0},
            {"name": "final_sync", "seconds": 0.5},
            {"name": "switch_traffic", "seconds": 1.0},
        ],
    }


def test_unequal(tmp_path: Path) -> None:
    pairs = []
    for name, there in (("same.img", b"abc"), ("other.img", b"abd"), ("longer.img", b"abc\0")):
        pair = tmp_path / "a" / name, tmp_path / "b" / name
        for path, content in zip(pair, (b"abc", there), strict=True):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        pairs.append(pair)
    assert measure.unequal(pairs) == ["other.img", "longer.img"]


def document(**changes: Any) -> dict[str, Any]:
    orders = {"sent": 9, "acknowledged": 8, "lost": 0, "duplicated": 0, **changes.pop("orders", {})}
    return {"orders": orders, "verified_equal": True, "status": "ACTIVE", "owner": "primary", **changes}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"orders": {"lost": 1}}, 2),
        ({"orders": {"duplicated": 1}}, 2),
        ({"verified_equal": False}, 2),
        ({"status": "UNPROTECTED"}, 2),
        ({"owner": "dr"}, 2),
    ],
)
def test_verdict(changes: dict[str, Any], code: int) -> None:
    assert measure.verdict(document(**changes)) == code
