# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Where in a failback a fault strikes: at the mark before a phase, or at the one after it, as a host's record has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# step → (the phase's name in the records, the site whose record is looked at), in the order of a failback
STEPS = {
    "stop_services": ("stop_services/shop", "dr"),
    "release": ("release", "dr"),
    "final_sync": ("final_sync", "dr"),
    "verify": ("verify", "dr"),
    "offer": ("offer", "witness"),
    "accept": ("accept", "primary"),
    "decide": ("decide", "witness"),
    "start_instances": ("start_instances/database", "primary"),
    "health_checks": ("health_checks/database", "primary"),
    "switch_traffic": ("switch_traffic", "witness"),
}
MARKS = ("intent", "done")  # the change is under way; it is made, and the controller may not know it
BEFORE_C1 = ("stop_services", "release", "final_sync", "verify")


@dataclass(frozen=True)
class Place:
    step: str
    mark: str = "intent"

    @property
    def site(self) -> str:
        return STEPS[self.step][1]

    def reached(self, record: dict[str, Any] | None) -> bool:
        run = (record or {}).get("run") or {}
        if run.get("action") != "failback":
            return False
        marks = run.get("phases", {}).get(STEPS[self.step][0]) or {}
        return bool(marks.get(self.mark))

    def __str__(self) -> str:
        return f"{self.step}/{self.mark}"


def everywhere(steps: tuple[str, ...] = tuple(STEPS), marks: tuple[str, ...] = MARKS) -> tuple[Place, ...]:
    return tuple(Place(step, mark) for step in steps for mark in marks)
