# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a DNS record was before a move changed it, kept on this host so that another controller can put it back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ..durable import read_json, write_json
from ..site import checked_name
from .dns_client import RRset

KEPT = 20  # changes, the newest ones


class Memory:
    """``dns/<name>.json`` in the plan's folder: ``{"prior": {"ttl", "values", "to", "at", "run"} | null, "stale_until", "changes": […]}``.

    ``prior`` is there from the first change of a move until it is undone or settled; ``to``: the side that clients are to go to.
    ``stale_until`` (Unix seconds): until then a resolver may still hold what was true before a change.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / "dns" / f"{checked_name(name, 'DNS record')}.json"
        self._kept: dict[str, Any] = read_json(self._path) or {"prior": None, "stale_until": 0.0, "changes": []}

    @property
    def prior(self) -> dict[str, Any] | None:
        return self._kept["prior"]  # type: ignore[no-any-return]

    @property
    def prior_rrset(self) -> RRset | None:
        return RRset(int(self.prior["ttl"]), tuple(self.prior["values"])) if self.prior else None

    @property
    def stale_until(self) -> float:
        return float(self._kept["stale_until"])

    def capture(self, now: RRset, to: str, run: str) -> None:
        """Durable before the change that it is for."""
        self._write(prior={"ttl": now.ttl, "values": list(now.values), "to": to, "at": round(time.time(), 3), "run": run})

    def expect(self, before: RRset) -> None:
        """Durable before the change: from now on resolvers hold what it replaces for as long as that allows."""
        self._write(stale_until=max(self.stale_until, round(time.time(), 3) + before.ttl))

    def changed(self, before: RRset, after: RRset, run: str) -> None:
        entry = {"at": round(time.time(), 3), "run": run, "before": str(before), "after": str(after)}
        self._write(changes=[*self._kept["changes"], entry][-KEPT:])

    def settle(self) -> None:
        if self.prior:
            self._write(prior=None)

    def _write(self, **fields: Any) -> None:
        self._kept = {**self._kept, **fields}
        write_json(self._path, self._kept)
