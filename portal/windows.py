# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The window that a failback is started with: the maintenance window that is open, or what a person typed, with the time of a rollback
as this plan's runs show it. Where a plan has maintenance windows, a failback begins in one of them, or against a typed reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.window import Window, clock

from .calendar import Calendar

if TYPE_CHECKING:
    from .store import Store
    from .store.runs import Run

ASSUMED = 300.0  # seconds, where nothing is known
NEWEST = 5  # rollbacks that count
LOOKED_AT = 200  # runs
STARTS = ("start_instances", "health_checks")
UNDER_WAY = ("FAILING_BACK", "HALTED")  # the services are down, or may be: to go on is no new downtime


@dataclass(frozen=True)
class Admission:
    """What a failback may begin with: its window, which occurrence of the calendar that is, and the reason why not in one."""

    window: Window | None = None
    occurrence: str = ""
    override: str = ""


def admitted(store: Store, plan: Mapping[str, Any], now: float, *, until: str = "", override: str = "") -> Admission:
    """``until``: when the window is to end, as it was typed; ``override``: a dr-admin's reason to begin outside of the calendar's.

    Raises XdrError: usage, and gate_refused outside of the plan's windows without an override, or where no time is left.
    """
    typed = window(until, now, store, plan["name"]) if until else None
    calendar = Calendar.read(store, plan, now)
    if not calendar.binding(now) or under_way(store, plan["name"]):
        return Admission(typed)
    refusal = outside(calendar, now, typed)
    if refusal is None:
        opened = next(one for one in calendar.open(now) if calendar.consent(one).cleared)
        return Admission(typed or lasting(opened.end, now, store, plan["name"]), opened.key)
    if not override:
        raise refusal
    return Admission(typed, override=override)


def outside(calendar: Calendar, now: float, typed: Window | None = None) -> XdrError | None:
    """Why no failback may begin now by the calendar, code gate_refused; None in a window that may be used, and for as long as was typed."""
    opened = calendar.open(now)
    usable = next((one for one in opened if calendar.consent(one).cleared), None)
    if usable and (typed is None or typed.until <= usable.end):
        return None
    if usable:
        what = f"the maintenance window {usable.name} ends before that, at {clock(usable.end)}"
    elif opened:
        what = f"the maintenance window {opened[0].name} is open, but {calendar.consent(opened[0]).told}"
    else:
        coming = calendar.coming(now)
        what = "no maintenance window is open; " + (f"the next is {coming.name}: {coming.told}" if coming else "none is coming")
    name = calendar.plan["name"]
    todo = f"Wait for one or add one (xdr window add {name}), or a dr-admin overrides it with a reason (--override-window TEXT)"
    return XdrError(what, where=f"plan {name}", todo=todo, code="gate_refused")


def under_way(store: Store, plan: str) -> bool:
    """Whether a failback has begun and not ended, by what was seen since its run or, failing that, by the run."""
    from . import cutover
    from .store import observations, runs

    newest, seen = runs.newest_move(store, plan), observations.get(store, observations.of_plan(plan))
    if seen and seen.document and (newest is None or seen.at >= (newest.ended_at or 0.0)):
        return seen.document.get("state") in UNDER_WAY
    if newest is None or not newest.ended or not newest.exit_code:
        return False
    state = (newest.result or {}).get("state")
    return state in UNDER_WAY if state else cutover.gathered(store, newest.id).began is not None


def window(text: str, now: float, store: Store, plan: str) -> Window:
    """Until that time of the day, or that date and time. Raises XdrError: usage, and gate_refused where its deadline has passed."""
    return lasting(until(text, now), now, store, plan)


def lasting(end: float, now: float, store: Store, plan: str) -> Window:
    """Until then (Unix seconds). Raises XdrError, gate_refused, where its deadline has passed."""
    from .store import runs

    found = Window(end, *rollback_time(runs.latest(store, plan=plan, limit=LOOKED_AT)))
    found.check_open(now)
    return found


def until(text: str, now: float) -> float:
    """``05:00`` is the next time that it is five, ``2026-03-01T05:00`` that one, both by this machine's clock. Raises XdrError, usage."""
    here = datetime.fromtimestamp(now)
    try:
        at = time.fromisoformat(text)
    except ValueError:
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError:
            raise XdrError(f"expected a time such as 05:00 or 2026-03-01T05:00, found {text!r}", code="usage") from None
    today = datetime.combine(here, at)
    return (today if today > here else today + timedelta(days=1)).timestamp()


def rollback_time(found: Iterable[Run]) -> tuple[float, str]:
    """What a rollback takes, in seconds, and how that is known. ``found``: runs of the plan, the newest first."""
    ended = [run for run in found if run.ended and not run.check]
    taken = [seconds for run in ended if (seconds := _measured(run)) is not None][:NEWEST]
    if taken:
        return max(taken), f"measured, the longest of the last {len(taken)} rollbacks" if len(
            taken
        ) > 1 else "measured, by the last rollback"
    for run in ended:
        if (seconds := _predicted(run)) is not None:
            return seconds, f"predicted, by how long the services took to start in run {run.id}"
    return ASSUMED, "assumed, as no rollback and no start of this plan was measured yet"


def _measured(run: Run) -> float | None:
    """Of a rollback, one that was asked for while the failback ran, or a failback that undid itself."""
    result = run.result or {}
    undo = _steps(run).get("undo")
    if undo is None or undo["result"] == "failed" or result.get("state") not in ("REVERSING", "ACTIVE"):
        return None
    whole = run.action == "rollback" or run.code in ("rolled_back", "deadline_passed")
    return float(result["seconds"] if whole else undo["seconds"])


def _predicted(run: Run) -> float | None:
    """A rollback before the hand-over brings the same services up: what that took, and what the run took besides its steps."""
    steps = _steps(run)
    brought_up = [steps[name] for name in STARTS if name in steps]
    if run.exit_code or len(brought_up) < len(STARTS):
        return None
    return _span(brought_up) + max(0.0, float((run.result or {})["seconds"]) - _span(steps.values()))


def _steps(run: Run) -> dict[str, Mapping[str, Any]]:
    return {str(step["name"]): step for step in (run.result or {}).get("steps") or []}


def _span(steps: Iterable[Mapping[str, Any]]) -> float:
    found = list(steps)
    return float(max(step["end"] for step in found) - min(step["begin"] for step in found))
