# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Waiting at the witness until ownership leases have run out (module xdr_lease)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .lease_grants import read_grants, told, why_held

LOOK_EVERY = 0.5  # seconds


def wait(state_dir: Path, plan: str, hosts: Sequence[str], within: float) -> dict[str, Any]:
    """``run_out``, ``told`` (how it is known, or why it is not so) and ``leases``.

    Ends early where no waiting helps: a host has never held a lease, has renewed it meanwhile, or has one that runs for longer than
    ``within`` seconds.
    """
    first = read_grants(state_dir, plan)
    longest = max((given.left for given in first.values()), default=0.0)
    while why := why_held(list(hosts), now := read_grants(state_dir, plan)):
        renewed = ", ".join(host for host, given in now.items() if host in first and given.at != first[host].at and given.left)
        if renewed:
            why = f"{renewed} goes on renewing its lease at the witness, so the services run there"
        if renewed or longest > within or not all(host in now for host in hosts):
            return {"run_out": False, "told": why, "leases": told(state_dir, plan)}
        time.sleep(LOOK_EVERY)
    rows = told(state_dir, plan)
    since = ", ".join(f"that of {row['host']} at {_clock(row['until'])}" for row in rows)
    return {"run_out": True, "told": f"the ownership leases have run out at the witness, {since}", "leases": rows}


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
