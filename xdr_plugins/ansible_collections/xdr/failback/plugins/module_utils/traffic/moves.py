# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Several load balancers at once: where clients go, what is to be switched, and the switch (module xdr_traffic)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import XdrError
from ..parallel import each
from . import Balancer, Gate, Switch, driver


@dataclass(frozen=True)
class Read:
    """A balancer as it was found; ``switches``: what is to be changed."""

    name: str
    balancer: Balancer
    before: str
    switches: list[Switch]


def read_state(items: Sequence[Mapping[str, Any]], to: str | None) -> list[Read]:
    """Without ``to`` nothing is to be changed. XdrError, NotReached of the drivers: nothing has been changed yet."""

    def read(item: Mapping[str, Any]) -> Read:
        balancer = driver(item)
        return Read(str(item["name"]), balancer, balancer.side(), balancer.plan(to) if to else [])

    return each(read, items)


def result(read: Read, before: str, after: str, *, changed: bool = False, verified: bool = False) -> dict[str, Any]:
    return {"name": read.name, "before": before, "after": after, "changed": changed, "verified": verified, "why": ""}


def diff(reads: Sequence[Read]) -> dict[str, str]:
    """Ansible's diff: a line ``balancer/server: state`` for each server that is switched."""
    pairs = [(read.name, switch) for read in reads for switch in read.switches]
    return {
        "before": "".join(f"{name}/{switch.server}: {switch.before}\n" for name, switch in pairs),
        "after": "".join(f"{name}/{switch.server}: {switch.after}\n" for name, switch in pairs),
    }


def switch_all(reads: Sequence[Read], to: str, deadline: float, gate: Gate) -> list[dict[str, Any]]:
    """A balancer that fails does not stop the others; its result has ``why`` and ``xdr_code``."""

    def switch(read: Read) -> dict[str, Any]:
        try:
            verified = read.balancer.switch(read.switches, to, deadline, gate)
        except XdrError as error:
            now = _side_now(read)
            failed = result(read, read.before, now, changed=now != read.before)
            return {**failed, "why": error.sentence(), "xdr_code": error.code}
        return result(read, read.before, _side_now(read), changed=bool(read.switches), verified=verified)

    return each(switch, reads)


def _side_now(read: Read) -> str:
    try:
        return read.balancer.side()
    except XdrError:
        return "unknown"


def check_all(results: Sequence[Mapping[str, Any]]) -> None:
    """Raises XdrError in one sentence for the balancers that failed, if any did."""
    failed = [entry for entry in results if entry["why"]]
    if failed:
        names = ", ".join(entry["name"] for entry in failed[1:])
        raise XdrError(failed[0]["why"] + (f" Also not switched: {names}" if names else ""), code=failed[0]["xdr_code"])
