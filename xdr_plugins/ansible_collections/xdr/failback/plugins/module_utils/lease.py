# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""An ownership lease as its holder, a site host, sees it: the terms, the clock, and how far it reaches (docs/internals.md, 2)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .durable import is_unlocked, read_json, write_json
from .errors import Refused, XdrError
from .record import Record
from .site import PlanOnHost, plan_dir

RENEW, WATCH = PARTS = ("renew", "watch")  # the keepers of a lease
KILLING = 2  # seconds, from SIGKILL to where others may take over: for the look, the kill, and a host that is slow at both

# of both ends' clocks together: each is slewed by 0.05 % at most, and KILLING is to cover that, too
LONGEST_TTL = 900  # seconds


def now() -> float:
    """Seconds since the boot, by a clock that nobody sets; those for which the machine was suspended count."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Of the boot in which ``now`` counts."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def shortest_ttl(loop_wait: int, retry_timeout: int, stop_timeout: int) -> int:
    """Two renewals may be lost, each within its timeout; then the slowest instance has its time to stop, and what is left is killed."""
    return loop_wait + 2 * retry_timeout + stop_timeout + KILLING


@dataclass(frozen=True)
class Terms:
    """All in seconds. ``stop_timeout`` is that of the plan's slowest instance; ``ttl`` is at least their ``shortest_ttl``."""

    ttl: int
    loop_wait: int
    retry_timeout: int
    stop_timeout: int

    @property
    def stop_after(self) -> int:
        """Without a renewal for so long, the instances are told to stop."""
        return self.kill_after - self.stop_timeout

    @property
    def kill_after(self) -> int:
        return self.ttl - KILLING

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Terms:
        return cls(*(int(document[name]) for name in ("ttl", "loop_wait", "retry_timeout", "stop_timeout")))


@dataclass(frozen=True)
class Held:
    """plans/<plan>/lease.json of a site host. As long as it is there, the host holds to its terms: the witness may count on them.

    ``counted`` is the moment before the newest request that was granted, and before the first one was sent; ``asked`` the
    moment before the newest. ``refused``: why the witness did not grant that one, or empty.
    """

    terms: Terms
    boot: str
    epoch: int
    counted: float
    asked: float
    granted: bool = False
    refused: str = ""

    @property
    def is_of_this_boot(self) -> bool:
        return self.boot == boot_id()

    @property
    def age(self) -> float:
        return now() - self.counted

    def covers(self, record: Record) -> bool:
        """Whether an instance may be started by it now."""
        ours = self.granted and not self.refused and self.is_of_this_boot
        return ours and self.epoch == record.epoch and self.age < self.terms.stop_after


def path_of(state_dir: Path, plan: str) -> Path:
    return plan_dir(state_dir, plan) / "lease.json"


def log_of(state_dir: Path, plan: str) -> Path:
    """Where the keepers of the lease say what happens to it."""
    return plan_dir(state_dir, plan) / "lease.log"


def read_held(state_dir: Path, plan: str) -> Held | None:
    """Raises XdrError for a file of another shape."""
    path = path_of(state_dir, plan)
    document = read_json(path)
    try:
        return None if document is None else Held(**{**document, "terms": Terms.from_json(document["terms"])})
    except (KeyError, TypeError, ValueError) as error:
        raise XdrError(f"not a lease ({error!r})", where=str(path), todo="Apply the role site_agent again") from error


def write_held(state_dir: Path, plan: str, held: Held) -> None:
    write_json(path_of(state_dir, plan), asdict(held))


def slot_of(state_dir: Path, plan: str, part: str) -> Path:
    """Locked as long as that part of the keepers lives (lease_keeper.py)."""
    return plan_dir(state_dir, plan) / f"lease.{part}.lock"


def is_kept(state_dir: Path, plan: str, part: str) -> bool:
    path = slot_of(state_dir, plan, part)
    return path.exists() and not is_unlocked(path)


def terms_of(state_dir: Path, plan: PlanOnHost) -> Terms | None:
    """Those of the plan; where it has no lease any more, those that the host holds to until it has given its lease back."""
    if plan.lease is not None and plan.site != "witness":
        return Terms.from_json(plan.lease)
    held = read_held(state_dir, plan.plan)
    return None if held is None else held.terms


def check_covers(state_dir: Path, record: Record) -> None:
    """Raises Refused, code ``no_lease``, unless the host's lease covers a start now and its keepers live; under the plan's lock."""
    held = read_held(state_dir, record.plan)
    if held is None or not held.covers(record) or not all(is_kept(state_dir, record.plan, part) for part in PARTS):
        where = f"{record.host}, plan {record.plan}"
        raise Refused("its ownership lease has run out", where=where, todo="Start it again, it waits for a new one", code="no_lease")
