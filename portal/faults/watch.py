# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Watches the records on the hosts' disks while a scenario lasts: no epoch or attempt goes back, no two sites own the plan."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

EVERY = 0.03  # seconds
SITES = ("primary", "dr", "witness")

Record = dict[str, Any] | None


class Watch:
    def __init__(self, read: Callable[[str], Record]) -> None:
        self._read, self._over = read, threading.Event()
        self._last: dict[str, tuple[int, list[int]]] = {}
        self.breaches: list[str] = []
        self._thread = threading.Thread(target=self._work, name="watch")

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.look()

    def _work(self) -> None:
        while not self._over.wait(EVERY):
            self.look()

    def look(self) -> None:
        records = {site: self._read(site) for site in SITES}
        for site, record in records.items():
            if record:
                self._compare(site, record)
        if owns(records["primary"], "primary") and owns(records["dr"], "dr") and owns(self._read("primary"), "primary"):
            self._add("both sites' records own the plan")

    def _compare(self, site: str, record: dict[str, Any]) -> None:
        now = (int(record["epoch"]), list(record["attempt"]))
        before = self._last.get(site, now)
        if now[0] < before[0]:
            self._add(f"{site}: the epoch went back from {before[0]} to {now[0]}")
        if now[1] < before[1]:
            self._add(f"{site}: the attempt went back from {before[1]} to {now[1]}")
        self._last[site] = now

    def _add(self, text: str) -> None:
        if text not in self.breaches:
            self.breaches.append(text)


def owns(record: Record, site: str) -> bool:
    """As the start guard would judge it."""
    return bool(record) and record is not None and record["standing"] == "accepted" and record["owner"] == site and not record["draining"]
