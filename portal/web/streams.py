# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The streams of the pages, as Server-Sent Events: a run's log with its numbers, and hints of what else changed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from ..store import runs
from ..store.accounts import Role
from .desk import desk
from .feed import frame
from .hub import Hub
from .lines import Names, names
from .visit import COOKIE, ROLES, session_of, to_login

Message = dict[str, Any]
Watch = Callable[[], Awaitable[bool]]
BEAT = 5  # seconds between two signs of life: a page that hears none for long knows that its stream is down


async def run_messages(streams: Hub, run_id: str, seq: int, lasts: Watch, known: Names | None = None) -> AsyncGenerator[bytes, None]:
    """Each event after the number as ``log``, ``run`` when the run's row changed, and ``end`` when nothing more will come."""
    async with streams.run(run_id, known) as feed:
        stamp = feed.stamp
        while await lasts() and not feed.broken:
            bell, over, news = feed.bell.next, feed.over, feed.news
            if behind := seq < news.seq:
                chunk = news.after(seq)
                seq, found = await run_in_threadpool(feed.read, seq) if chunk is None else (news.seq, chunk)
                yield found
            if feed.stamp != stamp:
                stamp = feed.stamp
                yield frame("run", stamp)
            if over and not behind:
                yield frame("end", "over")
                return
            if seq >= news.seq and not over:
                await bell  # what came while the viewer took its part has rung it


async def change_messages(streams: Hub, seen: str, lasts: Watch) -> AsyncGenerator[Message, None]:
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
                await bell


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
    return _stream(request, lambda streams, lasts: run_messages(streams, run_id, seq, lasts, known))


async def of_changes(request: Request) -> Response:
    if await session_of(request) is None:
        return _ended(request)
    seen = request.headers.get("Last-Event-ID") or request.query_params.get("seen", "")
    return _stream(request, lambda streams, lasts: change_messages(streams, seen, lasts))


ROLES[of_run] = ROLES[of_changes] = Role.viewer


Messages = Callable[[Hub, Watch], AsyncGenerator[bytes, None] | AsyncGenerator[Message, None]]


def _stream(request: Request, messages: Messages) -> Response:
    streams, token = desk(request).hub, request.cookies.get(COOKIE, "")
    return Stream(_guarded(streams, token, messages), ping=BEAT, ping_message_factory=_beat)


def _beat() -> ServerSentEvent:
    return ServerSentEvent(event="beat", data="")


class Stream(EventSourceResponse):
    async def _send_with_timeout(self, send: Send, message: MutableMapping[str, Any]) -> None:
        """Without a timer, which would take longer than the message. What a browser does not take waits in its connection, which is full at
        64 KiB: then the run is not read for it any further."""
        await send(message)


async def _guarded(streams: Hub, token: str, messages: Messages) -> AsyncGenerator[bytes | Message, None]:
    """The messages while the viewer's session lasts."""
    streams.lasting.enter(token)
    try:
        async with contextlib.aclosing(messages(streams, lambda: streams.lasting.lasts(token))) as found:
            async for message in found:
                yield message
    finally:
        streams.lasting.leave(token)


def _ended(request: Request) -> Response:
    """An EventSource cannot follow to the login page; with this it gives up, and its page finds out."""
    return to_login(request) if "text/html" in request.headers.get("Accept", "") else Response(status_code=401)


def _number(request: Request) -> int:
    """After which event the stream begins: what a browser had when its connection broke, else what the page was rendered with."""
    text = request.headers.get("Last-Event-ID") or request.query_params.get("after") or "0"
    if not text.isascii() or not text.isdecimal() or len(text) > 12:
        raise HTTPException(400, "after and Last-Event-ID are the number of an event")
    return int(text)
