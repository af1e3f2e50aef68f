# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A start guard that needs an ownership lease: it has the lease's keepers started, and waits for what they are told."""

from __future__ import annotations

import time
from pathlib import Path

from . import lease, lease_keeper
from . import record as records
from .errors import Refused
from .guard import ASK_EVERY, Say, check_may_start
from .site import PlanOnHost

LOOK_EVERY = 0.1  # seconds


def await_lease(state_dir: Path, plan: PlanOnHost, say: Say) -> bool:
    """True when the host's lease covers a start, False when the plan has no leases any more and the host has given its last one back.

    Raises Refused when the witness does not grant one. Out of reach, it is asked until there is an answer, whatever
    ``boot_without_witness`` says: without a lease nothing would stop the instance in time.
    """
    began = told = lease.now()
    while lease.terms_of(state_dir, plan):
        lease_keeper.ensure(state_dir, plan.plan)
        record, held = records.load(state_dir, plan.plan), lease.read_held(state_dir, plan.plan)
        check_may_start(record)
        if held and held.covers(record):
            return True
        if held and held.refused and held.asked >= began:
            raise Refused(f"no ownership lease: {held.refused}", where=f"{plan.host}, plan {plan.plan}", code="no_lease")
        if lease.now() - told >= ASK_EVERY:
            told = lease.now()
            log = lease.log_of(state_dir, plan.plan)
            say(f"Waiting for an ownership lease from the witness {plan.witness}; what it answers stands in {log}")
        time.sleep(LOOK_EVERY)
    return False
