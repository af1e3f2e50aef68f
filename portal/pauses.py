# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The question that a plan's pause asks a person while its run waits: gathered from the run's events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .events import Event

if TYPE_CHECKING:
    from .store import Store

MODULE = "xdr.failback.xdr_hook"


@dataclass(frozen=True)
class Pause:
    """``until``: Unix seconds, when the run goes on without an answer, as the plan says."""

    hook: str
    question: str
    until: float
    moment: str
    group: str = ""


class Pauses:
    """Which pause is open, one at most: hooks have their turn one after the other."""

    def __init__(self) -> None:
        self.open: Pause | None = None

    def add(self, event: Event) -> None:
        if event["kind"] == "ended":
            self.open = None
        elif event["kind"] == "result" and event.get("module") == MODULE:
            for one in event.get("results") or []:
                self._hook(one)

    def _hook(self, one: Event) -> None:
        if one.get("kind") == "pause" and one.get("state") == "open":
            self.open = Pause(one["name"], one["question"], float(one["until"]), one["moment"], one["group"])
        elif self.open and self.open.hook == one.get("name"):
            self.open = None


def of(store: Store, run_id: str) -> Pause | None:
    """By what is stored of the run."""
    from .store import events

    pauses, seq = Pauses(), 0
    while batch := events.after(store, run_id, seq):
        for event in batch:
            seq = event["seq"]
            pauses.add(event)
    return pauses.open
