# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What the pages tell of a plan, put together from its observation, its runs and the plan itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ansible_collections.xdr.failback.plugins.plugin_utils import recovery_points
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import View

from .. import choices, split_view, status, units, windows
from ..calendar import Calendar
from ..choices import Active, Choice
from ..cutover import FAILBACK
from ..occurrences import Occurrence
from ..pauses import Pause
from ..plan_view import site_names
from ..question import Question, question
from ..store import answers, observations, runs
from ..store.accounts import Role
from ..store.runs import Run
from .course import Course
from .desk import Desk
from .environment import Plan
from .glances import Glance

OLD = 120.0  # seconds after which an observation is called old
SHOWN_RUNS = 8
METHODS = {"unchanged": "nothing had changed", "tracked": "by its tracker", "digests": "read at the source", "scan": "read at both ends"}


@dataclass(frozen=True)
class Lag:
    """``point_at``: when the last consistent point was; what is not known is None, never 0."""

    size: int | None
    point_at: float | None
    rpo: float

    @property
    def verdict(self) -> str:
        if self.point_at is None:
            return units.UNKNOWN
        return "within RPO" if time.time() - self.point_at <= self.rpo else "over RPO"


@dataclass(frozen=True)
class Told:
    """What was read for all plans at once: of the observation what a list shows, the active run, and what ``PlanFacts._since`` says."""

    glance: Glance | None
    active: Run | None
    since: list[Course]
    calendar: Calendar


