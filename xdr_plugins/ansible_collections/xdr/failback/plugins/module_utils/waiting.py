# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import time
from typing import Callable


class Deadline:
    """A point in time, ``seconds`` from now, that a change of the wall clock does not move."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._start = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._start

    @property
    def left(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.seconds - self.elapsed)

    def wait_for(self, condition: Callable[[], bool], *, every: float = 0.05) -> bool:
        """True as soon as the condition holds, False when the deadline passes first; it is tried once at least."""
        while not condition():
            if not self.left:
                return False
            time.sleep(min(every, self.left))
        return True
