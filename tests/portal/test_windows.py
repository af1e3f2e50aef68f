# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The pages of the maintenance windows, the buttons outside of them, and the page behind a link, which needs no login."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import icalendar
import pytest
from starlette.testclient import TestClient

from portal.booking import Booker
from portal.calendar import Calendar
from portal.occurrences import Occurrence
from portal.plan_view import one_plan
from portal.store import accounts, audit, invitations, runs, windows
from portal.store.accounts import Role
from portal.store.invitations import Invitation
from tests.support.portal import CHEAP, Portal, filled
from tests.support.stores import opened
from tests.support.windows import BERLIN, PEOPLE, environment, recurring

HOUR, DAY = 3600.0, 86_400.0
PAGE = "/plans/webshop/windows"


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its window opens in two days."""
    return environment(tmp_path_factory.mktemp("windows"), recurring(time.time() + 2 * DAY) + PEOPLE)


@pytest.fixture(scope="module")
def plan(inventory: Path) -> Mapping[str, Any]:
    return one_plan("webshop", inventory)


@pytest.fixture
def house(tmp_path: Path, inventory: Path, monkeypatch: pytest.MonkeyPatch) -> Portal:
    monkeypatch.setattr(accounts, "_HASHER", CHEAP)
    made = Portal(tmp_path, inventory, users=False, store=opened(tmp_path, filled))
    made.see()
    return made


def post(house: Portal, client: TestClient, path: str, **fields: str) -> Any:
    return client.post(path, data=house.form(client, **fields))


def key_of(house: Portal, plan: Mapping[str, Any]) -> str:
    coming = Calendar.read(house.store, plan, time.time()).coming(time.time())
    assert coming
    return coming.key


def text(answer: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())


# -- the buttons -------------------------------------------------------------------------------------------------


def test_outside_the_windows_an_operator_sees_why_and_when(house: Portal) -> None:
    client = house.client(Role.operator)
    shown = text(client.get("/plans/webshop"))
    assert "SCHEDULED" in shown
    assert "⊘ No maintenance window is open; the next is sunday-night: " in shown
    assert "The failback begins by itself when window sunday-night opens" in shown
    answer = post(house, client, "/plans/webshop/failback", confirm="webshop")
    assert answer.status_code == 409
    assert "No maintenance window is open" in answer.text
    overridden = post(house, client, "/plans/webshop/failback", confirm="webshop", override_window="I am in a hurry")
    assert overridden.status_code in (403, 409)
    assert runs.latest(house.store) == []
    check = post(house, client, "/plans/webshop/failback", check="1")
    assert check.status_code == 303  # it changes nothing


def test_a_dr_admin_overrides_them_with_a_reason(house: Portal) -> None:
    client = house.client(Role.dr_admin)
    assert "Why can it not wait?" in client.get("/plans/webshop").text
    assert post(house, client, "/plans/webshop/failback", confirm="webshop").status_code == 409
    answer = post(house, client, "/plans/webshop/failback", confirm="webshop", override_window=" the DR site\nburns ")
    assert answer.status_code == 303
    [run] = runs.latest(house.store)
    assert run.arguments == {"override_window": "the DR site burns"}
    entry = audit.latest(house.store, 1)[0]
    assert (entry.who, entry.outcome, "override_window: the DR site burns" in entry.detail) == ("dora", "done", True)
    assert "outside of the maintenance windows: “the DR site burns”" in text(client.get(f"/runs/{run.id}"))
    assert f"run {run.id}" in entry.detail


def test_an_operator_who_forges_the_field_is_refused(house: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The button's own check comes first; this is the second lock."""
    monkeypatch.setattr("portal.web.plan_facts.PlanFacts.outside", "")
    client = house.client(Role.operator)
    answer = post(house, client, "/plans/webshop/failback", confirm="webshop", override_window="me")
    assert answer.status_code == 403
    assert "takes the role dr-admin" in answer.text
    assert runs.latest(house.store) == []