@dataclass(frozen=True)
class PlanFacts:
    """``told``: of one of many plans."""

    desk: Desk
    plan: Plan
    role: Role
    told: Told | None = None

    @property
    def name(self) -> str:
        return str(self.plan["name"])

    @cached_property
    def _observation(self) -> observations.Observation | None:
        if self.told:
            return self.told.glance.observation if self.told.glance else None
        return observations.get(self.desk.store, observations.of_plan(self.name))

    @property
    def seen(self) -> observations.Observation | None:
        found = self._observation
        return found if found and found.document else None

    @property
    def trouble(self) -> str:
        """Why the plan could not be looked at lately."""
        found = self._observation
        return found.error or str((found.document or {}).get("error") or "") if found else ""

    @property
    def document(self) -> Mapping[str, Any]:
        return (self.seen.document or {}) if self.seen else {}

    @cached_property
    def view(self) -> View | None:
        if self.told:
            return self.told.glance.view if self.told.glance else None
        return choices.seen(self.document)

    @cached_property
    def _since(self) -> list[Course]:
        """Of the runs that may have changed something since the plan was seen, the newest first: their events know more."""
        if self.told:
            return self.told.since
        seen = self.seen.at if self.seen else 0.0
        found = [run for run in self.latest if run.exclusive and run.started_at and (not run.ended_at or run.ended_at >= seen)]
        return [self.desk.courses.of(self.desk.store, run.id) for run in found]

    @property
    def state(self) -> str:
        record = next((course.record for course in self._since if course.record), None)
        if record:
            return str(record["status"])
        return str(self.view.state) if self.view else units.UNKNOWN

    @property
    def why(self) -> str:
        """The view's reason, unless it only tells the lag, which is shown as such."""
        return "" if self.view is None or self.state != self.view.state or "bytes behind" in self.view.why else self.view.why

    @property
    def split_common(self) -> str:
        """The last epoch on which the sides of a split brain agree."""
        return split_view.common(self.view.split, self.sites) if self.view and self.view.split else ""

    @property
    def split_sides(self) -> list[split_view.Side]:
        return split_view.sides(self.view.split, self.sites) if self.view and self.view.split else []

    @property
    def kept_sides(self) -> dict[str, list[str]]:
        """Host → the recovery points that keep what was given up in a split brain."""
        return split_view.kept(self.document.get("volumes") or [])

    @property
    def old(self) -> bool:
        """A plan is not looked at while a run of it is active."""
        return self.active is None and self.seen is not None and time.time() - self.seen.at > OLD

    @property
    def proof(self) -> str:
        """What a failback from here compares in its downtime; empty where none is next."""
        return status.proof({**self.document, "state": self.state}) if self.view else ""

    @property
    def leases(self) -> list[tuple[str, str]]:
        return status.leases(self.document)

    @property
    def sites(self) -> dict[str, str]:
        return site_names(self.plan)

    @cached_property
    def _owned(self) -> tuple[str | None, int] | None:
        """Owner and epoch; None where neither is known."""
        known = next((course.owned for course in self._since if course.owned), None)
        if known:
            return known
        return (self.view.owner, self.view.epoch) if self.view else None

    @property
    def held(self) -> dict[str, Any]:
        """Owner (by role) and epoch, as far as they are known."""
        return {} if self._owned is None else {"owner": self._owned[0], "epoch": self._owned[1]}

    @property
    def owner(self) -> str:
        """The owning site by its display name."""
        if self._owned is None:
            return units.UNKNOWN
        return self.sites[self._owned[0]] if self._owned[0] else "nobody"

    @property
    def owner_detail(self) -> str:
        if self._owned is None:
            return ""
        return f" ({self._owned[0]}), epoch {self._owned[1]}" if self._owned[0] else f", epoch {self._owned[1]} was released"

    @property
    def silent(self) -> tuple[str, ...]:
        """Hosts that did not answer at the last look."""
        return self.view.unreachable if self.view else ()

    @property
    def lag(self) -> Lag:
        """As it was seen; of a plan that has changed hands since, it is not known."""
        known = self.view.lag if self.view and self._owned and self._owned[0] == self.view.owner else None
        age = known.age if known else None
        at = self.seen.at - age if self.seen and age is not None else None
        return Lag(known.bytes if known else None, at, float(self.plan["targets"]["rpo"]))

    @cached_property
    def active(self) -> Run | None:
        return self.told.active if self.told else runs.active(self.desk.store, self.name)

    @cached_property
    def choices(self) -> list[Choice]:
        run = self.active
        active = Active(run, self.desk.courses.of(self.desk.store, run.id).moved) if run else None
        found = choices.choices(self.plan, self.document, active, self.role)
        if not self.outside or self.role >= Role.dr_admin:
            return found
        return [replace(one, refused=one.refused or self.outside) if one.action == FAILBACK else one for one in found]

    @cached_property
    def calendar(self) -> Calendar:
        return self.told.calendar if self.told else Calendar.read(self.desk.store, self.plan, time.time())

    @cached_property
    def outside(self) -> str:
        """Why no failback may begin now by the maintenance windows; empty where one may, or goes on."""
        now = time.time()
        if not self.calendar.binding(now) or windows.under_way(self.desk.store, self.name):
            return ""
        refusal = windows.outside(self.calendar, now)
        return refusal.what[:1].upper() + refusal.what[1:] if refusal else ""

    @cached_property
    def opened(self) -> Occurrence | None:
        """The maintenance window that is open."""
        return next(iter(self.calendar.open(time.time())), None)

    @cached_property
    def coming(self) -> Occurrence | None:
        return self.calendar.coming(time.time())

    @property
    def lapsed(self) -> Occurrence | None:
        """The maintenance window that should have begun the failback, and did not."""
        return self.calendar.lapsed(self.state, time.time())

    @cached_property
    def scheduled(self) -> Occurrence | None:
        """The maintenance window whose opening begins the failback."""
        return self.calendar.scheduled(self.state, time.time())

    def choice(self, action: str) -> Choice | None:
        return next((one for one in self.choices if one.action == action), None)

    @cached_property
    def question(self) -> Question | None:
        """What the plan's newest failback or rollback asks."""
        if self.active:
            return None
        newest = runs.newest_move(self.desk.store, self.name)
        return question(self.plan, newest, self.document, self.seen.at if self.seen else None, self.role)

    @property
    def what_now(self) -> str:
        if self.active:
            return f"A run is at work on the plan ({self.active.action}): watch it."
        if self.scheduled:
            return f"The failback begins by itself when window {self.scheduled.name} opens: {self.scheduled.told}."
        return choices.what_now(self.plan, self.state, self.silent)

    @cached_property
    def latest(self) -> list[Run]:
        return runs.latest(self.desk.store, plan=self.name, limit=SHOWN_RUNS)

    @cached_property
    def tested(self) -> Run | None:
        return runs.newest_test(self.desk.store, self.name)

    @cached_property
    def course(self) -> Course | None:
        """Of the run that is active, else of the last one that changed something: where its resources stand."""
        run = self.active or next((run for run in self.latest if run.exclusive), None)
        return self.desk.courses.of(self.desk.store, run.id) if run else None

    @property
    def pause(self) -> Pause | None:
        """What the active run asks a person while it waits."""
        return self.course.pauses.open if self.active and self.course else None

    @property
    def pause_answer(self) -> answers.Answer | None:
        pause, run = self.pause, self.active
        return next((one for one in answers.of(self.desk.store, run.id) if pause and one.hook == pause.hook), None) if run else None

    @property
    def resources(self) -> Mapping[str, str]:
        """Where the newest run has brought them, if the plan was not seen since."""
        return self._since[0].resources if self._since else {}

    def instances(self, resource: str) -> list[Mapping[str, Any]]:
        """Host, state and why of a resource's instance: where it runs or should not be as it is, else where it is stopped."""
        found = [one for one in self.document.get("instances") or [] if one["name"] == resource]
        return [one for one in found if one["state"] != "STOPPED"] or found[:1]

    @cached_property
    def lacking(self) -> dict[str, list[str]]:
        """Host → the accelerators that it lacks."""
        return status.lacking(self.document.get("volumes") or [])

    @cached_property
    def _cycles(self) -> Mapping[str, Mapping[str, Any]]:
        """Volume → what its newest cycle said of itself, cycles of the schedule included."""
        found: dict[str, Mapping[str, Any]] = {}
        for run in runs.latest(self.desk.store, plan=self.name, limit=SHOWN_RUNS, cycles=True):
            for item in reversed((run.result or {}).get("results") or []):
                if item.get("module") == "xdr_delta_sync" and "method" in item and "cycle" in item:
                    found.setdefault(str(item["volume"]), item)
        return found

    @property
    def points(self) -> list[tuple[str, float | None]]:
        """The recovery points to which a failover may go back, the newest first, each with its point in time."""
        hosts = self.plan["sites"]["dr"]["hosts"]
        rows = [row for row in self.document.get("volumes") or [] if row["host"] in hosts and row.get("role") == "target"]
        at = {name: time for row in rows for name, time in status.points(row)}
        return [(name, at[name]) for name in recovery_points.choosable(self.plan, rows)]

    def copies(self, volume: str) -> Iterator[VolumeCopy]:
        """The volume at each site, as its host told; the source first."""
        rows = [row for row in self.document.get("volumes") or [] if row["volume"] == volume]
        for row in sorted(rows, key=lambda row: row.get("role") != "source"):
            yield VolumeCopy(row, self.seen.at if self.seen else 0.0, self._cycles.get(volume, {}))


