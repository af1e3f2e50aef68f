# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether the sessions of the streams' viewers still last: asked often, looked up seldom, and then for all of them at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from ..store import Store, accounts

CHECK = 5.0  # seconds after which the sessions are looked at again
_log = logging.getLogger("uvicorn.error")


class Lasting:
    """``told``: called when sessions have been found ended, which their streams are to ask about."""

    def __init__(self, store: Store, told: Callable[[], None]) -> None:
        self._store, self._told = store, told
        self._tokens: Counter[str] = Counter()  # of the viewers that there are now
        self._ended: set[str] = set()
        self._due = time.monotonic() + CHECK
        self._orders = self._done = 0  # looks that were ordered; of these, those that were made
        self._looking: asyncio.Task[None] | None = None

    def enter(self, token: str) -> None:
        """A viewer whose session was looked up a moment ago."""
        self._tokens[token] += 1
        self._ended.discard(token)

    def leave(self, token: str) -> None:
        self._tokens[token] -= 1
        if not self._tokens[token]:
            del self._tokens[token]
            self._ended.discard(token)

    def look_now(self) -> None:
        """A session was ended: from any thread."""
        self._orders += 1

    async def lasts(self, token: str) -> bool:
        """Waits for a look that was ordered, and for no other: of thousands of viewers each would stand still for it."""
        while self._done < self._orders:
            await asyncio.shield(self._look())
        if time.monotonic() >= self._due:
            self._look()
        return token not in self._ended

    def _look(self) -> asyncio.Task[None]:
        """One for all who ask meanwhile."""
        if self._looking is None:
            self._due = time.monotonic() + CHECK
            self._looking = asyncio.create_task(self._looked())
            self._looking.add_done_callback(self._over)
        return self._looking

    async def _looked(self) -> None:
        asked, orders = list(self._tokens), self._orders
        lasting = await run_in_threadpool(accounts.lasting, self._store, asked)
        ended = {token for token in asked if token not in lasting and token in self._tokens}
        news = not ended <= self._ended
        self._ended, self._done = ended, orders
        if news:
            self._told()

    def _over(self, look: asyncio.Task[None]) -> None:
        self._looking = None
        if not look.cancelled() and look.exception():
            _log.error("whether sessions have ended cannot be seen: %s", look.exception())
