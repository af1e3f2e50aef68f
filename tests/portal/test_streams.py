# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The streams: from a given number on, no gap and no double, to their end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest

from portal.store import Store, accounts, runs
from portal.store.accounts import Role
from portal.store.runs import Run
from portal.web import feed
from portal.web.hub import Hub
from portal.web.lasting import Lasting
from portal.web.streams import change_messages, run_messages
from tests.support.portal import Event, Portal, failback, resource, timed

Message = dict[str, Any]


@pytest.fixture
def run(portal: Portal) -> Run:
    return portal.request("failback")


@pytest.fixture
def streams(portal: Portal) -> Hub:
    found: Hub = portal.app.state.desk.hub
    return found


async def lasts() -> bool:
    return True


def numbered(count: int) -> list[Event]:
    return timed([resource(f"r{number}", "Validated") for number in range(count)])


async def first(messages: AsyncIterator[bytes | Message], count: int) -> list[Message]:
    found: list[Message] = []
    async with contextlib.aclosing(messages):  # type: ignore[type-var]
        async for part in messages:
            found += [part] if isinstance(part, dict) else read(part)
            if len(found) >= count:
                break
    return found[:count]


def read(part: bytes) -> list[Message]:
    """The messages of a piece of the stream; several events may come in one."""
    whole = [text for text in part.decode().split("\r\n\r\n") if text]
    return [dict(field.split(": ", 1) for field in text.split("\r\n")) for text in whole]


async def joined(streams: Hub, viewers: int) -> None:
    while streams.viewers < viewers:
        await asyncio.sleep(0)


def ids(messages: list[Message]) -> list[int]:
    return [int(message["id"]) for message in messages if message["event"] == "log"]


def sent(text: str) -> list[int]:
    return [int(line.partition(":")[2]) for line in text.splitlines() if line.startswith("id:")]


def test_a_run_that_has_ended(portal: Portal, run: Run) -> None:
    portal.tell(run, numbered(5))
    portal.finish(run)
    client = portal.client(Role.viewer)
    answer = client.get(f"/runs/{run.id}/stream")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert sent(answer.text) == [1, 2, 3, 4, 5]
    assert answer.text.rstrip().endswith("event: end\r\ndata: over")
    assert sent(client.get(f"/runs/{run.id}/stream?after=3").text) == [4, 5]


def test_a_browser_that_comes_back_goes_on_where_it_was(portal: Portal, run: Run) -> None:
    portal.tell(run, numbered(5))
    portal.finish(run)
    answer = portal.client(Role.viewer).get(f"/runs/{run.id}/stream?after=1", headers={"Last-Event-ID": "4"})
    assert sent(answer.text) == [5]


@pytest.mark.parametrize("number", ["-1", "x", "1e3", "٣", "9" * 20])
def test_a_number_that_is_none(portal: Portal, run: Run, number: str) -> None:
    assert portal.client(Role.viewer).get(f"/runs/{run.id}/stream", params={"after": number}).status_code == 400


def test_no_stream_without_session_or_run(portal: Portal, run: Run) -> None:
    assert portal.client(None).get(f"/runs/{run.id}/stream").status_code == 401
    assert portal.client(None).get("/stream").status_code == 401
    assert portal.client(Role.viewer).get("/runs/nothing/stream").status_code == 404


def test_viewers_at_different_places_see_everything_once(portal: Portal, run: Run, streams: Hub) -> None:
    portal.tell(run, numbered(3))

    async def watch() -> list[list[int]]:
        watching = [asyncio.create_task(first(run_messages(streams, run.id, after, lasts), 20 - after)) for after in (0, 2, 3)]
        for _ in range(17):
            portal.tell(run, numbered(1))
            await asyncio.sleep(0)
        return [ids(await each) for each in watching]

    assert asyncio.run(watch()) == [list(range(after + 1, 21)) for after in (0, 2, 3)]


def test_one_poller_for_all_viewers_and_none_without(portal: Portal, run: Run, streams: Hub) -> None:
    async def watch() -> tuple[int, int]:
        async with streams.run(run.id) as one, streams.run(run.id) as other:
            assert one is other
            inside = len(asyncio.all_tasks())
        await asyncio.sleep(0)
        return inside, len(asyncio.all_tasks())

    assert asyncio.run(watch()) == (3, 1)  # and one that sees that something was written, for all runs


def test_who_is_far_behind_reads_the_store(portal: Portal, run: Run, streams: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "TAIL", 4)

    async def watch() -> list[int]:
        async with streams.run(run.id):
            portal.tell(run, numbered(30))
            return ids(await first(run_messages(streams, run.id, 0, lasts), 30))

    assert asyncio.run(watch()) == list(range(1, 31))


def test_a_message_to_the_run_is_told(portal: Portal, run: Run, streams: Hub) -> None:
    runs.begin(portal.store, run.id, "here-1")

    async def watch() -> list[str]:
        messages = run_messages(streams, run.id, 0, lasts)
        waiting = asyncio.create_task(first(messages, 2))
        async with streams.run(run.id):
            await joined(streams, 2)
            runs.send(portal.store, run.id, "rollback", by="otto", origin="portal")
            portal.tell(run, numbered(1))
            return sorted(message["event"] for message in await waiting)

    assert asyncio.run(watch()) == ["log", "run"]


