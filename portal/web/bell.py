# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Wakes everybody who waits for it at that moment."""

from __future__ import annotations

import asyncio
import time


class Bell:
    """Who watches takes ``next`` before looking for news, and waits for it where there were none."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.rung_at = time.monotonic()

    def ring(self) -> None:
        before, self._event = self._event, asyncio.Event()
        self.rung_at = time.monotonic()
        before.set()

    @property
    def next(self) -> asyncio.Event:
        return self._event