@dataclass(frozen=True)
class VolumeCopy:
    row: Mapping[str, Any]
    seen_at: float
    newest: Mapping[str, Any]  # what the newest cycle said of itself

    @property
    def host(self) -> str:
        return str(self.row["host"])

    @property
    def role(self) -> str:
        return str(self.row.get("role") or "no role")

    @property
    def is_source(self) -> bool:
        return self.role == "source"

    @property
    def size(self) -> Any:
        return self.row.get("size")

    @property
    def lag_bytes(self) -> Any:
        return self.row.get("lag_bytes")

    @property
    def point_at(self) -> float | None:
        age = self.row.get("lag_age_s")
        return self.seen_at - age if isinstance(age, (int, float)) else None

    @property
    def method(self) -> str:
        """How the newest cycle read the volume."""
        return METHODS.get(str(self.newest.get("method", "")), units.UNKNOWN) if self.row.get("cycle") else ""

    @property
    def why(self) -> str:
        """Why it was not read in a faster way."""
        return str(self.newest.get("why") or "")

    @property
    def torn(self) -> str:
        """Why the newest cycle is no point in time."""
        return status.torn(self.row)

    @property
    def how(self) -> str:
        """How it is known that it is one."""
        return str(self.row.get("how") or "")

    @property
    def points(self) -> list[tuple[str, float | None]]:
        """The recovery points with their times, the newest first."""
        return status.points(self.row)[::-1]
