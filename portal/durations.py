# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""How long a run may take, by what earlier ones of the same plan and action took. Pure; where there are none nothing is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import units

if TYPE_CHECKING:
    from .store import Store
    from .store.runs import Run

NEWEST = 10  # earlier runs that count
LOOKED_AT = 200
WHOLE = {"failback": {"preflight", "stop_services", "switch_traffic"}}  # the steps of a run that did not go on from half way


@dataclass(frozen=True)
class Range:
    """Seconds, from the fastest to the slowest."""

    shortest: float
    longest: float

    @property
    def told(self) -> str:
        least, most = units.seconds(self.shortest), units.seconds(self.longest)
        return least if least == most else f"{least} to {most}"


@dataclass(frozen=True)
class Durations:
    """``runs``: how many it is known from, 0 where there is no history."""

    runs: int = 0
    whole: Range | None = None
    steps: Mapping[str, Range] = field(default_factory=dict)

    def step(self, name: str) -> Range | None:
        return self.steps.get(name)


def of(store: Store, run: Run) -> Durations:
    """By the runs before this one."""
    from .store import runs

    found = runs.latest(store, plan=run.plan, limit=LOOKED_AT, cycles=run.cycle, before=run.requested_at)
    return by(telling(found, run.action))


def telling(found: Iterable[Run], action: str) -> list[Run]:
    """Of a plan's runs, the newest first, those that tell how long the action takes: they did the whole of it, in one go, and well."""
    return [run for run in found if run.action == action and _tells(run)][:NEWEST]


def by(told: Sequence[Run]) -> Durations:
    """``told``: of ``telling``."""
    if not told:
        return Durations()
    steps: dict[str, list[float]] = {}
    for run in told:
        for step in (run.result or {})["steps"]:
            steps.setdefault(str(step["name"]), []).append(float(step["seconds"]))
    whole = [(run.ended_at or 0.0) - (run.started_at or 0.0) for run in told]
    return Durations(len(told), _range(whole), {name: _range(taken) for name, taken in steps.items()})


def _tells(run: Run) -> bool:
    result = run.result or {}
    names = {step["name"] for step in result.get("steps") or []}
    well = run.exit_code == 0 and not run.check and not run.code and not result.get("reason")
    return bool(well and names and run.attempts <= 1 and "answer" not in run.arguments and WHOLE.get(run.action, set()) <= names)


def _range(taken: list[float]) -> Range:
    return Range(min(taken), max(taken))
