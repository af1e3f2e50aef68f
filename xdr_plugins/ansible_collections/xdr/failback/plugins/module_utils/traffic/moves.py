# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Several load balancers and DNS records at once: where clients go, what is to be switched, and the switch (module xdr_traffic)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import XdrError
from ..parallel import each
from . import NO_ANSWER, Director, Gate, Occasion, Seen, Switch, driver


@dataclass(frozen=True)
class Read:
    """A balancer or record as it was found; ``switches``: what is to be changed."""

    name: str
    director: Director
    before: str
    switches: list[Switch]


def read_state(items: Sequence[Mapping[str, Any]], to: str | None, occasion: Occasion) -> list[Read]:
    """Without ``to`` nothing is to be changed. XdrError, NotReached of the drivers: nothing has been changed yet."""

    def read(item: Mapping[str, Any]) -> Read:
        director = driver(item, occasion)
        return Read(str(item["name"]), director, director.side(), director.plan(to) if to is not None else [])

    return each(read, items)


def check_state(reads: Sequence[Read]) -> list[dict[str, Any]]:
    """Raises XdrError of the first that would not let itself be switched."""
    remarks = each(lambda read: read.director.check(), reads)
    return [result(read, read.before, read.before, remark=remark) for read, remark in zip(reads, remarks)]


def result(
    read: Read, before: str, after: str, *, changed: bool = False, seen: Sequence[Seen] = (), remark: str = "", why: str = ""
) -> dict[str, Any]:
    return {
        "name": read.name,
        "before": before,
        "after": after,
        "changed": changed,
        "verified": bool(seen) and all(one.said != NO_ANSWER for one in seen),
        "evidence": [one.to_json() for one in seen],
        "remark": remark,
        "why": why,
    }


def foretold(read: Read, to: str) -> dict[str, Any]:
    return result(read, read.before, to, changed=bool(read.switches))


def diff(reads: Sequence[Read]) -> dict[str, str]:
    """Ansible's diff: a line ``name/server: state`` for each server or record that is switched."""
    pairs = [(read.name, switch) for read in reads for switch in read.switches]
    return {
        "before": "".join(f"{name}/{switch.server}: {switch.before}\n" for name, switch in pairs),
        "after": "".join(f"{name}/{switch.server}: {switch.after}\n" for name, switch in pairs),
    }


def switch_all(reads: Sequence[Read], to: str, deadline: float, gate: Gate) -> list[dict[str, Any]]:
    """One that fails does not stop the others; its result has ``why`` and ``xdr_code``."""

    def switch(read: Read) -> dict[str, Any]:
        try:
            seen = read.director.switch(read.switches, to, deadline, gate)
        except XdrError as error:
            now = _side_now(read)
            failed = result(read, read.before, now, changed=now != read.before, why=error.sentence())
            return {**failed, "xdr_code": error.code}
        return result(read, read.before, _side_now(read), changed=bool(read.switches), seen=seen)

    return each(switch, reads)


def _side_now(read: Read) -> str:
    try:
        return read.director.side()
    except XdrError:
        return "unknown"


def check_all(results: Sequence[Mapping[str, Any]]) -> None:
    """Raises XdrError in one sentence for those that failed, if any did."""
    failed = [entry for entry in results if entry["why"]]
    if failed:
        names = ", ".join(entry["name"] for entry in failed[1:])
        raise XdrError(failed[0]["why"] + (f" Also not switched: {names}" if names else ""), code=failed[0]["xdr_code"])
