# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Begins a failback when a maintenance window of its plan opens, where the plan says so; late it never does.

A worker writes down which window is coming. One that nobody was there to open is found by that, and is missed for good.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import datetime

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .. import actions, approval
from ..calendar import AWAY, Calendar
from ..cutover import FAILBACK
from ..occurrences import Occurrence
from ..store import Store, observations, runs
from ..store import windows as store_windows
from ..store.windows import MISSED, SKIPPED, STARTED
from ..windows import lasting
from .plans import Plans

EVERY = 5.0  # seconds between two looks
TOLERANCE = 300.0  # seconds after its opening in which a window may still begin a failback
ORIGIN = "window"

log = logging.getLogger("xdr.worker")


class Openings:
    """Two workers that both do it meet in the store: what became of a window is written once, with the run."""

    def __init__(self, store: Store, plans: Plans) -> None:
        self._store, self._plans = store, plans
        self._next = 0.0
        self._blocked: dict[tuple[str, str], str] = {}  # plan and key of an occurrence -> why it has not begun so far

    def tick(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        plans = [plan for plan in self._plans.known().values() if plan["maintenance"]["start"] == "window"]
        now = time.time()
        for calendar in Calendar.read_all(self._store, plans, now).values():
            self._look(calendar, now)

    def _look(self, calendar: Calendar, now: float) -> None:
        state = self._state(calendar.plan["name"])
        coming = calendar.coming(now) if state in AWAY else None
        if coming and not coming.outcome:
            store_windows.expect(self._store, coming.became("", "the worker", "", now))
        for one in calendar.opened(now):
            if now - one.begin <= TOLERANCE:
                self._begin(calendar, one, state)
            elif one.outcome:
                self._give_up(one, now)

    def _state(self, plan: str) -> str:
        seen = observations.get(self._store, observations.of_plan(plan))
        return str((seen.document or {}).get("state", "")) if seen else ""

    def _begin(self, calendar: Calendar, one: Occurrence, state: str) -> None:
        try:
            self._request(calendar, one, state)
        except XdrError as error:  # it is tried again for as long as that is not late
            self._blocked[one.plan, one.key] = error.sentence()
            log.debug("window %s of plan %s: %s", one.key, one.plan, error.sentence())

    def _request(self, calendar: Calendar, one: Occurrence, state: str) -> None:
        """Raises XdrError, with what is in the way."""
        consent = calendar.consent(one)
        if not consent.cleared:
            raise XdrError(consent.told)
        if state != "READY":
            raise XdrError(f"the plan is {state or 'in a state that nobody knows'}, not READY")
        if active := runs.active(self._store, one.plan):  # asked first: a refusal leaves an audit entry
            raise XdrError(f"run {active.id} ({active.action}) is active")
        by, limit = f"window {one.name}", one.begin + TOLERANCE
        window = lasting(one.end, time.time(), self._store, one.plan)
        approved = approval.given(self._store, calendar.plan, FAILBACK, approval.Starter(by, runs.SCHEDULE))
        wanted = actions.asked(FAILBACK, one.plan, by=by, origin=ORIGIN, window=window, occurrence=one.key, approved=approved)
        begin_by = datetime.fromtimestamp(limit, one.local[0].tzinfo).isoformat()
        also = store_windows.beginning(one.became(STARTED, by, f"run {wanted.id}", time.time()), limit)
        runs.request(self._store, replace(wanted, arguments={**wanted.arguments, "begin_by": begin_by}), also)
        log.info("window %s of plan %s has opened: run %s", one.name, one.plan, wanted.id)

    def _give_up(self, one: Occurrence, now: float) -> None:
        why = self._blocked.pop((one.plan, one.key), "")
        nobody = f"no worker was there to begin the failback when it opened ({one.told}); it is not begun late"
        wanted = one.became(SKIPPED if why else MISSED, "the worker", why or nobody, now)
        try:
            store_windows.note(self._store, wanted, origin=ORIGIN)
        except XdrError as error:  # another worker came first
            log.debug("window %s: %s", one.key, error.sentence())
            return
        log.warning("window %s of plan %s is %s: %s", one.name, one.plan, wanted.outcome, wanted.detail)
