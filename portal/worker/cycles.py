# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The schedule of replication cycles: each plan's own, every ``replication.interval``."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .. import actions
from ..store import Store, observations, runs
from ..store.runs import SCHEDULE, Run
from .plans import Plans

REPLICATING = ("ACTIVE", "REVERSING", "READY")
EVERY = 1.0  # seconds between two looks at what is due

log = logging.getLogger("xdr.worker")


def due(interval: float, state: str, active: Iterable[Run], began: float | None, now: float) -> bool:
    """``state`` as last observed; ``active``: the plan's runs that have not ended; ``began``: its newest cycle."""
    if state not in REPLICATING or any(run.exclusive or run.action == "replicate" for run in active):
        return False
    return began is None or now - began >= interval


class Cycles:
    """Requests what is due. Two workers that both do it for a moment cost a needless cycle: those of one plan never overlap."""

    def __init__(self, store: Store, plans: Plans) -> None:
        self._store, self._plans = store, plans
        self._next = 0.0

    def tick(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        active: dict[str, list[Run]] = {}
        for run in runs.unended(self._store):
            active.setdefault(run.plan, []).append(run)
        for name, plan in self._plans.known().items():
            if self._is_due(name, plan, active.get(name, [])):
                self._request(name)

    def _is_due(self, name: str, plan: Mapping[str, Any], active: list[Run]) -> bool:
        seen = observations.get(self._store, observations.of_plan(name))
        state = str((seen.document or {}).get("state", "")) if seen else ""
        began = runs.last_begun(self._store, name, "replicate")
        return due(plan["replication"]["interval"], state, active, began, time.time())

    def _request(self, name: str) -> None:
        try:
            runs.request(self._store, actions.asked("replicate", name, by=SCHEDULE, origin=SCHEDULE))
        except XdrError as error:  # another run came first
            log.debug("no cycle of plan %s: %s", name, error.sentence())
