# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The occurrences of a plan's maintenance windows, those that recur and those that were added by hand. Pure."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ansible_collections.xdr.failback.plugins.plugin_utils import recurrence

from .store.windows import CANCELLED, COMING, OneOff, Outcome

ONE_OFF = "once"


@dataclass(frozen=True)
class Occurrence:
    """Times are Unix seconds; ``outcome``: what became of it, None as long as that is open."""

    plan: str
    name: str
    begin: float
    end: float
    zone: str
    reason: str = ""
    outcome: Outcome | None = field(default=None, compare=False)

    @classmethod
    def of(cls, outcome: Outcome) -> Occurrence:
        """The one that this became of, also where no window is at that time any more."""
        return cls(outcome.plan, outcome.key.partition("@")[0], outcome.begin, outcome.end, outcome.zone, outcome=outcome)

    @property
    def key(self) -> str:
        """One name for it, whatever happens to the rule."""
        return f"{self.name}@{datetime.fromtimestamp(self.begin, UTC):%Y%m%dT%H%M%SZ}"

    @property
    def cancelled(self) -> bool:
        return self.outcome is not None and self.outcome.outcome == CANCELLED

    @property
    def settled(self) -> bool:
        """It is known what became of it."""
        return self.outcome is not None and self.outcome.outcome != COMING

    @property
    def told(self) -> str:
        """``Sun 2026-03-01 02:00 to 05:00 CET``, in its own zone."""
        begin, end = self.local
        day = "" if begin.date() == end.date() else f"{end:%a %Y-%m-%d} "
        return f"{begin:%a %Y-%m-%d %H:%M}{self._offset(begin, end)} to {day}{end:%H:%M %Z}"

    @property
    def local(self) -> tuple[datetime, datetime]:
        zone = zoneinfo.ZoneInfo(self.zone)
        return datetime.fromtimestamp(self.begin, zone), datetime.fromtimestamp(self.end, zone)

    @staticmethod
    def _offset(begin: datetime, end: datetime) -> str:
        return f" {begin:%Z}" if begin.utcoffset() != end.utcoffset() else ""

    def became(self, outcome: str, by: str, detail: str, now: float) -> Outcome:
        return Outcome(self.plan, self.key, self.begin, self.end, self.zone, outcome, now, by, detail)

    def to_json(self) -> dict[str, Any]:
        begin, end = self.local
        return {
            "plan": self.plan,
            "key": self.key,
            "name": self.name,
            "begin": begin.isoformat(),
            "end": end.isoformat(),
            "zone": self.zone,
            "reason": self.reason,
            "outcome": self.outcome and self.outcome.to_json(),
        }


def between(
    plan: Mapping[str, Any], one_offs: Iterable[OneOff], outcomes: Mapping[str, Outcome], since: float, until: float
) -> list[Occurrence]:
    """Those that end after ``since`` and begin no later than ``until``, in order; cancelled ones are marked as such."""
    found = [one for one in (*_recurring(plan, since, until), *_once(one_offs)) if one.end > since and one.begin <= until]
    return sorted((replace(one, outcome=outcomes.get(one.key)) for one in found), key=lambda one: (one.begin, one.name))


def _recurring(plan: Mapping[str, Any], since: float, until: float) -> Iterator[Occurrence]:
    for each in plan["maintenance"]["windows"]:
        for begin in recurrence.begins(each["rrule"], each["start"], each["time_zone"], since - each["duration"], until):
            yield Occurrence(plan["name"], each["name"], begin, begin + each["duration"], each["time_zone"])


def _once(one_offs: Iterable[OneOff]) -> Iterator[Occurrence]:
    for one in one_offs:
        yield Occurrence(one.plan, f"{ONE_OFF}-{one.id}", one.begin, one.end, one.zone, one.reason)
