# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Deadlines that do not count the time in which this process itself stood still: a machine may be halted as a whole."""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_LOOK = 1.0  # seconds that count at most between two looks


def wait_until(condition: Callable[[], bool], seconds: float, every: float = 0.02) -> bool:
    """Whether the condition came true in time."""
    left, last = seconds, time.monotonic()
    while not condition():
        if left <= 0:
            return False
        time.sleep(every)
        now = time.monotonic()
        left -= min(now - last, LONGEST_LOOK)
        last = now
    return True
