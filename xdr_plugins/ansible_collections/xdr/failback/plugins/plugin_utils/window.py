# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A window in which a failback may interrupt the services, and the moment from which it leaves no time for a rollback any more."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError


@dataclasses.dataclass(frozen=True)
class Window:
    """``until``: its end, in Unix seconds; ``rollback``: the seconds that undoing a failback takes, and ``how`` that is known."""

    until: float
    rollback: float
    how: str

    @property
    def deadline(self) -> float:
        return self.until - self.rollback

    @property
    def told(self) -> str:
        """The arithmetic, in words."""
        return f"{clock(self.deadline)}: the window ends at {clock(self.until)}, less {_seconds(self.rollback)} for a rollback ({self.how})"

    def check_open(self, now: float) -> None:
        """Raises XdrError, code ``gate_refused``, once the deadline has passed."""
        if now >= self.deadline:
            raise XdrError(
                f"the deadline has passed already, it was {self.told}; it is {clock(now)}",
                todo="Choose a window that ends later; nothing was changed",
                code="gate_refused",
            )

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "told": self.told}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Window:
        return cls(float(document["until"]), float(document["rollback"]), str(document["how"]))


def clock(at: float) -> str:
    """The time of day, with the day where it is another than today."""
    day = "" if time.localtime(at)[:3] == time.localtime()[:3] else "%Y-%m-%d "
    return time.strftime(f"{day}%H:%M:%S", time.localtime(at))


def _seconds(value: float) -> str:
    minutes, seconds = divmod(round(value), 60)
    return " ".join(part for part in (f"{minutes} min" * bool(minutes), f"{seconds} s" * bool(seconds or not minutes)) if part)
