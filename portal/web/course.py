# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The course of a run, gathered from its events: its launches with their steps, its resources and volumes."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..board import Board, Volume
from ..cutover import Cutover
from ..events import Event
from ..pauses import Pauses
from ..store import Store, events

QUIET = 5.0  # seconds without a word of a volume after which its rate is no present one
KEPT = 1000  # courses in memory; one that is dropped is gathered again
FAILBACK = (
    *("preflight", "stop_services", "release", "final_sync", "verify", "hand_over", "start_instances", "health_checks"),
    "switch_traffic",
)
HOOK = "hook"  # a step of the plan's own, between any two


@dataclass(frozen=True)
class Step:
    name: str
    state: str  # pending, running, ok, failed
    begin: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Commit:
    """A point of a failback that its steps lead to; ``told`` says what changes there."""

    name: str
    told: str


COMMITS = {"hand_over": Commit("C1", "ownership moves"), "switch_traffic": Commit("C2", "no way back")}


class Launch:
    """One ansible-playbook of the run: the first, one after a worker's death, or the rollback."""

    def __init__(self, playbook: str, at: float) -> None:
        self.playbook, self.at = playbook, at
        self.board = Board()
        self.entered: list[str] = []
        self.task = ""

    def add(self, event: Event) -> None:
        self.board.add(event)
        if event["kind"] == "task":
            self.task = event["task"]
            if event["step"] and event["step"] not in self.entered:
                self.entered.append(event["step"])

    def steps(self) -> Iterator[Step]:
        board = self.board
        for phase in board.phases.values():
            now = phase.name == board.current and not board.over
            state = "running" if now and phase.result != "failed" else "ok" if phase.result == "running" else phase.result
            yield Step(phase.name, state, phase.begin, None if now else phase.end - phase.begin)
        if board.current and board.current not in board.phases and not board.over:
            yield Step(board.current, "running", board.entered)
        yield from (Step(name, "pending") for name in self._to_come())

    def _to_come(self) -> tuple[str, ...]:
        """What follows in a failback that goes well; nothing where it does not."""
        entered = [name for name in self.entered if name != HOOK]
        if self.playbook != "failback.yml" or self.board.over or set(entered) - set(FAILBACK):
            return ()
        if any(phase.result == "failed" for phase in self.board.phases.values()):
            return ()
        return FAILBACK[max(map(FAILBACK.index, entered), default=-1) + 1 :]


class Course:
    def __init__(self) -> None:
        self.seq, self.at = 0, 0.0  # the number of the last event, and when it was
        self.launches: list[Launch] = []
        self.record: Mapping[str, Any] = {}  # the newest that this run wrote
        self.owned: tuple[str | None, int] | None = None  # owner and epoch by those records
        self.cutover = Cutover()
        self.pauses = Pauses()
        self._lock = threading.Lock()

    def follow(self, store: Store, run_id: str) -> Course:
        """Gather what came since."""
        with self._lock:
            while batch := events.after(store, run_id, self.seq):
                for event in batch:
                    self.add(event)
        return self

    def add(self, event: Event) -> None:
        self.seq, self.at = event["seq"], event["at"]
        self.cutover.add(event)
        self.pauses.add(event)
        if event["kind"] == "message" and not self.launches:
            return  # what was said before the first launch
        if event["kind"] == "started" or not self.launches:
            self.launches.append(Launch(str(event.get("playbook", "")), event["at"]))
        self.launches[-1].add(event)
        record = event.get("record")
        if event["kind"] == "result" and event["status"] == "changed" and isinstance(record, dict) and record.get("status"):
            self.record = record
            if record.get("standing") in ("accepted", "released"):
                self.owned = (record["owner"], record["epoch"])

    @property
    def task(self) -> str:
        """What it does now."""
        last = self.launches[-1] if self.launches else None
        return last.task if last and not last.board.over else ""

    @property
    def moved(self) -> bool:
        """Whether traffic may have moved."""
        return any("switch_traffic" in launch.entered for launch in self.launches)

    @property
    def resources(self) -> dict[str, str]:
        return {name: state for launch in self.launches for name, state in launch.board.resources.items()}

    @property
    def volumes(self) -> dict[str, Volume]:
        return {name: volume for launch in self.launches for name, volume in launch.board.volumes.items()}

    @property
    def flow(self) -> Volume | None:
        """All volumes that the newest launch sends as one, at the rate of this moment."""
        sent = list(self.launches[-1].board.volumes.values()) if self.launches else []
        if not sent:
            return None
        fresh = time.time() - QUIET
        rate = sum(volume.rate for volume in sent if volume.done < volume.total and volume.at >= fresh)
        return Volume(sum(each.done for each in sent), sum(each.total for each in sent), rate, max(each.at for each in sent))

    def steps(self) -> list[Step]:
        """Of the newest launch."""
        return list(self.launches[-1].steps()) if self.launches else []


class Courses:
    """Those that were looked at last, so that a page does not read a run's events again."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Course] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, store: Store, run_id: str) -> Course:
        return self._course(run_id).follow(store, run_id)

    def of_several(self, store: Store, run_ids: Collection[str]) -> dict[str, Course]:
        """By run; only those of which there is something new are looked up one by one."""
        found = {run_id: self._course(run_id) for run_id in run_ids}
        for run_id, last in events.lasts(store, run_ids).items():
            if found[run_id].seq < last:
                found[run_id].follow(store, run_id)
        return found

    def _course(self, run_id: str) -> Course:
        with self._lock:
            course = self._kept.setdefault(run_id, Course())
            self._kept.move_to_end(run_id)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return course
