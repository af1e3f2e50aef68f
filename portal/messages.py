# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What is to be announced of a plan's windows now, to whom, and in which words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import consent
from .calendar import AWAY, DAY, Calendar
from .consent import Person
from .occurrences import Occurrence
from .store.announcements import Announcement
from .store.invitations import APPROVE, Invitation
from .store.runs import Run
from .store.windows import CANCELLED, MISSED, SKIPPED, STARTED
from .units import seconds

OPENING = 300.0  # seconds after a beginning in which it is told
SETTLES = 30.0  # seconds that the start of a failback by itself gets, so that the message can tell of it
AHEAD, START, END, ASK = "ahead", "start", "end", "ask"


@dataclass(frozen=True)
class Message:
    """``recipient``: the channel's name; of a question, that of who is asked."""

    kind: str
    occurrence: Occurrence
    recipient: str
    channel: str
    title: str
    body: str

    @property
    def announcement(self) -> Announcement:
        return Announcement(self.occurrence.plan, self.occurrence.key, self.kind, self.recipient)


def channels(plan: Mapping[str, Any]) -> list[str]:
    """Where everything is announced, each channel once."""
    people = [one.notify for one in consent.people(plan) if one.notify]
    return list(dict.fromkeys([*plan["maintenance"]["notify"], *people]))


def due(calendar: Calendar, state: str, now: float, told: Iterable[Announcement], run: Run | None) -> list[Message]:
    """``told``: what was announced so far; ``run``: the plan's newest failback or rollback."""
    ahead = max(calendar.plan["maintenance"]["announce"], default=0)
    before, asked = list(told), {person.name: person.notify for person in consent.people(calendar.plan)}
    found: list[Message] = []
    lately = [one.begin for one in calendar.outcomes.values() if one.at > now - DAY]  # a cancelled one may be far ahead
    for one in calendar.between(now - DAY, max([now + ahead, *lately])):
        knows = {channel for each in before if each.key == one.key for channel in (each.recipient, asked.get(each.recipient))}
        found += _of(calendar, one, state, now, knows, run)
    return found


def _of(calendar: Calendar, one: Occurrence, state: str, now: float, knows: set[str | None], run: Run | None) -> Iterator[Message]:
    kind = _kind(calendar, one, state, now)
    if kind:
        sentence = _sentence(calendar, one, kind, state, run)
        for channel in channels(calendar.plan):
            if not kind.startswith((END, CANCELLED)) or channel in knows:
                yield Message(kind, one, channel, channel, _title(one, kind), f"{sentence}\n\n{_about(calendar, one)}")


def _kind(calendar: Calendar, one: Occurrence, state: str, now: float) -> str:
    """What is to be told of it now; empty for nothing."""
    if one.settled and one.outcome and one.outcome.outcome != STARTED:
        return one.outcome.outcome if one.outcome.at > now - DAY else ""
    if now >= one.end:
        return END
    if state not in AWAY and not one.settled:  # the plan is at home: nobody has to know
        return ""
    if now < one.begin:
        lead = [each for each in calendar.plan["maintenance"]["announce"] if one.begin - each <= now]
        return f"{AHEAD}-{min(lead)}" if lead else ""
    settles = calendar.by_itself and not one.settled and now < one.begin + SETTLES
    return START if now <= one.begin + OPENING and not settles else ""


TITLES = {
    START: "has opened",
    END: "is over",
    CANCELLED: "is cancelled",
    SKIPPED: "was skipped",
    MISSED: "was missed",
}


def _title(one: Occurrence, kind: str) -> str:
    what = TITLES.get(kind, f"begins {one.local[0]:%a %Y-%m-%d %H:%M %Z}")
    return f"{one.plan}: maintenance window {one.name} {what}"


def _sentence(calendar: Calendar, one: Occurrence, kind: str, state: str, run: Run | None) -> str:
    began = f"The failback has begun ({one.outcome.detail})." if one.outcome and one.outcome.outcome == STARTED else ""
    if kind == START:
        return began or ("No failback has begun so far." if calendar.by_itself else "A failback may be begun now, by a person.")
    if kind == END:
        mine = run if run and run.arguments.get("occurrence") == one.key else None
        return f"{_ended(mine) if mine else 'No failback was begun in it.'} The plan is {state or 'in a state that nobody knows'} now."
    if kind in (CANCELLED, SKIPPED, MISSED) and one.outcome:
        by = f" by {one.outcome.by}" if kind == CANCELLED else ""
        return f"The window {TITLES[kind]}{by}: {one.outcome.detail}."
    how = "begins by itself when it opens" if calendar.by_itself else "may be begun in it by a person"
    return (
        f"A failback of {one.plan} {how}: then its services are down for a while, {seconds(calendar.plan['failback']['deadline'])} at most."
    )


def _ended(run: Run) -> str:
    if not run.ended:
        return f"The failback {run.id} is still at work."
    return f"The failback {run.id} has ended{' well' if not run.exit_code else f': {run.error}'.rstrip('.')}."


def _about(calendar: Calendar, one: Occurrence) -> str:
    rows = [f"Plan: {one.plan}", f"Window: {one.name}, {one.told}"]
    rows += [f"Reason: {one.reason}"] if one.reason else []
    return "\n".join([*rows, f"Answers: {calendar.consent(one).told}"])


# -- questions -------------------------------------------------------------------------------------------------


def to_ask(calendar: Calendar, state: str, now: float) -> list[Occurrence]:
    """The windows about which people are asked by now, unless they were."""
    ahead = max(calendar.plan["maintenance"]["announce"], default=DAY)
    if state not in AWAY or not list(consent.people(calendar.plan)):
        return []
    return [one for one in calendar.between(now, now + ahead) if one.begin > now and not one.settled]


def questions(calendar: Calendar, now: float) -> list[tuple[Message, Invitation]]:
    """Those who have been asked and have a channel, and are to get their link; of what they answered otherwise, they need none."""
    found = []
    until = max((each.begin for each in calendar.invitations), default=now)
    by_key = {one.key: one for one in calendar.between(now, until) if one.begin > now and not one.settled}
    people = {person.name: person for person in consent.people(calendar.plan)}
    for each in calendar.invitations:
        person, one = people.get(each.name), by_key.get(each.key)
        if one and person and person.notify and not each.answer:
            title = f"{one.plan}: may its services be interrupted {one.local[0]:%a %Y-%m-%d %H:%M %Z}?"
            found.append((Message(ASK, one, person.name, person.notify, title, _question(calendar, one, person)), each))
    return found


def _question(calendar: Calendar, one: Occurrence, person: Person) -> str:
    needed = person.part == "owner" and calendar.plan["maintenance"]["owners_must"] == APPROVE
    what = "It needs your approval" if needed else "It goes on unless somebody objects"
    return f"{person.name}: {_sentence(calendar, one, AHEAD, '', None)}\n{what}. Please answer before it begins.\n\n{_about(calendar, one)}"
