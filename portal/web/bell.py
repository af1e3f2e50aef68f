# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Wakes everybody who waits for it at that moment."""

from __future__ import annotations

import asyncio
import time


class Bell:
    """Who watches takes ``next`` before looking for news, and awaits it where there were none. Thousands do: each has a future, no more."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self.rung_at = time.monotonic()

    def ring(self) -> None:
        waiting, self._waiting = self._waiting, []
        self.rung_at = time.monotonic()
        for each in waiting:
            if not each.done():  # its viewer has left
                each.set_result(None)

    @property
    def next(self) -> asyncio.Future[None]:
        """For one who waits: its own, so that being cancelled concerns nobody else."""
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        return mine
