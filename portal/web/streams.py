# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The streams of the pages, as Server-Sent Events: a run's log with its numbers, and hints of what else changed."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..store import accounts, runs
from ..store.accounts import Role
from . import hub
from .desk import desk
from .hub import Hub, rung
from .lines import Names, line, names
from .visit import COOKIE, ROLES, session_of, to_login

Message = dict[str, Any]
Watch = Callable[[], Awaitable[bool]]
SLOWEST = 30.0  # seconds in which a browser must take a message
BEAT = 5  # seconds between two signs of life: a page that hears none for long knows that its stream is down


class Guard:
    """Whether the viewer's session still lasts; asked often, looked up seldom."""

    def __init__(self, streams: Hub, token: str) -> None:
        self._hub, self._token = streams, token
        self._looked, self._sessions = time.monotonic(), streams.sessions

    async def __call__(self) -> bool:
        now = time.monotonic()
        if now - self._looked < hub.CHECK and self._sessions == self._hub.sessions:
            return True
        self._looked, self._sessions = now, self._hub.sessions
        return await run_in_threadpool(lambda: accounts.session(self._hub.store, self._token, used=False)) is not None


async def run_messages(streams: Hub, run_id: str, seq: int, lasts: Watch, known: Names | None = None) -> AsyncIterator[Message]:
    """Each event after the number as ``log``, ``run`` when the run's row changed, and ``end`` when nothing more will come."""
    async with streams.run(run_id) as feed:
        stamp = feed.stamp
        while await lasts() and not feed.broken:
            bell, over = feed.bell.next, feed.over
            batch = await run_in_threadpool(feed.after, seq)
            for event in batch:
                seq = event["seq"]
                yield {"event": "log", "id": str(seq), "data": json.dumps(line(event, known).to_json())}
            if feed.stamp != stamp:
                stamp = feed.stamp
                yield {"event": "run", "data": stamp}
            if batch:
                continue
            if over:
                yield {"event": "end", "data": "over"}
                return
            await rung(bell, hub.CHECK)


async def change_messages(streams: Hub, seen: str, lasts: Watch) -> AsyncIterator[Message]:
    """A hint with the topics that changed; after a page's own stamp first, so that nothing falls between the two."""
    async with streams.all() as changes:
        topics = changes.topics
        if seen != changes.known:
            yield {"event": "hint", "id": changes.known, "data": "all"}
        while await lasts() and not changes.broken:
            bell, now = changes.bell.next, changes.topics
            changed = [topic for topic, digest in now.items() if topics.get(topic) != digest]
            topics = now
            if changed:
                yield {"event": "hint", "id": changes.known, "data": " ".join(changed)}
            else:
                await rung(bell, hub.CHECK)


async def of_run(request: Request) -> Response:
    session = await session_of(request)
    if session is None:
        return _ended(request)
    run_id, seq = request.path_params["run"], _number(request)
    try:
        run = await run_in_threadpool(runs.get, desk(request).store, run_id)
    except XdrError as error:
        raise HTTPException(404, error.sentence()) from None
    known = await run_in_threadpool(lambda: names(desk(request).inventory.plans.get(run.plan)))
    return _stream(request, lambda streams, guard: run_messages(streams, run_id, seq, guard, known))


async def of_changes(request: Request) -> Response:
    if await session_of(request) is None:
        return _ended(request)
    seen = request.headers.get("Last-Event-ID") or request.query_params.get("seen", "")
    return _stream(request, lambda streams, guard: change_messages(streams, seen, guard))


ROLES[of_run] = ROLES[of_changes] = Role.viewer


def _stream(request: Request, messages: Callable[[Hub, Guard], AsyncIterator[Message]]) -> Response:
    streams = desk(request).hub
    guard = Guard(streams, request.cookies.get(COOKIE, ""))
    return EventSourceResponse(messages(streams, guard), send_timeout=SLOWEST, ping=BEAT, ping_message_factory=_beat)


def _beat() -> ServerSentEvent:
    return ServerSentEvent(event="beat", data="")


def _ended(request: Request) -> Response:
    """An EventSource cannot follow to the login page; with this it gives up, and its page finds out."""
    return to_login(request) if "text/html" in request.headers.get("Accept", "") else Response(status_code=401)


def _number(request: Request) -> int:
    """After which event the stream begins: what a browser had when its connection broke, else what the page was rendered with."""
    text = request.headers.get("Last-Event-ID") or request.query_params.get("after") or "0"
    if not text.isascii() or not text.isdecimal() or len(text) > 12:
        raise HTTPException(400, "after and Last-Event-ID are the number of an event")
    return int(text)
