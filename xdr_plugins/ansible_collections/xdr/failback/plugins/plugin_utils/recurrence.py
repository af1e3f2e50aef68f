# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""When a recurring window begins: a rule of RFC 5545 over local time, and the zone that says what that time is.

A local time that a change of the clocks leaves out is meant by the offset before the change; one that comes twice is the first.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import re
import zoneinfo
from typing import TYPE_CHECKING

from ansible_collections.xdr.failback.plugins.plugin_utils.bandwidth import known_zone

if TYPE_CHECKING:
    import dateutil.rrule

LOCAL = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?$"
FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
START_HELP = "a local date and time without an offset, such as 2026-03-01T02:00"
RULE_HELP = f"a rule of RFC 5545 with FREQ one of {', '.join(FREQUENCIES)}, such as FREQ=WEEKLY;BYDAY=SU"
LOOKED_AT = 100  # occurrences of a rule that are compared with each other
HORIZON = datetime.timedelta(days=9 * 366)  # within which they lie
LATE = 9960  # dateutil looks for a day that there is not up to the year 9999, so it is let begin near there: a leap year
DAY = datetime.timedelta(days=1)


def local(value: object) -> str:
    """A local time as ``2026-03-01T02:00:00``. Raises ValueError that says what is accepted."""
    try:
        if not re.fullmatch(LOCAL, str(value)):  # YAML reads one with seconds as a time already
            raise ValueError
        return datetime.datetime.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise ValueError(f"expected {START_HELP}; found {str(value)[:40]!r}") from None


def rule(text: str) -> str:
    """The rule itself, in capitals. Raises ValueError for what is none, or is no rule of a maintenance window."""
    plain = text.strip().upper().removeprefix("RRULE:")
    parts = dict(part.partition("=")[::2] for part in plain.split(";"))
    if not re.fullmatch(r"[A-Z0-9=;,+-]+", plain) or parts.get("FREQ") not in FREQUENCIES:
        raise ValueError(f"expected {RULE_HELP}; found {text[:80]!r}")
    if not re.fullmatch(r"[1-9][0-9]{0,3}", parts.get("INTERVAL", "1")):
        raise ValueError(f"expected {RULE_HELP}; found INTERVAL={parts['INTERVAL']}")
    try:
        _parsed(plain, "2026-03-01T02:00:00", "UTC")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"expected {RULE_HELP}; found {text[:80]!r} ({error})") from None
    return plain


def too_long(text: str, start: str, zone: str, duration: float) -> str:
    """Why a window cannot last so long, or never is; empty where it can."""
    whole = _parsed(text, start, zone)
    if next(iter(whole.replace(dtstart=_at(start).replace(year=LATE), count=None, until=None)), None) is None:
        return f"the rule {text} names no day that there is"
    found = whole if "UNTIL=" in text or "COUNT=" in text else whole.replace(until=_at(start) + HORIZON)
    first = [_seconds(at, zone) for at in itertools.islice(found, LOOKED_AT)]
    if not first and "UNTIL=" in text:
        return f"the rule {text} ends before its start"
    between = min((after - before for before, after in itertools.pairwise(first)), default=duration)
    return f"it begins again after {_hours(between)}, before it ends" if between < duration else ""


def begins(text: str, start: str, zone: str, since: float, until: float) -> list[float]:
    """The beginnings between two moments, those included, in order. All in Unix seconds."""
    here = zoneinfo.ZoneInfo(known_zone(zone))
    first, last = (datetime.datetime.fromtimestamp(at, here).date() for at in (since, until))
    return [at for at in _of_days(text, start, zone, first, last) if since <= at <= until]


@functools.lru_cache(maxsize=1024)
def _of_days(text: str, start: str, zone: str, first: datetime.date, last: datetime.date) -> list[float]:
    """With a day more at both ends, as a change of the clocks moves them; kept, because a rule counts from its start each time."""
    low, high = (datetime.datetime.combine(day, datetime.time()) for day in (first - DAY, last + 2 * DAY))
    return sorted(_seconds(at, zone) for at in _parsed(text, start, zone).between(low, high, inc=True))


@functools.lru_cache(maxsize=256)
def _parsed(text: str, start: str, zone: str) -> dateutil.rrule.rrule:
    from dateutil.rrule import rrule, rrulestr

    found = rrulestr(re.sub(r"UNTIL=(\d{8}(?:T\d{6}Z?)?)", lambda match: "UNTIL=" + _last(match[1], zone), text), dtstart=_at(start))
    if not isinstance(found, rrule):
        raise ValueError("it is more than one rule")
    return found


def _last(text: str, zone: str) -> str:
    """An UNTIL as local time, in which the rule counts; a day is meant as a whole."""
    if "T" not in text:
        return text + "T235959"
    if not text.endswith("Z"):
        return text
    at = datetime.datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    return at.astimezone(zoneinfo.ZoneInfo(known_zone(zone))).strftime("%Y%m%dT%H%M%S")


def _at(start: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(start)


def _seconds(at: datetime.datetime, zone: str) -> float:
    return at.replace(tzinfo=zoneinfo.ZoneInfo(known_zone(zone)), fold=0).timestamp()


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:g}h"
