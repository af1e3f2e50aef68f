# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""How fast a session may send: a limit, and other limits at some hours of the day."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Callable, NamedTuple, Optional

_AT_ONCE = 0.5  # seconds of the limit that may go over before anybody waits


class Hours(NamedTuple):
    """From minute ``start`` of the day (UTC) to before minute ``stop``, over midnight where that is smaller: ``limit`` bytes a second."""

    start: int
    stop: int
    limit: Optional[int]  # noqa: UP045 - evaluated by NamedTuple on Python 3.9

    def hold(self, minute: int) -> bool:
        if self.start <= self.stop:
            return self.start <= minute < self.stop
        return minute >= self.start or minute < self.stop


def limit_at(moment: float, limit: int | None, hours: Sequence[Hours]) -> int | None:
    """The limit in bytes a second at a moment (Unix seconds), None for none; the first hours that hold win."""
    at = time.gmtime(moment)
    return next((each.limit for each in hours if each.hold(at.tm_hour * 60 + at.tm_min)), limit)


class Pace:
    """Sleeps so that the bytes sent stay at the limit, which may change on the way."""

    def __init__(self, limit: int | None, hours: Sequence[Hours] = (), clock: Callable[[], float] = time.time) -> None:
        self._limit, self._hours, self._clock = limit, hours, clock
        self._free_at = time.monotonic()

    def sent(self, nbytes: int) -> None:
        limit = limit_at(self._clock(), self._limit, self._hours)
        now = time.monotonic()
        if not limit:
            self._free_at = now
            return
        self._free_at = max(self._free_at, now - _AT_ONCE) + nbytes / limit
        if self._free_at > now:
            time.sleep(self._free_at - now)
