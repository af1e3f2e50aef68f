# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""How long a run may take, by what earlier ones of the same plan and action took. Pure; where there are none nothing is foreseen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
class Foreseen:
    """``runs``: how many it is known from, 0 where there is no history."""

    runs: int = 0
    whole: Range | None = None
    steps: Mapping[str, Range] = field(default_factory=dict)

    def step(self, name: str) -> Range | None:
        return self.steps.get(name)


def of(store: Store, run: Run) -> Foreseen:
    """By the runs before this one."""
    from .store import runs

    found = runs.latest(store, plan=run.plan, limit=LOOKED_AT, cycles=run.cycle, before=run.requested_at)
    return foreseen(one for one in found if one.action == run.action)


def foreseen(found: Iterable[Run]) -> Foreseen:
    """``found``: runs of one plan and action, the newest first; those that ended otherwise than well tell nothing."""
    told = [run for run in found if _tells(run)][:NEWEST]
    if not told:
        return Foreseen()
    steps: dict[str, list[float]] = {}
    for run in told:
        for step in (run.result or {})["steps"]:
            steps.setdefault(str(step["name"]), []).append(float(step["seconds"]))
    whole = [(run.ended_at or 0.0) - (run.started_at or 0.0) for run in told]
    return Foreseen(len(told), _range(whole), {name: _range(taken) for name, taken in steps.items()})


def _tells(run: Run) -> bool:
    """Whether it did the whole of its action, in one go."""
    result = run.result or {}
    names = {step["name"] for step in result.get("steps") or []}
    well = run.exit_code == 0 and not run.check and not run.code and not result.get("reason")
    return bool(well and names and run.attempts <= 1 and "answer" not in run.arguments and WHOLE.get(run.action, set()) <= names)


def _range(taken: list[float]) -> Range:
    return Range(min(taken), max(taken))
