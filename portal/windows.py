# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The window that a failback is started with: read from what a person typed, with the time of a rollback as this plan's runs show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.window import Window

if TYPE_CHECKING:
    from .store import Store
    from .store.runs import Run

ASSUMED = 300.0  # seconds, where nothing is known
NEWEST = 5  # rollbacks that count
LOOKED_AT = 200  # runs
STARTS = ("start_instances", "health_checks")


def window(text: str, now: float, store: Store, plan: str) -> Window:
    """Until that time of the day, or that date and time. Raises XdrError: usage, and gate_refused where its deadline has passed."""
    from .store import runs

    found = Window(until(text, now), *rollback_time(runs.latest(store, plan=plan, limit=LOOKED_AT)))
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
