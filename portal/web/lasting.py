# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether the sessions of the streams' viewers still last: asked often, looked up seldom, and then for all of them at once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from starlette.concurrency import run_in_threadpool

from ..store import Store, accounts

CHECK = 5.0  # seconds after which the sessions are looked at again


class Lasting:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._tokens: Counter[str] = Counter()  # of the viewers that there are now
        self._ended: set[str] = set()
        self._due = time.monotonic() + CHECK
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
        """A session was ended."""
        self._due = 0.0

    async def lasts(self, token: str) -> bool:
        if time.monotonic() >= self._due or self._looking:
            await asyncio.shield(self._look())
        return token not in self._ended

    def _look(self) -> asyncio.Task[None]:
        """One for all who ask meanwhile."""
        if self._looking is None:
            self._due = time.monotonic() + CHECK
            self._looking = asyncio.create_task(self._looked())
        return self._looking

    async def _looked(self) -> None:
        asked = list(self._tokens)
        try:
            lasting = await run_in_threadpool(accounts.lasting, self._store, asked)
            self._ended = {token for token in asked if token not in lasting and token in self._tokens}
        finally:
            self._looking = None
