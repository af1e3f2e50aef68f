# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A plan's calendar: which window is open or coming, who has to agree, and when a failback may begin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import icalendar
import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal import ics
from portal.actions import asked
from portal.booking import Booker
from portal.calendar import Calendar
from portal.consent import consent
from portal.occurrences import Occurrence
from portal.plan_view import one_plan
from portal.store import Store, audit, events, invitations, observations, runs, windows
from portal.store.accounts import Role
from portal.store.invitations import Invitation
from portal.windows import Admission, admitted
from tests.support import stores
from tests.support.portal import INVENTORY, seen
from tests.support.windows import PEOPLE, at, plan, recurring

NOW = at("2026-03-22T02:20")  # a Sunday, in the window
WINDOW = recurring(at("2026-03-01T02:00"))
KEY = "sunday-night@20260322T010000Z"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = stores.opened(tmp_path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def weekly(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    return plan(tmp_path_factory.mktemp("weekly"), WINDOW)


@pytest.fixture(scope="module")
def peopled(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    return plan(tmp_path_factory.mktemp("peopled"), f"{WINDOW}{PEOPLE}  owners_must: approve\n")


def must(found: Mapping[str, Any], owners_must: str) -> Mapping[str, Any]:
    return {**found, "maintenance": {**found["maintenance"], "owners_must": owners_must}}


def test_what_is_open_and_what_is_coming(store: Store, weekly: Mapping[str, Any]) -> None:
    calendar = Calendar.read(store, weekly, NOW)
    assert [one.key for one in calendar.open(NOW)] == [KEY]
    coming = calendar.coming(NOW)
    assert coming
    assert (coming.key, coming.told) == ("sunday-night@20260329T010000Z", "Sun 2026-03-29 03:00 to 04:00 CEST")
    assert calendar.open(at("2026-03-22T03:00")) == []  # its end is not in it
    assert [one.key for one in calendar.open(at("2026-03-22T02:00"))] == [KEY]


def test_a_window_over_midnight_and_a_change_of_the_clocks_is_told_with_both(store: Store, tmp_path: Path) -> None:
    calendar = Calendar.read(store, plan(tmp_path, recurring(at("2026-03-28T23:00"), duration="5h")), NOW)
    coming = calendar.coming(NOW)
    assert coming
    assert coming.told == "Sat 2026-03-28 23:00 CET to Sun 2026-03-29 05:00 CEST"


def test_the_windows_are_no_part_of_the_plans_hash(peopled: Mapping[str, Any]) -> None:
    """A run that has begun pins the hash: whoever changes a window, or who is asked, must not be in its way."""
    assert peopled["hash"] == one_plan("webshop", INVENTORY)["hash"]
    assert "start" not in peopled["failback"]


# -- when a failback may begin -----------------------------------------------------------------------------------


def test_in_a_window_its_end_counts(store: Store, weekly: Mapping[str, Any]) -> None:
    found = admitted(store, weekly, NOW)
    assert found.window
    assert (found.window.until, found.occurrence, found.override) == (at("2026-03-22T03:00"), KEY, "")


def test_outside_it_is_refused_and_told_when_the_next_opens(store: Store, weekly: Mapping[str, Any]) -> None:
    with pytest.raises(XdrError) as refusal:
        admitted(store, weekly, at("2026-03-22T03:00"))
    assert refusal.value.code == "gate_refused"
    assert "the next is sunday-night: Sun 2026-03-29 03:00 to 04:00 CEST" in refusal.value.what
    assert admitted(store, weekly, at("2026-03-22T03:00"), override="the DR site burns") == Admission(override="the DR site burns")


def test_a_window_that_was_typed_must_lie_within(store: Store, weekly: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.windows.until", lambda text, now: at(text))
    found = admitted(store, weekly, NOW, until="2026-03-22T02:50")
    assert found.window
    assert found.window.until == at("2026-03-22T02:50")
    with pytest.raises(XdrError, match="the maintenance window sunday-night ends before that"):
        admitted(store, weekly, NOW, until="2026-03-22T03:10")
    longer = admitted(store, weekly, NOW, until="2026-03-22T03:10", override="it takes longer")
    assert longer.window
    assert (longer.window.until, longer.occurrence, longer.override) == (at("2026-03-22T03:10"), "", "it takes longer")


def test_a_window_without_time_for_a_rollback_is_refused(store: Store, weekly: Mapping[str, Any]) -> None:
    with pytest.raises(XdrError, match="the deadline has passed already"):
        admitted(store, weekly, at("2026-03-22T02:56"))


def test_a_plan_without_windows_needs_none(store: Store) -> None:
    found = one_plan("webshop", INVENTORY)
    assert admitted(store, found, NOW) == Admission()
    made = Booker(store, "dora", "portal").add(found, "2026-04-01T22:00", "2h", "Europe/Berlin", "new disks", NOW)
    with pytest.raises(XdrError, match=f"the next is {made.name}"):
        admitted(store, found, NOW)
    Booker(store, "dora", "portal").cancel(found, made.key, "no disks", NOW)
    assert admitted(store, found, NOW) == Admission()


@pytest.mark.parametrize(
    ("state", "result", "stopping", "goes_on"),
    [
        ("FAILING_BACK", None, False, True),  # by a look since
        ("HALTED", None, False, True),
        ("READY", "HALTED", True, False),
        ("", "HALTED", False, True),  # by the run alone
        ("", "REVERSING", True, False),
        ("", None, True, True),  # its process died, and its services were to stop
        ("", None, False, False),
    ],
)
def test_what_has_begun_goes_on_outside(
    store: Store, weekly: Mapping[str, Any], state: str, result: str | None, stopping: bool, goes_on: bool
) -> None:
    run = runs.request(store, asked("failback", "webshop", by="otto", origin="portal"))
    events.append(store, run.id, [{"kind": "started", "action": "failback", "at": 1.0}])
    if stopping:
        events.append(store, run.id, [{"kind": "task", "task": "stop", "step": "stop_services", "at": 2.0}])
    runs.finish(store, run.id, {"exit_code": 2, "code": "", "error": "no", **({"state": result} if result else {})})
    if state:
        observations.put(store, observations.of_plan("webshop"), seen(state))
    if goes_on:
        assert admitted(store, weekly, at("2026-03-24T12:00")) == Admission()
    else:
        with pytest.raises(XdrError, match="no maintenance window is open"):
            admitted(store, weekly, at("2026-03-24T12:00"))


# -- who has to agree ------------------------------------------------------------------------------------------------


def invited(name: str, answer: str, **changes: Any) -> Invitation:
    one = Invitation("webshop", KEY, name, at("2026-03-22T02:00"), at("2026-03-22T03:00"), "Europe/Berlin", 1.0, "dora")
    return replace(one, answer=answer, text="we count the stock", **changes)


@pytest.mark.parametrize(
    ("policy", "said", "cleared", "told"),
    [
        ("not_object", [], True, "nobody objects"),
        ("not_object", [invited("Ben Koch", "object")], False, "Ben Koch objects: we count the stock"),
        ("not_object", [invited("Sales", "object")], False, "Sales objects"),
        ("not_object", [invited("Nobody any more", "object")], True, "nobody objects"),
        ("approve", [], False, "waits for the approval of Anna Weber, Ben Koch"),
        ("approve", [invited("Anna Weber", "approve")], False, "waits for the approval of Ben Koch"),
        ("approve", [invited("Anna Weber", "approve"), invited("Ben Koch", "approve")], True, "approved by all owners"),
        ("approve", [invited("Anna Weber", "approve"), invited("Ben Koch", "approve"), invited("Sales", "object")], False, "Sales objects"),
        ("approve", [invited("Anna Weber", "approve"), invited("Ben Koch", "approve", key="another")], False, "of Ben Koch"),
        ("approve", [invited("Anna Weber", "approve"), invited("Ben Koch", "approve", end=at("2026-03-22T02:30"))], False, "of Ben Koch"),
        ("not_object", [invited("Ben Koch", "object", end=at("2026-03-22T02:30"))], False, "Ben Koch objects"),  # to a shorter one
    ],
)
def test_consent(peopled: Mapping[str, Any], policy: str, said: list[Invitation], cleared: bool, told: str) -> None:
    window = Occurrence("webshop", "sunday-night", at("2026-03-22T02:00"), at("2026-03-22T03:00"), "Europe/Berlin")
    verdict = consent(must(peopled, policy), window, said)
    assert verdict.cleared == cleared
    assert told in verdict.told


def test_a_window_to_which_somebody_objects_is_none(store: Store, peopled: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    found = must(peopled, "not_object")
    monkeypatch.setattr("portal.store.invitations.time.time", lambda: NOW - 3600)
    Booker(store, "cli", "command line").answer(found, KEY, "Ben Koch", "object", "stocktaking", NOW - 3600, via="command line")
    with pytest.raises(XdrError, match="sunday-night is open, but Ben Koch objects: stocktaking") as refusal:
        admitted(store, found, NOW)
    assert refusal.value.code == "gate_refused"
    assert admitted(store, found, NOW, override="x").override == "x"


def test_scheduled(store: Store, peopled: Mapping[str, Any]) -> None:
    found = peopled
    before = at("2026-03-20T12:00")
    assert Calendar.read(store, found, before).scheduled("READY", before) is None
    for name in ("Anna Weber", "Ben Koch"):
        [one] = [each for each in invited_all(store, found, before) if each.name == name]
        with_time(store, one, before)
    calendar = Calendar.read(store, found, before)
    scheduled = calendar.scheduled("READY", before)
    assert scheduled
    assert scheduled.key == KEY
    assert calendar.scheduled("REVERSING", before)
    assert calendar.scheduled("ACTIVE", before) is None
    by_button = replace(calendar, plan={**found, "maintenance": {**found["maintenance"], "start": "button"}})
    assert by_button.scheduled("READY", before) is None
    windows.note(store, scheduled.became("cancelled", "dora", "no", before), origin="portal")
    assert Calendar.read(store, found, before).scheduled("READY", before) is None  # the next has no approval yet


def invited_all(store: Store, found: Mapping[str, Any], now: float) -> list[Invitation]:
    Booker(store, "dora", "portal").ask(found, KEY, now)
    return invitations.of(store, ["webshop"], now)


def with_time(store: Store, one: Invitation, now: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("portal.store.invitations.time.time", lambda: now)
        invitations.answer(store, one, "approve", "", by=one.name, via="link", origin="portal")


# -- what people do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "duration", "zone", "told"),
    [
        ("soon", "1h", "UTC", "a local date and time"),
        ("2026-03-23T02:00", "an hour", "UTC", "a duration with its unit"),
        ("2026-03-23T02:00", "1h", "Berlin", "a time zone that this controller knows"),
        ("2026-03-23T02:00", "4m", "UTC", "5 min \\(failback.deadline\\) to 168 h"),
        ("2026-03-23T02:00", "8d", "UTC", "5 min \\(failback.deadline\\) to 168 h"),
        ("2026-03-21T02:00", "1h", "UTC", "begins later than now"),
        ("2028-03-21T02:00", "1h", "UTC", "within 400 days"),
    ],
)
def test_a_window_that_cannot_be_added(store: Store, weekly: Mapping[str, Any], start: str, duration: str, zone: str, told: str) -> None:
    with pytest.raises(XdrError, match=told) as refusal:
        Booker(store, "otto", "portal").add(weekly, start, duration, zone, "", NOW)
    assert refusal.value.code == "usage"
    assert audit.latest(store, 1)[0].outcome == "refused"
    assert windows.one_offs(store, ["webshop"], 0) == []


def test_a_window_that_cannot_be_announced_takes_a_dr_admin(store: Store, weekly: Mapping[str, Any]) -> None:
    """Else an operator would open one for himself."""
    with pytest.raises(XdrError, match="takes the role dr-admin") as refusal:
        Booker(store, "otto", "portal", Role.operator).add(weekly, "2026-03-23T02:00", "1h", "Europe/Berlin", "", NOW)
    assert refusal.value.code == "role"
    made = Booker(store, "otto", "portal", Role.operator).add(weekly, "2026-03-24T02:00", "1h", "Europe/Berlin", "disks", NOW)
    assert (made.name, made.reason, made.told) == ("once-1", "disks", "Tue 2026-03-24 02:00 to 03:00 CET")
    assert Booker(store, "dora", "portal").add(weekly, "2026-03-23T02:00", "1h", "", "", NOW).zone == "Europe/Berlin"


def test_a_cancelled_window_is_none_and_the_next_stays(store: Store, weekly: Mapping[str, Any]) -> None:
    booker = Booker(store, "dora", "portal")
    with pytest.raises(XdrError, match="needs a reason"):
        booker.cancel(weekly, KEY, "", NOW)
    booker.cancel(weekly, KEY, "the shop stays open", NOW)
    with pytest.raises(XdrError, match="cancelled by dora already"):
        booker.cancel(weekly, KEY, "again", NOW)
    with pytest.raises(XdrError, match="no maintenance window is open; the next is sunday-night: Sun 2026-03-29"):
        admitted(store, weekly, NOW)
    with pytest.raises(XdrError, match="has no window"):
        booker.cancel(weekly, "sunday-night@20200101T000000Z", "x", NOW)
    assert [(entry.action, entry.outcome) for entry in audit.latest(store)] == [
        ("window cancelled", "refused"),
        ("window cancelled", "refused"),
        ("window cancelled", "done"),
        ("window cancelled", "refused"),
    ]


def test_once_it_has_begun_nobody_answers(store: Store, peopled: Mapping[str, Any]) -> None:
    [anna, *_] = invited_all(store, peopled, at("2026-03-20T12:00"))
    with pytest.raises(XdrError, match="the window has begun") as refusal:
        with_time(store, anna, at("2026-03-22T02:00"))
    assert refusal.value.code == "wrong_state"
    assert [one.answer for one in invitations.of(store, ["webshop"], 0.0)] == ["", "", ""]


def test_a_longer_window_is_asked_about_anew(store: Store, peopled: Mapping[str, Any]) -> None:
    before, short = at("2026-03-20T12:00"), peopled
    [window] = peopled["maintenance"]["windows"]
    long = {**peopled, "maintenance": {**peopled["maintenance"], "windows": [{**window, "duration": 3 * 3600}]}}
    [anna, *_] = invited_all(store, short, before)
    with_time(store, anna, before)
    assert Booker(store, "dora", "portal").ask(short, KEY, before) == []
    assert len(Booker(store, "dora", "portal").ask(long, KEY, before)) == 3
    assert [one.answer for one in invitations.of(store, ["webshop"], before)] == ["", "", ""]


# -- the calendar file ---------------------------------------------------------------------------------------------


def test_the_calendar_file_is_read_back(store: Store, peopled: Mapping[str, Any]) -> None:
    found = peopled
    Booker(store, "dora", "portal").cancel(found, KEY, "the shop; stays open, " + "really " * 20, NOW)
    text = ics.calendar([Calendar.read(store, found, NOW)], NOW)
    assert all(len(line) <= 75 for line in text.split(b"\r\n"))
    assert text.count(b"\n") == text.count(b"\r\n")
    read = {str(event["uid"]): event for event in icalendar.Calendar.from_ical(text).walk("VEVENT")}
    cancelled, coming = read[f"{KEY}.webshop@xdr"], read["sunday-night@20260329T010000Z.webshop@xdr"]
    assert (cancelled["status"], cancelled["sequence"], coming["status"]) == ("CANCELLED", 1, "TENTATIVE")
    assert b"DTSTART:20260329T010000Z" in text
    assert coming["dtstart"].dt.timestamp() == at("2026-03-29T03:00")
    assert coming["dtend"].dt.timestamp() == at("2026-03-29T04:00")
    assert "Cancelled by dora: the shop; stays open" in cancelled["description"]
    again = ics.calendar([Calendar.read(store, found, NOW + 86_400)], NOW + 86_400)
    assert set(read) - {str(event["uid"]) for event in icalendar.Calendar.from_ical(again).walk("VEVENT")} == set()
