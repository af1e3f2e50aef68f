# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What owners and stakeholders said about a window, and whether it may be used. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .occurrences import Occurrence
from .store.invitations import APPROVE, OBJECT, Invitation


@dataclass(frozen=True)
class Person:
    """``part``: owner or stakeholder."""

    name: str
    part: str
    notify: str | None
    user: str | None


@dataclass(frozen=True)
class Consent:
    """``cleared``: a failback may begin in the window; ``told`` says why, or why not."""

    cleared: bool
    told: str


def people(plan: Mapping[str, Any]) -> Iterator[Person]:
    """All who are asked, owners first."""
    for part in ("owner", "stakeholder"):
        yield from (Person(part=part, **one) for one in plan["maintenance"][f"{part}s"])


def answers(plan: Mapping[str, Any], occurrence: Occurrence, invitations: Iterable[Invitation]) -> list[tuple[Person, Invitation | None]]:
    """What each said to this window; None who was not asked about it, or about a shorter one."""
    found = {one.name: one for one in invitations if one.key == occurrence.key and (one.end >= occurrence.end or one.answer == OBJECT)}
    return [(person, found.get(person.name)) for person in people(plan)]


def consent(plan: Mapping[str, Any], occurrence: Occurrence, invitations: Iterable[Invitation]) -> Consent:
    said = answers(plan, occurrence, invitations)
    against = [f"{one.name} objects: {one.text}" for _, one in said if one and one.answer == OBJECT]
    if against:
        return Consent(False, "; ".join(against))
    open_ones = [person.name for person, one in said if person.part == "owner" and (one is None or one.answer != APPROVE)]
    if plan["maintenance"]["owners_must"] == APPROVE:
        return Consent(not open_ones, f"waits for the approval of {', '.join(open_ones)}" if open_ones else "approved by all owners")
    return Consent(True, "nobody objects" if said else "nobody has to be asked")
