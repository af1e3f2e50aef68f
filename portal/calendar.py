# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The calendar of one plan: its maintenance windows with all that the store knows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from . import occurrences
from .consent import Consent, consent
from .occurrences import Occurrence
from .store import Store, invitations, windows
from .store.invitations import Invitation
from .store.windows import COMING, MISSED, SKIPPED, OneOff, Outcome

DAY = 86_400.0
SUMMARY = ("open", "next", "scheduled")
LOOK_BACK = 400 * DAY
LATELY = 30 * DAY
FOR_EVER = 3650 * DAY
LOOK_AHEAD = (8 * DAY, 70 * DAY, 3300 * DAY)  # for the next window, as far as has to be
BEFORE = ("REVERSING", "READY")  # states in which the next thing is a failback
AWAY = ("FAILED_OVER", "FAILING_BACK", "ROLLING_BACK", "HALTED", *BEFORE)  # in which one may be coming


@dataclass(frozen=True)
class Calendar:
    plan: Mapping[str, Any]
    one_offs: list[OneOff]
    outcomes: dict[str, Outcome]  # by the key of the occurrence
    invitations: list[Invitation]

    @classmethod
    def read(cls, store: Store, plan: Mapping[str, Any], now: float) -> Calendar:
        return cls.read_all(store, [plan], now)[plan["name"]]

    @classmethod
    def read_all(cls, store: Store, plans: Sequence[Mapping[str, Any]], now: float) -> dict[str, Calendar]:
        """By plan; the store is asked as often as for one."""
        found = {str(plan["name"]): cls(plan, [], {}, []) for plan in plans}
        since = now - LOOK_BACK
        for one_off in windows.one_offs(store, found, since):
            found[one_off.plan].one_offs.append(one_off)
        for outcome in windows.known(store, found, since):
            found[outcome.plan].outcomes[outcome.key] = outcome
        for invitation in invitations.of(store, found, since):
            found[invitation.plan].invitations.append(invitation)
        return found

    @property
    def by_itself(self) -> bool:
        """A window's opening begins the failback."""
        return bool(self.plan["maintenance"]["start"] == "window")

    def binding(self, now: float) -> bool:
        """Whether a failback may begin in a window only: with any that recurs, or one by hand that is not over."""
        return bool(self.plan["maintenance"]["windows"]) or any(
            not one.cancelled and one.end > now for one in self.between(now, now + FOR_EVER)
        )

    def between(self, since: float, until: float) -> list[Occurrence]:
        return occurrences.between(self.plan, self.one_offs, self.outcomes, since, until)

    def open(self, now: float) -> list[Occurrence]:
        """Those that are open now, the one that ends last first."""
        found = [one for one in self.between(now, now) if one.begin <= now < one.end and not one.cancelled]
        return sorted(found, key=lambda one: -one.end)

    def opened(self, now: float) -> list[Occurrence]:
        """Those that have opened, and nothing became of them yet."""
        expected = [one.begin for one in self.outcomes.values() if one.outcome == COMING and one.begin <= now]
        return [one for one in self.between(min(expected, default=now), now) if not one.settled]

    def lately(self, now: float) -> list[Occurrence]:
        """Those that have opened, or should have, in the last weeks, with what became of them, the newest first."""
        found = [one for one in self.outcomes.values() if one.outcome != COMING and now - LATELY < one.begin <= now]
        return [Occurrence.of(one) for one in sorted(found, key=lambda one: -one.begin)]

    def lapsed(self, state: str, now: float) -> Occurrence | None:
        """The newest one, where it should have begun a failback and did not, and the plan still waits for it."""
        newest = next(iter(self.lately(now)), None) if state in AWAY else None
        return newest if newest and newest.outcome and newest.outcome.outcome in (SKIPPED, MISSED) else None

    def coming(self, now: float) -> Occurrence | None:
        """The next one that opens."""
        for ahead in LOOK_AHEAD:
            found = [one for one in self.between(now, now + ahead) if one.begin > now and not one.cancelled]
            if found:
                return found[0]
        return None

    def one(self, key: str, now: float) -> Occurrence:
        """Of those that are not over. Raises XdrError, usage."""
        found = next((one for one in self.between(now, now + LOOK_BACK) if one.key == key), None)
        if found is None:
            todo = f"xdr window list {self.plan['name']} shows them"
            raise XdrError(f"plan {self.plan['name']} has no window {key!r}, or it is over", todo=todo, code="usage")
        return found

    def consent(self, occurrence: Occurrence) -> Consent:
        return consent(self.plan, occurrence, self.invitations)

    def scheduled(self, state: str, now: float) -> Occurrence | None:
        """The window that will begin a failback by itself: the plan is SCHEDULED then."""
        coming = self.coming(now) if self.by_itself and state in BEFORE else None
        return coming if coming and self.consent(coming).cleared else None

    def summary(self, state: str, now: float) -> dict[str, Any] | None:
        """For a status: what is open, the next, and the one that makes the plan SCHEDULED; None of a plan without windows."""
        opened, coming, scheduled = next(iter(self.open(now)), None), self.coming(now), self.scheduled(state, now)
        if not (opened or coming or self.plan["maintenance"]["windows"]):
            return None
        return {name: one and {**one.to_json(), "told": one.told} for name, one in zip(SUMMARY, (opened, coming, scheduled), strict=True)}
