# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What is shown of a run: live, and as lines."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from portal.board import Board, Lines, Volume


def bytes_of(done: int, total: int = 8 << 20, rate: int = 1 << 20) -> dict[str, Any]:
    return {"kind": "progress", "what": "bytes", "volume": "orders", "done": done, "total": total, "rate": rate, "host": "h", "at": 1.0}


def task(step: str | None) -> dict[str, Any]:
    return {"kind": "task", "task": "t", "step": step, "at": 1.0}


def result(step: str | None, status: str = "ok", begin: float = 1.0, end: float = 2.5, **rest: Any) -> dict[str, Any]:
    return {"kind": "result", "host": "h", "step": step, "status": status, "begin": begin, "end": end, "at": end, **rest}


STORY = [
    {"kind": "started", "action": "failback", "plan": "shop", "run": "r1", "at": 0.0},
    task(None),
    task("final_sync"),
    bytes_of(2 << 20),
    {"kind": "progress", "what": "resource", "resource": "orders-db", "state": "Syncing", "host": "h", "at": 1.0},
    result("final_sync"),
    task("verify"),
    result("verify", "failed", msg="not equal"),
    {"kind": "ended", "exit_code": 2, "at": 9.0},
]


def test_live() -> None:
    board = Board("failback shop")
    for event in STORY:
        board.add(event)
    out = io.StringIO()
    Console(file=out, width=100).print(board.render())
    text = out.getvalue()
    assert "✔ final_sync" in text
    assert "✘ verify" in text
    assert "2.0 MiB of 8.0 MiB, 1.0 MiB/s, 6.0 s to go" in text
    assert "orders-db" in text


def test_lines() -> None:
    said: list[str] = []
    lines = Lines(said.append)
    lines.every = 0.0
    for event in STORY:
        lines.add(event)
    assert said == [
        "failback shop: run r1",
        "  volume orders: 2.0 MiB of 8.0 MiB, 1.0 MiB/s, 6.0 s to go",
        "  orders-db: Syncing",
        "  final_sync: ok, 1.5 s",
        "  h: failed: not equal",
        "  verify: failed, 1.5 s",
    ]


def test_a_volume_gets_a_line_a_second_at_most() -> None:
    said: list[str] = []
    lines = Lines(said.append)
    for done in range(0, 8 << 20, 1 << 10):
        lines.add(bytes_of(done))
    lines.add(bytes_of(8 << 20))
    assert len(said) <= 3
    lines.add(bytes_of(8 << 20))
    assert len(said) <= 3
    assert said[-1] == "  volume orders: 8.0 MiB of 8.0 MiB"
    assert said.count(said[-1]) == 1
    for event in (task("final_sync"), task("verify"), bytes_of(8 << 20)):
        lines.add(event)
    assert said.count("  volume orders: 8.0 MiB of 8.0 MiB") == 2  # another phase, another sentence


def test_no_rate_no_eta() -> None:
    assert Volume(0, 100, 0).eta is None
