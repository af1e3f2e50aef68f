# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The rows of ``xdr bench portal``: their goals, and what the measurements say of them. Pure: nothing is measured here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .pages import Page, Painted

PAGE_GOAL = 100.0  # milliseconds until the whole page is there
AGE_GOAL = 1000.0  # milliseconds from an event until a viewer has it
VIEWERS_GOAL = 100.0  # milliseconds from its commit until the last of 99 % of the viewers has it
RATE = 10  # events a second
SECONDS = 10  # for which they are told
AGED = 10  # viewers whose events' age is measured
PAGES, AGE, VIEWERS = "page", "event age", "viewers"
KINDS = (PAGES, AGE, VIEWERS)


@dataclass(frozen=True)
class Figure:
    """``value`` and ``goal`` in milliseconds, the value may not be above the goal; None where nothing came. ``first``: of a page that
    nobody had asked for yet. ``cpu``: milliseconds of the portal's core for one page, or for one event's way to one viewer.
    ``broken``: events were lost or doubled."""

    name: str
    value: float | None
    goal: float
    unit: str = "ms"
    worst: float | None = None
    first: float | None = None
    cpu: float | None = None
    bytes: int | None = None
    why: str = ""
    broken: bool = False

    @property
    def ok(self) -> bool:
        return self.value is not None and self.value <= self.goal and not self.broken

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


def of_page(page: Page, painted: Painted, cpu_ms: float) -> Figure:
    first, value, worst = (round(each, 1) for each in (painted.first, painted.median, painted.worst))
    return Figure(f"{PAGES} {page.name}", value, PAGE_GOAL, worst=worst, first=first, cpu=round(cpu_ms, 1), bytes=painted.nbytes)


@dataclass(frozen=True)
class Watched:
    """What the viewers of a stream say: how many were asked for and connected, when each had which event, and what they did not get once.

    ``told``: by the event's number, when it was told. ``cpu_s``: of the portal meanwhile.
    """

    asked: int
    connected: int
    arrived: Mapping[int, Sequence[float]]
    told: Mapping[int, float]
    lost: int
    doubled: int
    cpu_s: float

    @property
    def delays(self) -> list[float]:
        """In milliseconds."""
        return sorted((at - self.told[number]) * 1000 for number, times in self.arrived.items() for at in times)

    @property
    def whole(self) -> bool:
        return self.connected == self.asked and not self.lost and not self.doubled


def of_watched(name: str, watched: Watched, goal: float) -> Figure:
    delays = watched.delays
    told = f"{watched.connected} of {watched.asked} viewers connected, {watched.lost} events lost, {watched.doubled} doubled"
    if not delays:
        return Figure(name, None, goal, why=told, broken=True)
    value, worst = round(percentile(delays, 99), 1), round(delays[-1], 1)
    cpu = round(watched.cpu_s * 1000 / len(delays), 4)
    return Figure(name, value, goal, worst=worst, cpu=cpu, why=told, broken=not watched.whole)


def percentile(values: Sequence[float], share: float) -> float:
    """Of sorted values, the smallest that so many percent of them do not pass."""
    return values[max(0, math.ceil(len(values) * share / 100) - 1)]


def picked(text: str, names: Iterable[str]) -> tuple[str, ...]:
    """The rows that are asked for: their names, or ``page`` for all of the pages. Raises ValueError for one that there is not."""
    every = tuple(names)
    wanted = [each.strip() for each in text.split(",")] if text else list(KINDS)
    found = [name for each in wanted for name in every if name == each or (each == PAGES and name.startswith(f"{PAGES} "))]
    for each in wanted:
        if each != PAGES and each not in every:
            raise ValueError(f"there is no row '{each}'. Rows: {', '.join((PAGES, *every))}")
    return tuple(dict.fromkeys(found))
