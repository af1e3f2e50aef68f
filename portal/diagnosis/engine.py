# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""All checks over one document of facts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from . import clock, health, keys, lag, link, ownership, room, service, store, sync, tracker, versions
from .finding import UNKNOWN, Facts, Finding, worst_first

Check = Callable[[Facts], Iterator[Finding]]
CHECKS: dict[str, Check] = {
    module.CHECK: module.findings for module in (ownership, link, lag, sync, health, room, tracker, clock, versions, keys, service, store)
}


def diagnose(facts: Facts, checks: Iterable[tuple[str, Check]] = tuple(CHECKS.items())) -> list[Finding]:
    """The worst first. A check that breaks over what it was told leaves the others alone, and counts as not known."""
    return worst_first(finding for name, check in checks for finding in _asked(name, check, facts))


def _asked(name: str, check: Check, facts: Facts) -> list[Finding]:
    try:
        return list(check(facts))
    except Exception as error:  # a host may answer what nobody thought of
        what = f"The check {name} broke over what it was told"
        return [Finding(name, UNKNOWN, what, "Make a bundle for support, and send it", (repr(error)[:300],))]
