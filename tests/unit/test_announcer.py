# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What is announced when, to whom, once; and the questions to owners, from the mail over their link to the answer."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from portal.booking import Booker
from portal.calendar import Calendar
from portal.plan_view import one_plan
from portal.store import Store, announcements, audit, invitations, observations
from portal.store import windows as store_windows
from portal.store.announcements import GIVEN_UP, PAUSE, Announcement
from portal.worker.announcer import Announcer
from tests.support import stores
from tests.support.portal import seen
from tests.support.windows import PEOPLE, Mails, channels, environment, mail_server, recurring, text_of, webhook

HOUR, DAY = 3600.0, 86_400.0


@dataclass
class Town:
    """An environment, its people's mailboxes and its chat, and how far its clock is ahead."""

    inventory: Path
    plan: Mapping[str, Any]
    store: Store
    mails: Mails
    chat: list[dict[str, Any]]
    ahead: float = 0.0

    def time(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic()

    def announcer(self, name: str = "here-1") -> Announcer:
        plan = self.plan

        class Known:
            def known(self) -> dict[str, Any]:
                return {"webshop": plan}

        return Announcer(self.store, self.inventory, Known(), lambda: True, threading.Event(), name)  # type: ignore[arg-type]

    def ticks(self, ahead: float | None = None, name: str = "here-1") -> None:
        self.ahead = self.ahead if ahead is None else ahead
        self.announcer(name).tick()

    def titles(self) -> list[str]:
        return [str(one["title"]).partition(": ")[2] for one in self.chat]

    def told(self) -> list[tuple[str, str, str]]:
        return sorted((one.kind, one.recipient, one.outcome) for one in announcements.lately(self.store, "webshop", 0.0))


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its window opens in two days."""
    return environment(tmp_path_factory.mktemp("town"), recurring(time.time() + 2 * DAY) + PEOPLE)


@pytest.fixture(scope="module")
def plan(inventory: Path) -> Mapping[str, Any]:
    return one_plan("webshop", inventory)


@pytest.fixture
def town(tmp_path: Path, inventory: Path, plan: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    store = stores.opened(tmp_path)
    with mail_server() as (mails, mail_port), webhook() as (chat, hook_port):
        monkeypatch.setenv("XDR_CHANNELS", str(channels(tmp_path, mail_port, hook_port)))
        made = Town(inventory, plan, store, mails, chat)
        for module in ("portal.worker.announcer", "portal.store.announcements", "portal.store.invitations", "portal.store.windows"):
            monkeypatch.setattr(f"{module}.time", made)
        observations.put(store, observations.of_plan("webshop"), seen("READY"))
        yield made
    store.close()


def test_ahead_at_the_start_and_at_the_end(town: Town) -> None:
    town.ticks()
    assert (town.chat, town.mails.got) == ([], [])
    town.ticks(DAY + 60)
    town.ticks()
    [first] = town.titles()
    assert first.startswith("maintenance window sunday-night begins ")
    town.ticks(2 * DAY - HOUR + 60)
    town.ticks(2 * DAY + 60)
    town.ticks(2 * DAY + HOUR + 60)
    town.ticks(2 * DAY + 2 * HOUR)
    assert town.titles()[1:] == [first, "maintenance window sunday-night has opened", "maintenance window sunday-night is over"]
    everywhere = [str(mail["Subject"]) for mail in town.mails.to("sales@example.com")]
    assert [subject.partition(": ")[2] for subject in everywhere if "may its services" not in subject] == town.titles()
    assert "No failback was begun in it. The plan is READY now." in town.chat[-1]["message"]
    assert "A failback of webshop begins by itself when it opens" in town.chat[0]["message"]


def test_of_a_plan_at_home_nobody_is_told(town: Town) -> None:
    observations.put(town.store, observations.of_plan("webshop"), seen("ACTIVE", "primary"))
    for ahead in (DAY + 60, 2 * DAY + 60, 2 * DAY + HOUR + 60):
        town.ticks(ahead)
    assert (town.chat, town.mails.got) == ([], [])


def test_a_worker_that_comes_late_tells_of_what_is_next_only(town: Town) -> None:
    town.ticks(2 * DAY - 600)
    assert [kind for kind, recipient, _ in town.told() if recipient == "ops"] == ["ahead-3600"]
    town.ticks(2 * DAY + 2 * HOUR)  # too late for its start
    assert [kind for kind, recipient, _ in town.told() if recipient == "ops"] == ["ahead-3600", "end"]


@pytest.mark.parametrize("outcome", ["started", "skipped", "missed", "cancelled"])
def test_what_became_of_it(town: Town, outcome: str) -> None:
    found = town.plan
    town.ticks(DAY + 60)
    coming = Calendar.read(town.store, found, town.time()).coming(town.time())
    assert coming
    store_windows.note(
        town.store, coming.became(outcome, "dora", "run 77" if outcome == "started" else "the shop stays open", 0.0), origin="x"
    )
    with town.store.writing() as connection:
        connection.execute(store_windows.outcomes.update().values(at=town.time()))
    town.ticks(2 * DAY + 10)
    said = {"started": "has opened", "skipped": "was skipped", "missed": "was missed", "cancelled": "is cancelled"}[outcome]
    assert town.titles()[1:] == [f"maintenance window sunday-night {said}"]
    assert ("run 77" if outcome == "started" else "the shop stays open") in town.chat[-1]["message"]
    town.ticks(2 * DAY + 2 * HOUR)
    assert town.titles()[2:] == (["maintenance window sunday-night is over"] if outcome == "started" else [])


def test_of_a_cancelled_window_those_are_told_who_knew_of_it(town: Town) -> None:
    found = town.plan
    coming = Calendar.read(town.store, found, town.time()).coming(town.time())
    assert coming
    Booker(town.store, "dora", "portal").ask(found, coming.key, town.time())
    town.ticks()
    Booker(town.store, "dora", "portal").cancel(found, coming.key, "no", town.time())
    town.ticks()
    subjects = {address: [str(mail["Subject"]) for mail in town.mails.to(f"{address}@example.com")] for address in ("anna", "sales")}
    assert [len(each) for each in subjects.values()] == [2, 2]  # the question, and that it is cancelled
    assert all("is cancelled" in each[1] for each in subjects.values())
    assert town.chat == []


# -- once ------------------------------------------------------------------------------------------------------


def test_several_workers_send_each_message_once(town: Town) -> None:
    town.ahead = DAY + 60
    together = threading.Barrier(3)

    def look(name: str) -> None:
        one = town.announcer(name)
        together.wait(20)
        one.tick()

    threads = [threading.Thread(target=look, args=(f"here-{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(town.chat) == 1
    assert sorted(recipients[0] for recipients, _ in town.mails.got) == ["anna@example.com"] * 2 + ["sales@example.com"] * 2
    assert {outcome for _, _, outcome in town.told()} == {"sent"}


def test_one_whose_worker_died_is_not_sent_again(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    town.ahead = DAY + 60
    coming = Calendar.read(town.store, town.plan, town.time()).coming(town.time())
    assert coming
    assert announcements.claim(town.store, Announcement("webshop", coming.key, "ahead-86400", "ops"), "dead-1", town.time())
    town.ticks()
    assert ("ahead-86400", "ops", "sending") in town.told()  # it may just take its time
    town.ticks(DAY + 60 + GIVEN_UP + 1)
    assert ("ahead-86400", "ops", "unknown") in town.told()
    assert town.chat == []
    assert "to ops: it may not have arrived" in caplog.text


def test_what_did_not_go_out_is_tried_again_later(town: Town) -> None:
    town.mails.refuses = True
    town.ticks(DAY + 60)
    assert ("ahead-86400", "anna", "failed") in town.told()
    town.mails.refuses = False
    town.ticks()
    assert town.mails.got == []  # not at once
    town.ticks(DAY + 60 + PAUSE + 1)
    assert {outcome for _, _, outcome in town.told()} == {"sent"}
    assert len(town.chat) == 1


def test_a_channel_that_is_not_there_is_told_on_the_page(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDR_CHANNELS", "/nowhere.yml")
    town.ticks(DAY + 60)
    assert {outcome for _, _, outcome in town.told()} == {"failed"}
    [one, *_] = announcements.lately(town.store, "webshop", 0.0)
    assert "there is no channel" in one.detail


# -- questions ---------------------------------------------------------------------------------------------------


def test_owners_and_stakeholders_are_asked_by_a_link_of_their_own(town: Town) -> None:
    town.ticks(DAY + 60)
    town.ticks()
    links = {}
    for name in ("anna", "sales"):
        [question] = [mail for mail in town.mails.to(f"{name}@example.com") if "may its services be interrupted" in str(mail["Subject"])]
        found = re.search(r"http://portal\.example\.com/answer/(\S{40,})", text_of(question))
        assert found
        links[name] = found[1]
    asked = {one.name: one for one in invitations.of(town.store, ["webshop"], 0.0)}
    assert sorted(asked) == ["Anna Weber", "Ben Koch", "Sales"]  # Ben has no channel: he is asked on the page
    assert links["anna"] not in str(asked)
    anna = invitations.by_token(town.store, links["anna"])
    assert anna == asked["Anna Weber"]
    invitations.answer(town.store, anna, "object", " we count\nthe stock ", by="Anna Weber", via="link", origin="portal 192.0.2.1")
    calendar = Calendar.read(town.store, town.plan, town.time())
    coming = calendar.coming(town.time())
    assert coming
    assert calendar.consent(coming).told == "Anna Weber objects: we count the stock"
    entry = audit.latest(town.store, 1)[0]
    assert (entry.who, entry.action, entry.detail) == ("Anna Weber", "window object", "Anna Weber: we count the stock")


def test_no_token_is_in_the_store(town: Town, tmp_path: Path) -> None:
    town.ticks(DAY + 60)
    text = text_of(next(mail for mail in town.mails.to("anna@example.com") if "interrupted" in str(mail["Subject"])))
    token = text.rpartition("/answer/")[2].strip()
    assert len(token) > 40
    assert all(token.encode() not in file.read_bytes() for file in tmp_path.glob("xdr.sqlite*"))
    assert all(b"mailto" not in file.read_bytes() for file in tmp_path.glob("xdr.sqlite*"))
