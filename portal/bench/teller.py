# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Tells a run's events into the store, in a process of its own: ``python -m portal.bench.teller``.

A line of JSON comes in: ``{"url", "run", "worker", "count", "rate", "through"}``. ``through`` is ``ledger``, the worker's way, in batches,
or ``store``, each event in a transaction of its own. A line goes out: ``[when each event was told, Unix seconds; by ``store``: stored]``.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from ..store import Store, events
from ..worker.ledger import Ledger


def tell(order: dict[str, Any]) -> list[float]:
    """``rate``: events a second."""
    store = Store.open(order["url"])
    if order["through"] == "store":
        return _paced(order, lambda event: events.append(store, order["run"], [event]))
    with Ledger(store, order["run"], order["worker"], threading.Event()) as ledger:
        return _paced(order, ledger.add)


def _paced(order: dict[str, Any], add: Callable[[dict[str, Any]], object]) -> list[float]:
    """Of an event that waits for its place in a batch, the time at which it was handed over; else of its commit."""
    told = []
    begin = time.monotonic()
    for number in range(order["count"]):
        time.sleep(max(0.0, begin + number / order["rate"] - time.monotonic()))
        now = time.time()
        add(_event(number, now))
        told.append(time.time() if order["through"] == "store" else now)
    return told


def _event(number: int, now: float) -> dict[str, Any]:
    progress = {"kind": "progress", "what": "bytes", "host": "ams-hv01", "volume": "plan-0001-r01"}
    return {**progress, "at": now, "done": number << 20, "total": 1 << 40, "rate": 24 << 20}


if __name__ == "__main__":
    print(json.dumps(tell(json.loads(sys.stdin.readline()))), flush=True)
