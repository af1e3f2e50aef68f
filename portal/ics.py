# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Maintenance windows as a calendar file (RFC 5545). The only file that imports icalendar.

An event keeps its UID for as long as its window begins at that time, so a calendar that reads the file again finds what was cancelled.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import icalendar

from .calendar import DAY, Calendar
from .occurrences import Occurrence

BEHIND, AHEAD = 30 * DAY, 180 * DAY  # how far the file goes


def calendar(calendars: Iterable[Calendar], now: float) -> bytes:
    """The windows of some plans, cancelled ones among them."""
    made = _empty()
    for each in calendars:
        for found in each.between(now - BEHIND, now + AHEAD):
            made.add_component(_event(each, found, now))
    return bytes(made.to_ical())


def one(calendar: Calendar, occurrence: Occurrence, now: float) -> bytes:
    """A single one, for a mail."""
    made = _empty()
    made.add_component(_event(calendar, occurrence, now))
    return bytes(made.to_ical())


def _empty() -> icalendar.Calendar:
    made = icalendar.Calendar()
    made.add("prodid", "-//XDR//failback//EN")
    made.add("version", "2.0")
    made.add("method", "PUBLISH")
    return made


def _event(calendar: Calendar, one: Occurrence, now: float) -> icalendar.Event:
    event = icalendar.Event()
    event.add("uid", f"{one.key}.{one.plan}@xdr")
    event.add("dtstamp", _utc(one.outcome.at if one.outcome and one.cancelled else now))
    event.add("dtstart", _utc(one.begin))
    event.add("dtend", _utc(one.end))
    event.add("summary", f"Maintenance window of {one.plan}: {one.name}")
    event.add("description", _description(calendar, one))
    event.add("sequence", 1 if one.cancelled else 0)
    event.add("status", "CANCELLED" if one.cancelled else "CONFIRMED" if calendar.consent(one).cleared else "TENTATIVE")
    event.add("transp", "TRANSPARENT" if one.cancelled else "OPAQUE")
    return event


def _description(calendar: Calendar, one: Occurrence) -> str:
    begins = "begins by itself" if calendar.by_itself else "is begun by a person"
    why = f"Cancelled by {one.outcome.by}: {one.outcome.detail}" if one.cancelled and one.outcome else calendar.consent(one).told
    return "\n".join(filter(None, (f"{one.told}. A failback in this window {begins}.", one.reason, why)))


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
