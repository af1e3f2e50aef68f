# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The deadline of a failback's cutover: passing it rolls back by itself, until the hand-over of ownership begins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ansible_collections.xdr.failback.plugins.plugin_utils.window import Window, clock

from . import units
from .events import Event

if TYPE_CHECKING:
    from .store import Store
    from .store.runs import Run

FAILBACK = "failback"


class Cutover:
    """How far a run's failback has come, gathered from the run's events."""

    def __init__(self) -> None:
        self.began: float | None = None  # when the first service was to stop
        self.offered = False  # ownership may have been
        self._within = False  # a launch of the failback, and not of its rollback
        self._undoes = False

    def add(self, event: Event) -> None:
        if event["kind"] == "started":
            self._within, self._undoes = event["action"] == FAILBACK, False
        elif event["kind"] == "task" and self._within:
            if event["step"] == "stop_services" and self.began is None:
                self.began = event["at"]
            self.offered = self.offered or event["step"] == "hand_over"
            self._undoes = self._undoes or event["step"] == "recover"
        elif event.get("xdr_view"):
            self.offered = self.offered or _offered(event["xdr_view"])

    @property
    def settled(self) -> bool:
        """No deadline counts any more: it goes forward, or undoes itself already."""
        return self.offered or self._undoes


def _offered(view: dict[str, Any]) -> bool:
    return view.get("owner") == "primary" or "offer" in (view.get("run") or {}).get("phases", {})


@dataclass(frozen=True)
class Deadline:
    """``at``: Unix seconds; ``told``: how it comes about."""

    at: float
    told: str


def gathered(store: Store, run_id: str) -> Cutover:
    """By what is stored of the run."""
    from .store import events

    cutover, seq = Cutover(), 0
    while batch := events.after(store, run_id, seq):
        for event in batch:
            seq = event["seq"]
            cutover.add(event)
    return cutover


def counting(run: Run, downtime: float | None, cutover: Cutover) -> Deadline | None:
    """The deadline that may still roll this run back, also one that ended half way before the hand-over."""
    if run.action != FAILBACK or run.check or cutover.offered or (cutover.settled and not run.ended):
        return None
    window = run.arguments.get("window")
    return deadline(downtime, Window.from_json(window) if window else None, cutover)


def begin_by(run: Run, cutover: Cutover) -> float | None:
    """By when a failback that a window began must be at work; None for any other, and for one whose first service was to stop already."""
    limit = str(run.arguments.get("begin_by", ""))
    return datetime.fromisoformat(limit).timestamp() if limit and cutover.began is None else None


def deadline(downtime: float | None, window: Window | None, cutover: Cutover) -> Deadline | None:
    """The earlier of the longest downtime's end and the window's deadline; None while neither is known.

    ``downtime``: the plan's ``failback.deadline``, in seconds from the stop of the first service.
    """
    found = [Deadline(window.deadline, window.told)] if window else []
    if downtime is not None and cutover.began is not None:
        at = cutover.began + downtime
        found.append(Deadline(at, f"{clock(at)}: failback.deadline ({units.seconds(downtime)}) from the stop of the first service"))
    return min(found, key=lambda each: each.at, default=None)
