# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What people do with maintenance windows, from the pages and the command line alike: add one, cancel one, ask about one, answer.

Each leaves an audit entry, refused ones too.
"""

from __future__ import annotations

import os
import zoneinfo
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils import bandwidth, recurrence, units

from . import actions, consent
from .calendar import DAY, LOOK_BACK, Calendar
from .consent import Person
from .occurrences import ONE_OFF, Occurrence
from .store import Store, announcements, audit, invitations, windows
from .store.accounts import Role
from .store.invitations import Invitation
from .store.windows import CANCELLED, OneOff
from .units import seconds

LONGEST = 7 * round(DAY)
AT_ONCE = 60.0  # seconds for which a beginning may be past


@dataclass(frozen=True)
class Booker:
    """Who does it, and through what; on the command line everybody is a dr-admin, as for all else."""

    store: Store
    by: str
    origin: str
    role: Role = Role.dr_admin

    @contextmanager
    def audited(self, action: str, subject: str) -> Iterator[None]:
        """A refusal leaves an audit entry."""
        try:
            yield
        except XdrError as error:
            audit.add(self.store, self.by, self.origin, action, subject, error.sentence(), "refused")
            raise

    def add(self, plan: Mapping[str, Any], start: str, duration: str, zone: str, reason: str, now: float) -> Occurrence:
        """A one-off window. Raises XdrError: usage, role (it begins before it could be announced, and that takes dr-admin)."""
        with self.audited("window add", f"plan {plan['name']}"):
            begin, lasts, zone = _times(start, duration, zone or zone_of(plan))
            _refuse_unfit(plan, begin, lasts, now)
            ahead = max(plan["maintenance"]["announce"], default=DAY)
            if begin < now + ahead and self.role < Role.dr_admin:
                what = (
                    f"a window that begins within {seconds(ahead)} cannot be announced in time, so it takes the role {Role.dr_admin.label}"
                )
                raise XdrError(what, where=f"plan {plan['name']}", todo="Choose a later one, or ask a dr-admin", code="role")
            reason = actions.attested(reason, "a reason")
        shown = Occurrence(plan["name"], ONE_OFF, begin, begin + lasts, zone).told
        mine: dict[str, Any] = {"reason": reason, "by": self.by, "origin": self.origin, "told": shown}
        made: OneOff = windows.add(self.store, plan["name"], begin, begin + lasts, zone, **mine)
        return Calendar.read(self.store, plan, now).one(_key(made), now)

    def cancel(self, plan: Mapping[str, Any], key: str, reason: str, now: float) -> Occurrence:
        """Raises XdrError: usage, wrong_state (its failback has begun, or it is over)."""
        with self.audited("window cancelled", f"window {key[:80]} of plan {plan['name']}"):
            found, reason = Calendar.read(self.store, plan, now).one(key, now), actions.attested(reason, "a reason")
            if not reason:
                raise XdrError("to cancel a window needs a reason: those who were told of it are told", code="usage")
        windows.note(self.store, found.became(CANCELLED, self.by, reason, now), origin=self.origin)
        return found

    def ask(self, plan: Mapping[str, Any], key: str, now: float) -> list[Invitation]:
        """Ask all owners and stakeholders who were not asked yet; a worker sends the links. Raises XdrError: usage, wrong_state."""
        with self.audited("window ask", f"window {key[:80]} of plan {plan['name']}"):
            found = _open_to_answers(Calendar.read(self.store, plan, now).one(key, now), now)
            if not list(consent.people(plan)):
                todo = "Name them in its maintenance.owners and maintenance.stakeholders"
                raise XdrError(f"plan {plan['name']} names nobody who could be asked", todo=todo, code="usage")
        return invitations.ask(self.store, invited(plan, found, self.by, now), origin=self.origin)

    def answer(self, plan: Mapping[str, Any], key: str, name: str, given: str, text: str, now: float, *, via: str) -> None:
        """For somebody who is asked: by themselves, or noted down by a dr-admin. Raises XdrError: usage, wrong_state, role."""
        with self.audited("window answer", f"window {key[:80]} of plan {plan['name']}"):
            found = _open_to_answers(Calendar.read(self.store, plan, now).one(key, now), now)
            person = _person(plan, name)
            if self.role < Role.dr_admin and person.user != self.by:
                what = f"to answer for {person.name} takes the role {Role.dr_admin.label}, or to be their user"
                raise XdrError(what, todo=f"The plan names it: maintenance.{person.part}s", code="role")
        wanted = [one for one in invited(plan, found, self.by, now) if one.name == name]
        invitations.ask(self.store, wanted, origin=self.origin)
        invitations.answer(self.store, wanted[0], given, text, by=self.by, via=via, origin=self.origin)


def invited(plan: Mapping[str, Any], found: Occurrence, by: str, now: float) -> list[Invitation]:
    return [Invitation(found.plan, found.key, one.name, found.begin, found.end, found.zone, now, by) for one in consent.people(plan)]


def zone_of(plan: Mapping[str, Any]) -> str:
    """Where none is named: that of the plan's first window, else this machine's."""
    of_plan = [str(each["time_zone"]) for each in plan["maintenance"]["windows"]]
    here = os.environ.get("TZ") or str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
    return next(iter(of_plan), here if here in zoneinfo.available_timezones() else "UTC")


def document(store: Store, calendar: Calendar, now: float, until: float) -> list[dict[str, Any]]:
    """The occurrences from now on, each with what was answered and announced: for pages and --json."""
    found = calendar.between(now, until)
    told = announcements.of(store, calendar.plan["name"], [one.key for one in found]) if found else []
    return [{**_document(calendar, one, now), "announcements": [each.to_json() for each in told if each.key == one.key]} for one in found]


def _document(calendar: Calendar, one: Occurrence, now: float) -> dict[str, Any]:
    said = consent.answers(calendar.plan, one, calendar.invitations)
    return {
        **one.to_json(),
        "told": one.told,
        "open": one.begin <= now and not one.cancelled,
        "cancelled": one.cancelled,
        "consent": calendar.consent(one).__dict__,
        "answers": [_answer(person, given) for person, given in said],
    }


def _answer(person: Person, given: Invitation | None) -> dict[str, Any]:
    asked = given.to_json() if given else {}
    wanted = ("answer", "text", "answered_by", "answered_at", "via", "asked_at", "asked_by")
    return {"name": person.name, "part": person.part, "user": person.user, **{name: asked.get(name) for name in wanted}}


def _times(start: str, duration: str, zone: str) -> tuple[float, int, str]:
    """Beginning (Unix seconds), seconds, zone. Raises XdrError, usage."""
    try:
        at, lasts = datetime.fromisoformat(recurrence.local(start.strip())), units.duration(duration.strip())
        bandwidth.known_zone(zone)
    except ValueError as error:
        raise XdrError(str(error), code="usage") from None
    return at.replace(tzinfo=zoneinfo.ZoneInfo(zone)).timestamp(), lasts, zone


def _refuse_unfit(plan: Mapping[str, Any], begin: float, lasts: int, now: float) -> None:
    least = plan["failback"]["deadline"]
    if not least <= lasts <= LONGEST:
        what = f"expected a window of {seconds(least)} (failback.deadline) to {seconds(LONGEST)}; found {seconds(lasts)}"
    elif begin < now - AT_ONCE:
        what = "expected a window that begins later than now"
    elif begin > now + LOOK_BACK:
        what = "expected a window that begins within 400 days"
    else:
        return
    raise XdrError(what, where=f"plan {plan['name']}", code="usage")


def _key(made: OneOff) -> str:
    return Occurrence(made.plan, f"{ONE_OFF}-{made.id}", made.begin, made.end, made.zone).key


def _open_to_answers(found: Occurrence, now: float) -> Occurrence:
    if found.cancelled or found.begin <= now:
        how = "is cancelled" if found.cancelled else "has begun"
        raise XdrError(f"window {found.name} {how}: nobody is asked about it any more", where=f"plan {found.plan}", code="wrong_state")
    return found


def _person(plan: Mapping[str, Any], name: str) -> Person:
    found = {one.name: one for one in consent.people(plan)}
    if name not in found:
        todo = f"It names: {', '.join(found) or 'nobody'}"
        raise XdrError(f"plan {plan['name']} does not name {name[:100]!r} as owner or stakeholder", todo=todo, code="usage")
    return found[name]
