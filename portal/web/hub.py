# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What changes, looked for by one task for each subject, however many pages watch it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Protocol, TypeVar

from starlette.concurrency import run_in_threadpool

from ..events import Event
from ..store import Store, events, observations, runs, workers

EVERY = 0.3  # seconds between two looks at what somebody watches
TAIL = 2000  # events of a run in memory; who is further behind reads the store
LISTED = 20  # runs whose changes are told: the newest
CHECK = 5.0  # seconds after which a viewer's session is looked at again
_log = logging.getLogger("uvicorn.error")


class Bell:
    """Wakes everybody who waits for it at that moment."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        before, self._event = self._event, asyncio.Event()
        before.set()

    @property
    def next(self) -> asyncio.Event:
        """Take it before looking for news, wait for it where there were none."""
        return self._event


class Subject(Protocol):
    bell: Bell
    broken: bool
    every: float

    def look(self) -> bool:
        """Read the store, in a thread; whether there is news."""
        ...


S = TypeVar("S", bound=Subject)


class RunFeed:
    """The events of one run."""

    def __init__(self, store: Store, run_id: str, every: float = EVERY) -> None:
        self.bell, self.broken, self.every = Bell(), False, every
        self.store, self.run_id = store, run_id
        self.seq = events.last(store, run_id)
        self.tail: list[Event] = []  # never changed, only replaced: other threads read it
        self.stamp = ""  # changes with the row of the run
        self.over = False

    def look(self) -> bool:
        run = runs.get(self.store, self.run_id)
        batch = events.after(self.store, self.run_id, self.seq)
        before = (self.seq, self.stamp, self.over)
        self.tail = [*self.tail, *batch][-TAIL:] if batch else self.tail
        self.seq = batch[-1]["seq"] if batch else self.seq
        self.stamp = f"{run.status} {run.message} {run.attempts} {run.worker}"
        self.over = run.ended and not batch  # the row was read first: what came before its end is here
        return (self.seq, self.stamp, self.over) != before

    def after(self, seq: int) -> list[Event]:
        """In a thread: what came after the number."""
        tail = self.tail
        if seq >= self.seq:
            return []
        if tail and tail[0]["seq"] <= seq + 1:
            return [event for event in tail if event["seq"] > seq]
        return events.after(self.store, self.run_id, seq)


class Changes:
    """What the other pages show: plans, sites, runs and the worker."""

    def __init__(self, store: Store, inventory_plans: Callable[[], Iterable[str]], every: float = EVERY) -> None:
        self.bell, self.broken, self.every = Bell(), False, every
        self.store, self._plans = store, inventory_plans
        self.topics: dict[str, str] = {}

    def look(self) -> bool:
        before, self.topics = self.topics, self._topics()
        return self.topics != before

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
        self._watched: dict[str, tuple[Any, asyncio.Task[None], list[None]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.sessions = 0  # grows when a session was ended

    @contextlib.asynccontextmanager
    async def run(self, run_id: str) -> AsyncIterator[RunFeed]:
        def make() -> RunFeed:
            return RunFeed(self.store, run_id, self._every)

        async with self._watching(f"run {run_id}", make) as feed:
            yield feed

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
        try:
            while True:
                if await run_in_threadpool(subject.look):
                    subject.bell.ring()
                await asyncio.sleep(subject.every)
        except Exception:
            _log.exception("the watch over %s broke; its pages will ask for another", name)
            subject.broken = True
            self._watched.pop(name, None)
            subject.bell.ring()

    @property
    def viewers(self) -> int:
        return sum(len(viewers) for _, _, viewers in self._watched.values())

    def session_ended(self) -> None:
        """From any thread: let each stream look at its session now."""
        self.sessions += 1
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        for subject, _, _ in list(self._watched.values()):
            subject.bell.ring()

    async def close(self) -> None:
        tasks = [task for _, task, _ in self._watched.values()]
        self._watched.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def rung(bell: asyncio.Event, seconds: float) -> None:
    """Wait for the bell, but not for ever."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(bell.wait(), seconds)
