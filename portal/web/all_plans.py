# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""All plans at once: what a list shows of each, kept in memory, so that a page with hundreds of them asks the store a few times."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..calendar import Calendar
from ..store import observations, runs
from ..store.accounts import Role
from .course import Course
from .desk import Desk
from .glances import Glance
from .plan_facts import PlanFacts, Told

SHOWN = 50  # plans of a page
OLDEST = 30 * 86400.0  # seconds; what ended before that is not looked for beside an observation that is even older


def all_facts(desk: Desk, role: Role) -> list[PlanFacts]:
    """Of each plan, by name."""
    plans, seen, active = sorted(desk.inventory.plans.items()), desk.glances.look(desk.store), runs.at_work(desk.store)
    observed = {name: seen.get(observations.of_plan(name)) for name, _ in plans}
    moved = _moved(desk, observed, {plan: run.id for plan, run in active.items() if run.started_at})
    calendars = Calendar.read_all(desk.store, [plan for _, plan in plans], time.time())
    told = {name: Told(observed[name], active.get(name), moved.get(name, []), calendars[name]) for name, _ in plans}
    return [PlanFacts(desk, plan, role, told[name]) for name, plan in plans]


def _moved(desk: Desk, observed: Mapping[str, Glance | None], begun: Mapping[str, str]) -> dict[str, list[Course]]:
    """By plan, the courses of what was at work since it was seen, the newest first."""
    at = {name: one.observation.at if one and one.observation.document else 0.0 for name, one in observed.items()}
    since = max(min(at.values(), default=0.0), time.time() - OLDEST)
    found = {name: [run_id] for name, run_id in begun.items() if name in observed}
    for name, run_id, end in runs.ended_since(desk.store, since):
        if name in at and end >= at[name]:
            found.setdefault(name, []).append(run_id)
    courses = desk.courses.of_several(desk.store, [run_id for ids in found.values() for run_id in ids])
    return {name: [courses[run_id] for run_id in ids] for name, ids in found.items()}


@dataclass(frozen=True)
class Listed:
    """A page of the plans that have all the words of ``query``; ``states``: how many of all are in which; pages count from 1."""

    facts: list[PlanFacts]
    query: str
    found: int
    number: int
    states: Mapping[str, int]

    @property
    def pages(self) -> int:
        return max(1, -(-self.found // SHOWN))

    @property
    def first(self) -> int:
        return (self.number - 1) * SHOWN + 1

    @property
    def many(self) -> bool:
        """Whether a person has to look for a plan among them."""
        return sum(self.states.values()) > SHOWN or bool(self.query)


def listed(facts: Iterable[PlanFacts], query: str, number: int) -> Listed:
    every = [(one, one.state) for one in facts]
    words = query.casefold().split()
    found = [one for one, state in every if all(word in _text(one, state) for word in words)]
    number = min(number, max(1, -(-len(found) // SHOWN)))
    states = dict(Counter(state for _, state in every).most_common())
    return Listed(found[(number - 1) * SHOWN : number * SHOWN], query, len(found), number, states)


def _text(facts: PlanFacts, state: str) -> str:
    """What a word is looked for in: the plan's name, state and owner, and whether a host was silent."""
    return " ".join((facts.name, state, facts.owner, facts.active.action if facts.active else "")).casefold()


def number(text: str) -> int:
    """Of a page; what is none is the first."""
    return max(1, int(text)) if text.isascii() and text.isdecimal() and len(text) < 7 else 1
