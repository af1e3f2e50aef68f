# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Many viewers of one run's stream, in a process of their own: ``python -m portal.bench.watchers``.

A line of JSON comes in: ``{"port", "path", "cookies": […], "after", "last", "seconds"}``, one viewer for each cookie. The first line that
goes out has how many are connected; the second, once all have the event with the number ``last`` or the seconds are over:
``{"arrived": {number: [when each viewer had it, Unix seconds]}, "lost", "doubled", "left"}``.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any

import uvloop

AT_ONCE = 100  # connections that are made side by side
NUMBER = re.compile(rb"^id: ?(\d+)\r?$", re.MULTILINE)


class Crowd:
    """``arrived``: by the event's number, when each viewer had it. ``left``: viewers whose connection ended."""

    def __init__(self, after: int, last: int) -> None:
        self.after, self.last = after, last
        self.arrived: dict[int, list[float]] = {number: [] for number in range(after + 1, last + 1)}
        self.lost = self.doubled = self.left = self.done = 0
        self.viewers = 0
        self.over = asyncio.Event()

    def finished(self) -> None:
        self.done += 1
        if self.done >= self.viewers:
            self.over.set()


class Viewer(asyncio.Protocol):
    def __init__(self, crowd: Crowd, request: bytes) -> None:
        self._crowd, self._request = crowd, request
        self.ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._rest = b""
        self.seq = crowd.after
        self._done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        now = time.time()
        if not self.ready.done():
            self._rest += data
            if b"\r\n\r\n" not in self._rest:
                return
            head, _, data = self._rest.partition(b"\r\n\r\n")
            self._rest = b""
            self.ready.set_result(b" 200 " in head.partition(b"\r\n")[0])
        self._take(data, now)

    def _take(self, data: bytes, now: float) -> None:
        """A line may come in two pieces."""
        whole, end, self._rest = (self._rest + data).rpartition(b"\n")
        for found in NUMBER.finditer(whole + end):
            self._event(int(found[1]), now)

    def _event(self, seq: int, now: float) -> None:
        crowd = self._crowd
        if seq <= self.seq:
            crowd.doubled += 1
            return
        crowd.lost += seq - self.seq - 1
        self.seq = seq
        if seq in crowd.arrived:
            crowd.arrived[seq].append(now)
        if seq >= crowd.last and not self._done:
            self._done = True
            crowd.finished()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_result(False)
        if not self._done:
            self._done = True
            self._crowd.left += 1
            self._crowd.lost += self._crowd.last - self.seq
            self._crowd.finished()

    def end(self) -> None:
        """What it has not got by now is lost."""
        if not self._done:
            self._done = True
            self._crowd.lost += self._crowd.last - self.seq


async def watch(order: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    crowd = Crowd(order["after"], order["last"])
    crowd.viewers = len(order["cookies"])
    viewers: list[Viewer] = []
    for at in range(0, crowd.viewers, AT_ONCE):
        some = [_connect(loop, crowd, order, cookie) for cookie in order["cookies"][at : at + AT_ONCE]]
        viewers += [viewer for viewer in await asyncio.gather(*some) if viewer]
    _say(sum([await viewer.ready for viewer in viewers]))
    try:
        await asyncio.wait_for(crowd.over.wait(), order["seconds"])
    except TimeoutError:
        for viewer in viewers:
            viewer.end()
    _say({"arrived": crowd.arrived, "lost": crowd.lost, "doubled": crowd.doubled, "left": crowd.left})


async def _connect(loop: asyncio.AbstractEventLoop, crowd: Crowd, order: dict[str, Any], cookie: str) -> Viewer | None:
    request = f"GET {order['path']} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nCookie: {cookie}\r\n\r\n".encode()
    try:
        _, viewer = await loop.create_connection(lambda: Viewer(crowd, request), "127.0.0.1", order["port"])
    except OSError:
        crowd.viewers -= 1
        return None
    await viewer.ready
    return viewer


def _say(document: object) -> None:
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    uvloop.run(watch(json.loads(sys.stdin.readline())))
