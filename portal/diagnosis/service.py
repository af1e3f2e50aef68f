# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The controller's own part: whether a worker lives, and how old what the pages show is."""

from __future__ import annotations

from collections.abc import Iterator

from .. import units
from .finding import OK, WARN, WRONG, Facts, Finding

CHECK = "worker"
OLD = 180.0  # seconds


def findings(facts: Facts) -> Iterator[Finding]:
    controller = facts["controller"]
    if not controller["workers"]:
        what = "No worker runs: nothing replicates, and nothing that is asked for on a page begins"
        yield Finding(CHECK, WRONG, what, "Start one on the controller: xdr worker (as a service, so that it comes back)")
        return
    yield Finding(CHECK, OK, f"{len(controller['workers'])} worker(s) serve", "", tuple(controller["workers"]))
    for name, plan in facts["plans"].items():
        if plan["seen_at"] is not None and facts["at"] - plan["seen_at"] > OLD and not plan["active"]:
            what = f"What the pages show of plan {name} is {units.seconds(facts['at'] - plan['seen_at'])} old, though a worker runs"
            told = (plan["seen_error"],) if plan["seen_error"] else ()
            yield Finding(CHECK, WARN, what, "Read the worker's log: it looks at each plan every half minute", told)
    if controller["run_failed"]:
        yield Finding(CHECK, WARN, "This diagnosis itself did not come to its end", "Look at the run's log", (controller["run_failed"],))
