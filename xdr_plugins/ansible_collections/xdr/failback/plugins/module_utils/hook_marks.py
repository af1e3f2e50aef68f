# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What the ownership record keeps of a run's hooks, so that none is fired twice without a word: pure.

``run["hooks"][name]``: ``{"begun", "by": launch, "attempt", "pid", "started", "until", "ended", "outcome", "ok", "settled", "run"}``. It is
written before the hook is fired and completed after it. Like the run's phases, marks stay for as long as attempts at the same move go on
in it, also over a retry, and a new move begins without any.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .errors import XdrError
from .record import Record

Hook = Mapping[str, Any]  # of the compiled plan
Mark = Mapping[str, Any]

PAUSE = "pause"
HALT = "halt"
UNKNOWN = "nobody knows how it ended"
_LAUNCH = re.compile(r"-\d{1,2}$")


@dataclass(frozen=True)
class Verdict:
    """Whether the hook is fired now, and what is said about it. ``mark``: what is to be written of one that is not, ``halts``: why that
    halts the run."""

    fire: bool
    told: str = ""
    mark: Mark | None = None
    halts: str = ""


def run_of(launch: str) -> str:
    """The run that a launch of its playbook belongs to: the second and later ones are called ``<run>-2`` and so on."""
    return _LAUNCH.sub("", launch)


def marks(record: Record) -> dict[str, Any]:
    return dict((record.run or {}).get("hooks") or {})


def with_mark(record: Record, name: str, mark: Mark) -> Record:
    return replace(record, run={**(record.run or {}), "hooks": {**marks(record), name: dict(mark)}})


def begun(hook: Hook, launch: str, attempt: int, now: float, until: float) -> dict[str, Any]:
    times = {"begun": now, "until": until, "ended": None}
    return {**times, "by": launch, "attempt": attempt, "pid": 0, "started": 0, "outcome": "", "ok": False, "settled": False}


def ended(mark: Mark, hook: Hook, launch: str, now: float, ok: bool, outcome: str) -> dict[str, Any]:
    """``settled``: the run goes on and never fires it again. What halts it is fired again when a person says so."""
    settled = ok or goes_on(hook, outcome)
    return {**mark, "ended": now, "ok": ok, "outcome": outcome, "settled": settled, "run": run_of(launch), "pid": 0}


def goes_on(hook: Hook, outcome: str) -> bool:
    """Whether the run goes on after a hook that did not succeed. A person's no always halts."""
    if hook["kind"] == PAUSE:
        return outcome == "deadline" and hook["on_deadline"] != HALT
    return bool(hook["on_failure"] != HALT)


def verdict(hook: Hook, mark: Mark | None, launch: str, now: float, skip_reason: str = "") -> Verdict:
    """What is to be done about the hook in this launch. Raises XdrError, code ``hook_halted``, where a person has to decide."""
    name = hook["name"]
    if skip_reason and not (mark and mark["settled"]):
        skipped = begun(hook, launch, 0, now, now)
        told = f"{name} is left out: {skip_reason}"
        done = {"ended": now, "outcome": "skipped", "ok": True, "settled": True, "run": run_of(launch)}
        return Verdict(False, told, {**skipped, **(mark or {}), **done})
    if mark is None:
        return Verdict(True)
    if mark["settled"]:
        return Verdict(False, f"{name} had its turn in this run already ({mark['outcome']}), it is not fired again")
    if mark["ended"] is None:
        return _open(hook, mark, launch, now)
    if mark["run"] == run_of(launch):
        raise halted(hook, f"it had its turn in this run already: {mark['outcome']}")
    return Verdict(True, f"{name} is fired again, as it was answered or asked for: {mark['outcome']}")


def _open(hook: Hook, mark: Mark, launch: str, now: float) -> Verdict:
    """It had begun, and whoever fired it is gone."""
    name = hook["name"]
    if hook["kind"] == PAUSE:
        return Verdict(True, f"{name} goes on waiting, its deadline stays")
    if hook["repeatable"]:
        return Verdict(True, f"{name} is fired again: an earlier attempt had begun it, {UNKNOWN}, and it is repeatable")
    over = ended(mark, hook, launch, now, False, UNKNOWN)
    if over["settled"]:
        return Verdict(False, f"{name} is not fired again: an earlier attempt had begun it, and {UNKNOWN}", over)
    return Verdict(False, "", over, f"an earlier attempt had begun it, and {UNKNOWN}")


def halted(hook: Hook, what: str) -> XdrError:
    return XdrError(
        what,
        where=f"hook {hook['name']} ({hook['moment']}) on {hook['host']}",
        todo="Run the same action again and it is fired again, or leave it out with a reason (skip)",
        code="hook_halted",
    )
