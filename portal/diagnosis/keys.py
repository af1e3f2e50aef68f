# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Keys and certificates that run out. A plain SSH key never does; an SSH certificate and the portal's own certificate do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .. import units
from .finding import OK, UNKNOWN, WARN, WRONG, Facts, Finding

CHECK = "keys about to expire"
DAY = 86400.0
SOON, NOW = 14 * DAY, DAY


def findings(facts: Facts) -> Iterator[Finding]:
    found = list(_all(facts))
    yield from found
    if not found:
        pinned = [f"{host}: {one['path']} was written {units.since(one['at'])}" for host, one in _pins(facts)]
        certificates = sum(len(_certificates(one)) for one in facts["hosts"].values()) + len(facts["controller"]["certificates"])
        what = f"None of {certificates} certificates runs out soon" if certificates else "No certificates are used; SSH keys do not run out"
        yield Finding(CHECK, OK, what, "", tuple(pinned))


def _pins(facts: Facts) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for host, one in facts["hosts"].items():
        yield from ((host, each) for each in (one["facts"] or {}).get("known_hosts", []))


def _certificates(one: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((one["facts"] or {}).get("certificates", []))


def _all(facts: Facts) -> Iterator[Finding]:
    for host, one in facts["hosts"].items():
        if one["facts"] is None:
            yield Finding(CHECK, UNKNOWN, f"Which certificates {host} uses is not known", "Mend the way to that host first")
        for certificate in _certificates(one):
            yield from _one(f"The SSH certificate {certificate['path']} on {host}", certificate, facts["at"], "Sign the key again")
        for pinned in (one["facts"] or {}).get("known_hosts", []):
            if pinned["at"] is None:
                what = f"{host} has no file of pinned host keys ({pinned['path']}): it reaches no peer"
                yield Finding(CHECK, WRONG, what, "Apply the role site_agent to it")
    for certificate in facts["controller"]["certificates"]:
        yield from _one(f"The certificate {certificate['path']} of {certificate['of']}", certificate, facts["at"], certificate["todo"])


def _one(what: str, certificate: Mapping[str, Any], now: float, todo: str) -> Iterator[Finding]:
    until, begin = certificate["until"], certificate.get("from")
    if certificate["why"]:
        yield Finding(CHECK, UNKNOWN, f"{what} cannot be read", "See whether it is one", (certificate["why"],))
    elif begin is not None and begin > now:
        yield Finding(CHECK, WRONG, f"{what} is not valid before {units.since(begin)}", "Look at the clock of who signed it, or wait")
    elif until is not None and until <= now:
        yield Finding(CHECK, WRONG, f"{what} has run out at {units.since(until)}", todo)
    elif until is not None and until - now < SOON:
        left = f"{(until - now) / DAY:.0f} days" if until - now > 2 * DAY else units.seconds(until - now)
        yield Finding(CHECK, WRONG if until - now < NOW else WARN, f"{what} runs out in {left}", todo, (f"until {units.since(until)}",))
