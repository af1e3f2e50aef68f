# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Looks at plans and sites in the background, and keeps what was seen. A look is a playbook that only reads; it is no run of the store."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .. import actions, sightings, sites, status
from ..diagnosis.gather import DIAGNOSE
from ..results import RunResult
from ..sightings import SITE_TEST
from ..store import Store, lags, observations, runs
from ..store.runs import Run
from .execution import Prepare, requested
from .plans import Plans

PLAN_EVERY = 30.0  # seconds
SITES_EVERY = 60.0
TRANSFER_EVERY = 900.0  # looks that measure the throughput, too
TICK = 0.3

log = logging.getLogger("xdr.worker")


@dataclass
class Watch:
    """``leads``: whether this worker is the one of several that looks regularly; after its own runs each looks itself."""

    store: Store
    inventory: Path
    plans: Plans
    leads: Callable[[], bool]
    ending: threading.Event
    prepare: Prepare = requested
    _looked: dict[str, float] = field(default_factory=dict)  # subject -> when, by the monotonic clock
    _asked: set[str] = field(default_factory=set)  # subjects that are to be looked at now

    def ended(self, run: Run) -> None:
        """A run has ended: look at its plan. A test of the sites is itself the look; a cycle is followed by the next regular one."""
        if run.action == SITE_TEST:
            self._looked[observations.SITES] = time.monotonic()
        elif run.action != DIAGNOSE and not run.cycle:
            self._asked.add(run.plan)

    def work(self) -> None:
        """Until ``ending``: a thread of its own, so that no run waits for a look."""
        while not self.ending.wait(TICK):
            try:
                for subject in self._due():
                    self._look(subject)
            except Exception:
                log.exception("a look failed")

    def _due(self) -> Iterator[str]:
        for plan in self.plans.known():
            if self._is_due(plan, PLAN_EVERY) and not self.ending.is_set() and runs.active(self.store, plan) is None:
                yield plan
        if self.plans.known() and self._is_due(observations.SITES, SITES_EVERY) and not self.ending.is_set():
            yield observations.SITES

    def _is_due(self, subject: str, every: float) -> bool:
        if subject in self._asked:
            return True
        last = self._looked.get(subject)
        return self.leads() and (last is None or time.monotonic() - last >= every)

    def _look(self, subject: str) -> None:
        self._asked.discard(subject)
        of_sites = subject == observations.SITES
        arguments = {"transfer": of_sites and self._measures()}
        run = Run(id="", plan=actions.ALL_PLANS if of_sites else subject, action=SITE_TEST if of_sites else "status", arguments=arguments)
        request = self.prepare(run, self.inventory)
        try:
            result = actions.execute(request, stop=self.ending)
        finally:
            shutil.rmtree(request.folder, ignore_errors=True)  # thousands a day
        self._looked[subject] = time.monotonic()
        if result.stopped:
            return
        if of_sites:
            sightings.keep(self.store, sites.tested(result))
        else:
            self._keep_plan(subject, result)

    def _measures(self) -> bool:
        """Whether it is time to measure the throughput between the sites."""
        last, now = self._looked.get("transfer"), time.monotonic()
        if last is not None and now - last < TRANSFER_EVERY:
            return False
        self._looked["transfer"] = now
        return True

    def _keep_plan(self, plan: str, result: RunResult) -> None:
        document = status.document(plan, result) if result.view else {}
        lags.add(self.store, plan, document.get("replication_lag"), document.get("replication_lag_age"))
        if document:
            observations.put(self.store, observations.of_plan(plan), document)
        else:
            observations.failed(self.store, observations.of_plan(plan), result.error or "the plan's hosts told nothing")
