# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""An incident of a plan: the runs from the one that took it away from its place to the one after which it was protected there again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .achieved import MOVES
from .store import runs
from .store.runs import Run

if TYPE_CHECKING:
    from .store import Store

PROTECTED = "ACTIVE"  # the state of a plan with which an incident is over
MANY = 1000  # runs of a plan that are looked through


@dataclass(frozen=True)
class Incident:
    """``runs``: the oldest first, not empty; one that is ``over`` ended with the plan ACTIVE."""

    plan: str
    runs: tuple[Run, ...]
    over: bool

    @property
    def id(self) -> str:
        return self.runs[0].id

    @property
    def began(self) -> float:
        return self.runs[0].requested_at

    @property
    def ended(self) -> float | None:
        return self.runs[-1].ended_at if self.over else None

    @property
    def word(self) -> str:
        return "over" if self.over else "open"


def split(plan: str, found: Iterable[Run]) -> list[Incident]:
    """The incidents among a plan's runs, which come the oldest first. Pure.

    A move that was refused before it began opens none; runs that only check belong to the one that is open.
    """
    made: list[Incident] = []
    current: list[Run] = []
    for run in found:
        opens = run.action in MOVES and run.action != "start" and not run.check and _began(run)
        if not current and not opens:
            continue
        current.append(run)
        if _state(run) == PROTECTED and run.exit_code == 0 and not run.check:
            made.append(Incident(plan, tuple(current), over=True))
            current = []
    return [*made, Incident(plan, tuple(current), over=False)] if current else made


def _began(run: Run) -> bool:
    """Whether it did more than to be refused by its gate, or to find nothing to do."""
    result = run.result or {}
    broke = bool(run.exit_code) and run.code in ("", "abandoned")
    return not run.ended or broke or bool(result.get("changed") or result.get("killed"))


def _state(run: Run) -> str:
    return str((run.result or {}).get("state") or "")


def of_plan(store: Store, plan: str) -> list[Incident]:
    """The newest first."""
    found = runs.latest(store, plan=plan, limit=MANY)
    return split(plan, reversed(found))[::-1]


def one(store: Store, plan: str, wanted: str) -> Incident | None:
    """By its id, or by that of any of its runs."""
    return next((each for each in of_plan(store, plan) if wanted in {run.id for run in each.runs}), None)
