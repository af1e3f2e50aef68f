# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Failbacks that ended half way before the hand-over, stopped or for want of a host, are rolled back once their deadline has passed."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import State
from ansible_collections.xdr.failback.plugins.plugin_utils.window import clock

from .. import actions, choices
from ..cutover import FAILBACK, Deadline, counting, gathered
from ..store import Store, observations, runs
from ..store.accounts import Role
from ..store.observations import Observation
from ..store.runs import ROLLBACK, Run
from .plans import Plans

EVERY = 2.0  # seconds between two looks
ORIGIN = "deadline"

log = logging.getLogger("xdr.worker")


def left_half_way(plan: Mapping[str, Any], run: Run | None, seen: Observation | None) -> bool:
    """Whether the plan's newest move ended before the hand-over, by what the sites told since, and may be rolled back."""
    if run is None or run.action != FAILBACK or not run.ended or seen is None or seen.at < (run.ended_at or 0):
        return False
    view = choices.seen(seen.document)
    if view is None or view.state is not State.FAILING_BACK or view.owner == "primary" or view.offer:
        return False
    back = next(one for one in choices.choices(plan, seen.document, None, Role.dr_admin) if one.action == ROLLBACK)
    return not back.refused and not back.warning  # it is tried once: not while a host is silent


class Overdue:
    """Requests the rollback, once: it is the plan's newest move then. Two workers that both do it meet in the store."""

    def __init__(self, store: Store, plans: Plans) -> None:
        self._store, self._plans = store, plans
        self._next = 0.0

    def tick(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        for name, plan in self._plans.known().items():
            run = runs.newest_move(self._store, name)
            if run and left_half_way(plan, run, observations.get(self._store, observations.of_plan(name))):
                due = counting(run, plan["failback"]["deadline"], gathered(self._store, run.id))
                if due and time.time() >= due.at:
                    self._request(name, run, due)

    def _request(self, plan: str, run: Run, due: Deadline) -> None:
        wanted = actions.asked(ROLLBACK, plan, by=f"the deadline ({clock(due.at)}) of run {run.id}", origin=ORIGIN)
        try:
            runs.request(self._store, replace(wanted, arguments={"before_offer": True}))
        except XdrError as error:  # somebody else came first
            log.debug("no rollback of plan %s: %s", plan, error.sentence())
