# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What changes, looked for by one task for each subject, however many pages watch it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Protocol, TypeVar

from starlette.concurrency import run_in_threadpool

from ..store import Store, events, observations, runs, workers
from ..store.engine import Pulse
from .bell import Bell
from .feed import RunFeed, stamp
from .lasting import CHECK, Lasting
from .lines import Names

EVERY = 0.3  # seconds between two looks at what the pages without a log show
TICK = 0.02  # seconds between two looks whether anything was written while somebody watches a run
LISTED = 20  # runs whose changes are told: the newest
_log = logging.getLogger("uvicorn.error")


class Subject(Protocol):
    bell: Bell
    broken: bool

    def look(self) -> bool:
        """Read the store, in a thread; whether there is news."""
        ...

    async def pause(self) -> None:
        """Until it is to look again."""
        ...


S = TypeVar("S", bound=Subject)


class Changes:
    """What the other pages show: plans, sites, runs and the worker."""

    def __init__(self, store: Store, inventory_plans: Callable[[], Iterable[str]], every: float = EVERY) -> None:
        self.bell, self.broken, self._every = Bell(), False, every
        self.store, self._plans = store, inventory_plans
        self.topics: dict[str, str] = {}

    def look(self) -> bool:
        before, self.topics = self.topics, self._topics()
        return self.topics != before

    async def pause(self) -> None:
        await asyncio.sleep(self._every)

    def stamp(self) -> str:
        """A page is rendered with it: its stream begins with what changed since."""
        return _stamped(self._topics())

    @property
    def known(self) -> str:
        return _stamped(self.topics)

    def _topics(self) -> dict[str, str]:
        seen = observations.stamps(self.store)
        return {
            "plans": _digest([(name, seen.get(observations.of_plan(name))) for name in sorted(self._plans())]),
            "sites": _digest(seen.get(observations.SITES)),
            "runs": _digest(runs.heads(self.store, LISTED)),
            "worker": _digest([worker.id for worker in workers.alive(self.store) if worker.serves]),
        }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _stamped(topics: dict[str, str]) -> str:
    return _digest(sorted(topics.items()))


class Hub:
    """The subjects that are watched now, each with the task that looks."""

    def __init__(self, store: Store, plans: Callable[[], Iterable[str]], every: float = EVERY) -> None:
        self.store, self._plans, self._every = store, plans, every
        self.changes = Changes(store, plans)
        self.lasting = Lasting(store, self._ring)
        self._watched: dict[str, tuple[Any, asyncio.Task[None], list[None]]] = {}
        self._feeds: dict[str, RunFeed] = {}
        self._ticker: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextlib.asynccontextmanager
    async def run(self, run_id: str, known: Names | None = None) -> AsyncIterator[RunFeed]:
        async with self._watching(f"run {run_id}", lambda: RunFeed(self.store, run_id, known)) as feed:
            self._feeds[run_id] = feed
            self._ticker = self._ticker or asyncio.create_task(self._tick())
            try:
                yield feed
            finally:
                self._left(feed)

    def _left(self, feed: RunFeed) -> None:
        """The last viewer of the last run ends the ticker."""
        watched = self._watched.get(f"run {feed.run_id}")
        if watched and watched[0] is feed and len(watched[2]) > 1:
            return
        if self._feeds.get(feed.run_id) is feed:
            del self._feeds[feed.run_id]
        if not self._feeds and self._ticker:
            self._ticker.cancel()
            self._ticker = None

    @contextlib.asynccontextmanager
    async def all(self) -> AsyncIterator[Changes]:
        async with self._watching("all", lambda: Changes(self.store, self._plans, self._every)) as changes:
            yield changes

    @contextlib.asynccontextmanager
    async def _watching(self, name: str, make: Callable[[], S]) -> AsyncIterator[S]:
        self._loop = asyncio.get_running_loop()
        if name not in self._watched:
            subject = await run_in_threadpool(make)
            await run_in_threadpool(subject.look)
            if name not in self._watched:  # two came at once
                self._watched[name] = (subject, asyncio.create_task(self._poll(name, subject)), [])
        subject, task, viewers = self._watched[name]
        viewers.append(None)
        try:
            yield subject
        finally:
            viewers.pop()
            if not viewers and self._watched.get(name, (None,))[0] is subject:
                del self._watched[name]
                task.cancel()

    async def _poll(self, name: str, subject: Subject) -> None:
        """The bell rings also where there is no news for long: for sessions that have ended."""
        try:
            while True:
                if await run_in_threadpool(subject.look) or time.monotonic() > subject.bell.rung_at + CHECK:
                    subject.bell.ring()
                await subject.pause()
        except Exception:
            _log.exception("the watch over %s broke; its pages will ask for another", name)
            subject.broken = True
            self._watched.pop(name, None)
            subject.bell.ring()

    async def _tick(self) -> None:
        """Wakes the feeds of which there is news, a moment after it was written, by one look at the store for all of them."""
        before: object = None
        with contextlib.closing(await run_in_threadpool(Pulse, self.store)) as pulse:
            while True:
                try:
                    beat = await run_in_threadpool(pulse.beat)
                    if beat != before:
                        await self._wake()
                    before = beat
                except Exception:
                    _log.exception("whether there is news cannot be seen; each watched run looks by itself")
                    await asyncio.sleep(CHECK)
                await asyncio.sleep(TICK)

    async def _wake(self) -> None:
        feeds = dict(self._feeds)
        lasts = await run_in_threadpool(events.lasts, self.store, feeds.keys())
        stamps = {run.id: stamp(run) for run in await run_in_threadpool(runs.some, self.store, feeds.keys())}
        for run_id, feed in feeds.items():
            if lasts.get(run_id, 0) > feed.seq or stamps.get(run_id) != feed.stamp:
                feed.wake()

    @property
    def viewers(self) -> int:
        return sum(len(viewers) for _, _, viewers in self._watched.values())

    def session_ended(self) -> None:
        """From any thread: let each stream look at its session now."""
        self.lasting.look_now()
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        for subject, _, _ in list(self._watched.values()):
            subject.bell.ring()

    async def close(self) -> None:
        tasks = [task for _, task, _ in self._watched.values()] + ([self._ticker] if self._ticker else [])
        self._watched.clear()
        self._feeds.clear()
        self._ticker = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