def test_in_a_window_the_button_goes_and_its_end_counts(house: Portal, plan: Mapping[str, Any]) -> None:
    now = datetime.fromtimestamp(time.time(), BERLIN).strftime("%Y-%m-%dT%H:%M")
    made = Booker(house.store, "dora", "portal").add(plan, now, "2h", "Europe/Berlin", "now", time.time())
    client = house.client(Role.operator)
    assert f"{made.name} is open until" in text(client.get("/plans/webshop"))
    assert post(house, client, "/plans/webshop/failback", confirm="webshop").status_code == 303
    [run] = runs.latest(house.store)
    assert (run.arguments["window"]["until"], run.arguments["occurrence"]) == (made.end, made.key)


# -- the pages ---------------------------------------------------------------------------------------------------


def test_a_window_is_added_and_cancelled(house: Portal) -> None:
    client = house.client(Role.operator)
    start = datetime.fromtimestamp(time.time() + 3 * DAY, BERLIN).strftime("%Y-%m-%dT%H:%M")
    assert post(house, client, f"{PAGE}/add", start=start, duration="2h", zone="Europe/Berlin", reason="new disks").status_code == 303
    shown = text(client.get(PAGE))
    assert "new disks" in shown
    [key] = re.findall(r"once-1@\w+", client.get(PAGE).text)[:1]
    assert "needs a reason" in post(house, client, f"{PAGE}/cancel", window=key, reason=" ").text
    assert post(house, client, f"{PAGE}/cancel", window=key, reason="no disks").status_code == 303
    assert "otto : no disks" in text(client.get(PAGE)) or "otto: no disks" in text(client.get(PAGE))
    assert post(house, client, f"{PAGE}/cancel", window=key, reason="again").status_code == 409
    assert "once-1" in client.get("/windows").text


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ({"start": "x", "duration": "2h", "zone": "UTC"}, 400, "a local date and time"),
        ({"start": "", "duration": "", "zone": ""}, 400, "a local date and time"),
        ({"start": "soon", "duration": "2h", "zone": "Europe/Berlin"}, 403, "takes the role dr-admin"),
    ],
)
def test_a_window_that_cannot_be_added(house: Portal, fields: dict[str, str], status: int, told: str) -> None:
    client = house.client(Role.operator)
    if fields["start"] == "soon":
        fields = {**fields, "start": datetime.fromtimestamp(time.time() + HOUR, BERLIN).strftime("%Y-%m-%dT%H:%M")}
    answer = post(house, client, f"{PAGE}/add", **fields)
    assert (answer.status_code, told in answer.text) == (status, True)
    assert f'value="{fields["duration"]}"' in answer.text  # what was typed is not lost
    assert audit.latest(house.store, 1)[0].outcome == "refused"


@pytest.mark.parametrize(
    ("state", "outcome", "noticed"), [("READY", "missed", True), ("READY", "started", False), ("ACTIVE", "missed", False)]
)
def test_a_window_that_was_missed_is_noticed(house: Portal, state: str, outcome: str, noticed: bool) -> None:
    began = time.time() - 2 * DAY
    missed = Occurrence("webshop", "sunday-night", began, began + HOUR, "Europe/Berlin")
    windows.note(house.store, missed.became(outcome, "the worker", "nobody was there", time.time()), origin="window")
    house.see(state=state)
    client = house.client(Role.viewer)
    assert (
        f"Maintenance window sunday-night ({missed.told}) was {outcome}: nobody was there." in text(client.get("/plans/webshop"))
    ) == noticed
    assert "nobody was there" in text(client.get(PAGE))


def test_the_calendar_file(house: Portal, plan: Mapping[str, Any]) -> None:
    for path in (f"{PAGE}.ics", "/windows.ics"):
        answer = house.client(Role.viewer).get(path)
        assert answer.headers["Content-Type"].startswith("text/calendar")
        uids = [str(event["uid"]) for event in icalendar.Calendar.from_ical(answer.content).walk("VEVENT")]
        assert f"{key_of(house, plan)}.webshop@xdr" in uids


