# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What looks at the sites have shown: told by the events of a run, and kept for the page of the sites and the history of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import sites
from .results import Collector, RunResult
from .store import Store, checks, events, links, observations
from .store.runs import Run

SITE_TEST = "site-test"  # the action


def told(store: Store, run: Run) -> RunResult:
    """What the run's events tell, of its newest launch; hosts that did not answer are among its failures also where that was allowed."""
    collector, seq = Collector(), 0
    while batch := events.after(store, run.id, seq):
        for event in batch:
            if event["kind"] == "started":
                collector = Collector()
            collector.add(event)
        seq = batch[-1]["seq"]
    return collector.finish(run_id=run.id, action=run.action, plan=run.plan, rc=2, stopped=False, seconds=0.0)


def of_run(store: Store, run: Run, exit_code: int, error: str) -> dict[str, Any]:
    """The document of portal/sites.py ``tested`` of a run that looked at the sites and came out so."""
    return sites.tested(replace(told(store, run), exit_code=exit_code, error=error))


def keep(store: Store, document: Mapping[str, Any]) -> None:
    """Of a test of all sites."""
    keep_history(store, document)
    if document["hosts"]:
        observations.put(store, observations.SITES, dict(document))
    else:
        observations.failed(store, observations.SITES, document["error"])


def keep_history(store: Store, document: Mapping[str, Any]) -> None:
    """Of a look at some hosts only, which makes no new picture of the sites."""
    checks.keep(store, sites.checked(document))
    links.keep(store, document["connectivity"])
