# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""How often a login may fail: for one name from one address, and from one address with any names."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable

WINDOW = 300.0  # seconds for which a failure counts
PAIR, ADDRESS, NAME = 5, 30, 100  # a name's own limit is high: nobody shall be able to lock the operator out at 3 a.m.
MOST = 20_000  # keys in memory


class Limits:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._lock = threading.Lock()

    def wait(self, name: str, address: str) -> float:
        """Seconds until the next try is allowed; 0 for now."""
        with self._lock:
            return max(self._wait(key, most) for key, most in _keys(name, address))

    def _wait(self, key: tuple[str, str], most: int) -> float:
        times = [at for at in self._failures.get(key, ()) if at > self._clock() - WINDOW]
        return times[-most] + WINDOW - self._clock() if len(times) >= most else 0.0

    def failed(self, name: str, address: str) -> None:
        with self._lock:
            if len(self._failures) > MOST:
                self._forget()
            for key, most in _keys(name, address):
                self._failures[key] = [*self._failures[key], self._clock()][-most:]

    def succeeded(self, name: str, address: str) -> None:
        with self._lock:
            self._failures.pop((name, address), None)

    def _forget(self) -> None:
        old = self._clock() - WINDOW
        for key in [key for key, times in self._failures.items() if times[-1] < old]:
            del self._failures[key]
        if len(self._failures) > MOST:
            self._failures.clear()


def _keys(name: str, address: str) -> tuple[tuple[tuple[str, str], int], ...]:
    return (((name, address), PAIR), (("", address), ADDRESS), ((name, ""), NAME))