# -- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "name", "status"),
    [
        (Role.operator, "Anna Weber", 303),  # otto is her user
        (Role.operator, "Ben Koch", 403),
        (Role.viewer, "Anna Weber", 403),
        (Role.dr_admin, "Ben Koch", 303),  # noted down for him
        (Role.dr_admin, "Nobody", 400),
    ],
)
def test_who_answers_on_the_page(house: Portal, plan: Mapping[str, Any], role: Role, name: str, status: int) -> None:
    client, key = house.client(role), key_of(house, plan)
    answer = post(house, client, f"{PAGE}/answer", window=key, name=name, answer="approve", text="")
    assert answer.status_code == status
    said = [(one.name, one.answer, one.via) for one in invitations.of(house.store, ["webshop"], 0.0)]
    assert said == ([(name, "approve", "page")] if status == 303 else [])


def asked(house: Portal, plan: Mapping[str, Any], name: str = "Anna Weber") -> tuple[str, Invitation]:
    """The token of the link that somebody got."""
    Booker(house.store, "dora", "portal").ask(plan, key_of(house, plan), time.time())
    [one] = [each for each in invitations.of(house.store, ["webshop"], 0.0) if each.name == name]
    return invitations.again(house.store, one), one


def answer_of(house: Portal, name: str = "Anna Weber") -> tuple[str, str]:
    [one] = [each for each in invitations.of(house.store, ["webshop"], 0.0) if each.name == name]
    return one.answer, one.text


def test_a_link_shows_and_only_a_post_answers(house: Portal, plan: Mapping[str, Any]) -> None:
    token, _ = asked(house, plan)
    stranger = house.client(None)
    for _ in range(2):
        shown = stranger.get(f"/answer/{token}")
        assert "May the services of webshop be interrupted?" in shown.text
        assert answer_of(house) == ("", "")
    assert shown.headers["Cache-Control"] == "no-store"
    refused = stranger.post(f"/answer/{token}", data={"answer": "object", "text": ""})
    assert (refused.status_code, "an objection needs a reason" in refused.text) == (400, True)
    assert stranger.post(f"/answer/{token}", data={"answer": "maybe"}).status_code == 400
    given = stranger.post(f"/answer/{token}", data={"answer": "object", "text": "<b>stock</b>"})
    assert "“&lt;b&gt;stock&lt;/b&gt;”" in given.text
    assert answer_of(house) == ("object", "<b>stock</b>")
    assert "Anna Weber objects" in text(house.client(Role.viewer).get(PAGE))
    stranger.post(f"/answer/{token}", data={"answer": "approve"})
    assert answer_of(house) == ("approve", "")  # the last answer counts
    assert audit.latest(house.store, 1)[0].who == "Anna Weber"


def test_a_link_of_before_is_dead(house: Portal, plan: Mapping[str, Any]) -> None:
    old, one = asked(house, plan)
    invitations.again(house.store, one)
    answer = house.client(None).post(f"/answer/{old}", data={"answer": "approve"})
    assert (answer.status_code, answer_of(house)) == (404, ("", ""))


def test_after_its_beginning_nobody_answers(house: Portal, plan: Mapping[str, Any]) -> None:
    token, one = asked(house, plan)
    with house.store.writing() as connection:
        connection.execute(invitations.table.update().values(begin=time.time() - 1))
    answer = house.client(None).post(f"/answer/{token}", data={"answer": "approve"})
    assert answer.status_code == 409
    assert answer_of(house) == ("", "")
    assert "The time to answer is over" in answer.text
    assert one.answer == ""


def test_about_a_cancelled_window_nobody_answers(house: Portal, plan: Mapping[str, Any]) -> None:
    token, one = asked(house, plan)
    Booker(house.store, "dora", "portal").cancel(plan, one.key, "no", time.time())
    answer = house.client(None).post(f"/answer/{token}", data={"answer": "approve"})
    assert (answer.status_code, "the window is cancelled" in answer.text, answer_of(house)) == (409, True, ("", ""))


def test_who_guesses_links_has_to_wait(house: Portal, plan: Mapping[str, Any]) -> None:
    token, _ = asked(house, plan)
    guesser = house.client(None)
    assert [guesser.get(f"/answer/guess{number}").status_code for number in range(5)] == [404] * 5
    answer = guesser.get(f"/answer/{token}")
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (429, True)
    assert house.app.state.desk.limits.wait("otto", "another address") == 0.0
