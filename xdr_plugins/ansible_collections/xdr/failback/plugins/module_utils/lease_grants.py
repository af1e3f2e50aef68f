# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Ownership leases at the witness: what it has granted, to which host, and whether it has run out (docs/internals.md, 2)."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import lease
from . import record as records
from .durable import locked, read_json, write_json
from .errors import NotReached, Refused, XdrError
from .record import Record
from .site import checked_name, load_plan, plan_dir


@dataclass(frozen=True)
class Grant:
    """To one host: counted by the witness's clock from when it had the request, which is later than the holder begins to count.

    ``until`` counts in the boot of that id; ``at`` is for people, in seconds since 1970.
    """

    site: str
    epoch: int
    ttl: int
    until: float
    boot: str
    at: float

    @property
    def left(self) -> float:
        """Seconds until it has run out, never below 0.

        Of an earlier boot it is known that it was granted before this one: a whole ttl after the boot it has run out.
        """
        return max(0.0, (self.until if self.boot == lease.boot_id() else float(self.ttl)) - lease.now())


def read_grants(state_dir: Path, plan: str) -> dict[str, Grant]:
    """By inventory host; one that has run out stays. Raises XdrError for a file of another shape."""
    path = _path(state_dir, plan)
    document = read_json(path) or {}
    try:
        return {host: Grant(**fields) for host, fields in document.items()}
    except (AttributeError, TypeError) as error:
        raise XdrError(f"not the leases of a plan ({error!r})", where=str(path), todo="Apply the role site_agent again") from error


def check_may_hold(record: Record, site: str, epoch: int) -> None:
    """Whether the witness's record lets the site hold a lease of the epoch. Pure. Raises Refused; NotReached where it knows no epoch.

    The site's own word counts for an epoch that the witness has not heard of: it accepted it, or went on after a declined offer.
    """
    where = f"{record.host}, plan {record.plan}"
    if record.site != "witness" or not record.epoch:
        raise NotReached("this witness knows no epoch of the plan", where=where, todo="Tell it the newest epoch and its owner")
    offer = record.offer
    if record.offer_is_open and offer and offer["to"] != site and offer["epoch"] > epoch:
        what = f"epoch {offer['epoch']} was offered to {offer['to']}, which may have accepted it"
        raise Refused(what, where=where, todo="Finish or roll back the run that made the offer", code="offer_open")
    if record.epoch > epoch or (record.epoch == epoch and record.owner not in (site, None)):
        owner = record.owner or "nobody"
        raise Refused(f"{owner} owns epoch {record.epoch}", where=where, todo="Move the plan to this site first", code="not_owner")


def grant(state_dir: Path, plan: str, host: str, site: str, epoch: int, ttl: int) -> None:
    """Grant or renew, durably. Raises Refused, and NotReached as ``check_may_hold`` does.

    Under the plan's lock, as an offer is: after an offer to the other site nothing is granted for the epoch before it.
    """
    load_plan(state_dir, plan)
    with locked(plan_dir(state_dir, plan) / "lock"):
        check_may_hold(records.load(state_dir, plan), site, epoch)
        grants = read_grants(state_dir, plan)
        before = grants.get(host)
        # the holder may not have heard of this grant, and count by a longer one before it
        still = before if before and before.left else None
        until = lease.now() + max(float(ttl), still.left if still else 0.0)
        grants[host] = Grant(site, epoch, max(ttl, still.ttl if still else 0), until, lease.boot_id(), time.time())
        _write(state_dir, plan, grants)


def answer(state_dir: Path, plan: str, host: str, site: str, epoch: int, ttl: int) -> dict[str, str]:
    """What a host that asks is told: ``refused`` is empty where the lease is granted. Raises what is no answer."""
    try:
        grant(state_dir, plan, checked_name(host, "host"), site, epoch, ttl)
    except Refused as refused:
        return {"refused": refused.sentence(), "code": refused.code}
    return {"refused": "", "code": ""}


def give_back(state_dir: Path, plan: str, host: str) -> None:
    """Forget the host's lease: it holds to none any more, so that none of it can run out."""
    load_plan(state_dir, plan)
    with locked(plan_dir(state_dir, plan) / "lock"):
        grants = read_grants(state_dir, plan)
        if grants.pop(host, None):
            _write(state_dir, plan, grants)


def forget_all(state_dir: Path, plan: str) -> None:
    """The plan has no leases, or gets some: none of before may count. The caller holds the plan's lock."""
    _path(state_dir, plan).unlink(missing_ok=True)


def check_run_out(state_dir: Path, plan: str) -> None:
    """Raises Refused, code ``lease_held``, unless each host that runs instances of the leased site has held a lease, and all have run out.

    The caller holds the plan's lock, and bars them from being renewed before it lets go of it.
    """
    here = load_plan(state_dir, plan)
    why = why_held(list((here.lease or {}).get("hosts", [])), read_grants(state_dir, plan))
    if why:
        raise Refused(why, where=f"{here.host}, plan {plan}", todo="Wait for it, or attest that the site is off", code="lease_held")


def why_held(hosts: list[str], grants: dict[str, Grant]) -> str:
    """Why it is not sure that nothing runs under these leases; empty where it is. ``hosts``: those that must have held one."""
    missing = ", ".join(host for host in hosts if host not in grants)
    if missing or not hosts:
        return f"{missing} has never held a lease" if missing else "the plan has no lease"
    running = {host: given.left for host, given in grants.items() if given.left}
    return "; ".join(f"the lease of {host} runs for another {left:.0f} s" for host, left in running.items())


def told(state_dir: Path, plan: str) -> list[dict[str, Any]]:
    """For people: host, site, epoch, ttl, and until when (Unix seconds) unless it is renewed; later than now where it has not run out."""
    grants = sorted(read_grants(state_dir, plan).items())
    return [{"host": host, "site": one.site, "epoch": one.epoch, "ttl": one.ttl, "until": int(_until(one))} for host, one in grants]


def _until(given: Grant) -> float:
    """The wall clock may have been set since, the seconds that are left have not."""
    return time.time() + given.left if given.left else min(given.at + given.ttl, time.time())


def _write(state_dir: Path, plan: str, grants: dict[str, Grant]) -> None:
    write_json(_path(state_dir, plan), {host: asdict(given) for host, given in grants.items()})


def _path(state_dir: Path, plan: str) -> Path:
    return plan_dir(state_dir, plan) / "leases.json"