def test_a_line_is_text_for_the_page(portal: Portal, run: Run, streams: Hub) -> None:
    portal.tell(run, timed(next(failback())))
    (message,) = asyncio.run(first(run_messages(streams, run.id, 0, lasts), 1))
    line = json.loads(message["data"])
    assert (line["seq"], line["level"], line["text"]) == (1, "info", "failback.yml begins")


def test_a_stream_ends_with_its_session(portal: Portal, run: Run, streams: Hub) -> None:
    token = portal.session(Role.viewer)

    async def watch() -> list[Message]:
        streams.lasting.enter(token)
        messages = run_messages(streams, run.id, 0, lambda: streams.lasting.lasts(token))
        waiting = asyncio.create_task(first(messages, 99))
        async with streams.run(run.id):
            accounts.logout(portal.store, token)
            streams.session_ended()
            return await asyncio.wait_for(waiting, 4)  # sooner than it looks by itself

    assert asyncio.run(watch()) == []


def test_nobody_waits_for_a_regular_look_at_the_sessions(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2000 viewers each stood still for it. What it finds is told, so that the streams ask again."""
    begun, go_on, told = threading.Event(), threading.Event(), asyncio.Event()
    token = portal.session(Role.viewer)

    def slow(store: Store, tokens: Collection[str]) -> set[str]:
        begun.set()
        assert go_on.wait(10)
        return set()

    async def watch() -> list[bool]:
        lasting = Lasting(portal.store, told.set)
        lasting.enter(token)
        lasting._due = 0.0
        found = [await lasting.lasts(token), await lasting.lasts(token)]
        go_on.set()
        await asyncio.wait_for(told.wait(), 10)
        return [*found, await lasting.lasts(token)]

    monkeypatch.setattr(accounts, "lasting", slow)
    assert asyncio.run(watch()) == [True, True, False]
    assert begun.is_set()


def test_who_is_told_of_an_ended_session_knows_whose_it_was(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a look goes on that was begun before: it did not see that."""
    begun, go_on = threading.Event(), threading.Event()
    token, real = portal.session(Role.viewer), accounts.lasting

    def slow(store: Store, tokens: Collection[str]) -> set[str]:
        found = real(store, tokens)
        begun.set()
        assert go_on.wait(10)
        return found

    async def watch() -> bool:
        lasting = Lasting(portal.store, lambda: None)
        lasting.enter(token)
        lasting._due = 0.0
        assert await lasting.lasts(token)
        assert await asyncio.to_thread(begun.wait, 10)
        accounts.logout(portal.store, token)
        lasting.look_now()
        asked = asyncio.create_task(lasting.lasts(token))
        await asyncio.sleep(0)
        go_on.set()
        return await asyncio.wait_for(asked, 10)

    monkeypatch.setattr(accounts, "lasting", slow)
    assert asyncio.run(watch()) is False


def test_streams_end_when_their_subject_breaks(portal: Portal, run: Run, streams: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    async def watch() -> list[Message]:
        waiting = asyncio.create_task(first(run_messages(streams, run.id, 0, lasts), 99))
        async with streams.run(run.id) as broken:
            await joined(streams, 2)
            monkeypatch.setattr(broken, "look", lambda: 1 / 0)
            found = await asyncio.wait_for(waiting, 4)
        async with streams.run(run.id) as another:
            assert another is not broken
        return found

    assert asyncio.run(watch()) == []


# -- hints -----------------------------------------------------------------------------------------------------


def test_hints_name_what_changed(portal: Portal, streams: Hub) -> None:
    async def watch() -> list[Message]:
        seen = streams.changes.stamp()
        messages = change_messages(streams, seen, lasts)
        waiting = asyncio.create_task(first(messages, 1))
        async with streams.all() as changes:
            assert changes.known == seen
            await joined(streams, 2)
            portal.see(state="REVERSING")
            return await asyncio.wait_for(waiting, 4)

    assert [message["data"] for message in asyncio.run(watch())] == ["plans"]


def test_what_changed_between_a_page_and_its_stream_is_told_first(portal: Portal, streams: Hub) -> None:
    seen = streams.changes.stamp()
    portal.request("replicate")
    (message,) = asyncio.run(first(change_messages(streams, seen, lasts), 1))
    assert message["data"] == "all"
    assert message["id"] == streams.changes.stamp()


def test_everything_a_page_shows_has_a_topic(portal: Portal, streams: Hub) -> None:
    stamps = [streams.changes.stamp()]

    def changed() -> bool:
        stamps.append(streams.changes.stamp())
        return stamps[-1] != stamps[-2]

    portal.worker()
    assert changed()
    run = portal.request("replicate")
    assert changed()
    runs.begin(portal.store, run.id, "here-1")
    assert changed()
    portal.finish(run)
    assert changed()
    portal.see()
    assert changed()
    assert not changed()
