# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The events of one run on their way to its viewers: read once and framed once, however many there are."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from sse_starlette import ServerSentEvent

from ..events import Event
from ..store import Store, events, runs
from ..store.runs import Run
from .bell import Bell
from .lines import Names, line

TAIL = 2000  # events of a run in memory; who is further behind reads the store
LATE = 2.0  # seconds after which it looks, though nobody said that there is news


def frame(event: str, data: str, number: str | None = None) -> bytes:
    return ServerSentEvent(data, event=event, id=number).encode()


def framed(batch: Iterable[Event], known: Names) -> list[bytes]:
    """Each event as a message ``log`` with its number."""
    return [frame("log", json.dumps(line(event, known).to_json()), str(event["seq"])) for event in batch]


@dataclass(frozen=True)
class News:
    """Never changed, only replaced: the loop reads it while a thread makes the next one.

    ``frames``: the last of those up to the number ``seq``, which has no gap; ``batch``: in one piece, those after the number ``since``.
    """

    seq: int
    frames: list[bytes]
    since: int
    batch: bytes

    def after(self, seq: int) -> bytes | None:
        """What came after the number, that is not greater than ``seq``; None where that is not in memory any more."""
        if seq == self.since:
            return self.batch
        missing = self.seq - seq
        return b"".join(self.frames[-missing:]) if missing <= len(self.frames) else None


class RunFeed:
    """``seq``: of the newest event; ``stamp`` changes with the row of the run; ``over``: nothing more will come; ``known``: the names of
    the plan as its first viewer came, by which lines tell what they are about."""

    def __init__(self, store: Store, run_id: str, known: Names | None = None) -> None:
        self.bell, self.broken = Bell(), False
        self.store, self.run_id, self.known = store, run_id, known or {}
        last = events.last(store, run_id)
        self.news = News(last, [], last, b"")
        self.stamp = ""
        self.over = False
        self._woken = asyncio.Event()

    @property
    def seq(self) -> int:
        return self.news.seq

    def look(self) -> bool:
        """Read the store, in a thread; whether there is news."""
        run = runs.get(self.store, self.run_id)
        batch = events.after(self.store, self.run_id, self.seq)
        before = (self.seq, self.stamp, self.over)
        if batch:
            frames = framed(batch, self.known)
            self.news = News(batch[-1]["seq"], [*self.news.frames, *frames][-TAIL:], self.seq, b"".join(frames))
        self.stamp = stamp(run)
        self.over = run.ended and not batch  # the row was read first: what came before its end is here
        return (self.seq, self.stamp, self.over) != before

    def read(self, seq: int) -> tuple[int, bytes]:
        """In a thread, for who is far behind: some of what came after the number, and the number that it reaches."""
        batch = events.after(self.store, self.run_id, seq)
        return (batch[-1]["seq"] if batch else seq), b"".join(framed(batch, self.known))

    def wake(self) -> None:
        """There is news of its run."""
        self._woken.set()

    async def pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), LATE)
        self._woken.clear()


def stamp(run: Run) -> str:
    return f"{run.status} {run.message} {run.attempts} {run.worker}"
