# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Carries out one run: launches its playbooks, one after another, until the run's course (course.py) has ended.

Everything here may be repeated after a death at any point: what was launched is told by the run's row and the launches' folders.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils import answers as handed
from ansible_collections.xdr.failback.plugins.plugin_utils.window import clock

from .. import achieved, actions, plan_view, preview, sightings
from .. import runs as folders
from ..cutover import FAILBACK, Cutover, begin_by, counting, gathered
from ..diagnosis.gather import DIAGNOSE, diagnosed
from ..events import Event, Listener
from ..results import RunResult, code_of
from ..runs import RunRequest
from ..sightings import SITE_TEST
from ..store import Store, answers, events, runs
from ..store.runs import Run
from .course import Ended, Launch, Result, next_step
from .ledger import Leaving, Ledger, insist, of_interest
from .takeover import Takeover

LISTEN = 0.3  # seconds between two looks for a message
WAIT = 0.3

Prepare = Callable[[Run, Path], RunRequest]
log = logging.getLogger("xdr.worker")


def requested(run: Run, inventory: Path) -> RunRequest:
    """The launch of a run's playbook. Raises XdrError for an environment that is not there or has a plan that is invalid."""
    plan = "" if run.plan == actions.ALL_PLANS else run.plan
    found = plan_view.one_plan(plan, inventory) if plan else plan_view.all_plans(inventory)
    attestation, point, reason, keep = (run.arguments.get(name, "") for name in ("attestation", "recovery_point", "reason", "keep"))
    typed = {"attestation": attestation, "point": point, "reason": reason, "keep": keep, "by": run.requested_by}
    wanted = actions.request(run.action, plan, inventory, **typed, transfer=bool(run.arguments.get("transfer")), check=run.check)
    return replace(wanted, downtime=found["failback"]["deadline"]) if run.action == FAILBACK and not run.check else wanted


def launch_id(run: Run, attempt: int) -> str:
    return run.id if attempt == 1 else f"{run.id}-{attempt}"


@dataclass
class Executor:
    """``ending`` is set when the worker is to end: playbooks are ended, their runs left to the next worker."""

    store: Store
    inventory: Path
    var: Path
    worker: str
    ending: threading.Event
    prepare: Prepare = requested
    on_event: Listener | None = None
    on_end: Callable[[Run], None] | None = None
    _mine: set[str] = field(default_factory=set)
    _claiming: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.takeover = Takeover(self.store, self.var)

    def execute(self, run_id: str) -> None:
        """To its end; a run that has ended is left alone. Raises Leaving."""
        with self._only_here(run_id):
            run = self.patiently(lambda: runs.get(self.store, run_id))
            if run.ended:
                return
            log.info("run %s: %s of plan %s", run.id, run.action, run.plan)
            self._conclude(run, _Execution(self, run).whole())
        if self.on_end:
            self.on_end(run)

    def patiently(self, what: Callable[[], Any]) -> Any:
        return insist(what, self.ending)

    def _conclude(self, run: Run, document: Result) -> None:
        """Tell the end as the run's last event, once, and in its row."""
        kept = {**document, "results": [], "view": None, "steps": []} if run.cycle and not document["exit_code"] else document
        ended = {"kind": "ended", "at": round(time.time(), 3), "exit_code": document["exit_code"], "error": document["error"]}

        def tell() -> None:
            last = events.last(self.store, run.id)
            newest = events.after(self.store, run.id, last - 1) if last else []
            if not newest or newest[-1]["kind"] != "ended":
                events.append(self.store, run.id, [ended], by=self.worker)

        self.patiently(tell)
        more = self._drawn_from(run, document, kept)
        self._told(run, "look at the sites", lambda: self._seen(run, document))  # after the findings, which tell since when something is so
        self.patiently(lambda: runs.finish(self.store, run.id, {**kept, **more}, by=self.worker))
        if self.on_event:
            self.on_event({"seq": 0, "run": run.id, **ended})
        log.info("run %s ended with %s %s", run.id, document["exit_code"], document["error"])

    def _drawn_from(self, run: Run, document: Result, kept: Result) -> Result:
        """What is kept beside the result. What cannot be told is left out: no run waits for it with its end."""

        def cost() -> Any:
            found = achieved.of(self.store, run, self._targets(run))
            return found and found.to_json()

        parts: dict[str, Callable[[], Any]] = {
            "achieved": cost,
            "preview": lambda: preview.of(self.store, run, kept),
            "findings": lambda: diagnosed(self.store, self.inventory, run, document) if run.action == DIAGNOSE else None,
        }
        return {name: self._told(run, name, part) for name, part in parts.items()}

    def _seen(self, run: Run, document: Result) -> None:
        """Whoever finds the run ended finds what it has seen."""
        if run.action not in (SITE_TEST, DIAGNOSE) or document["stopped"] or not runs.get(self.store, run.id).attempts:
            return
        seen = sightings.of_run(self.store, run, document["exit_code"], document["error"])
        (sightings.keep if run.action == SITE_TEST else sightings.keep_history)(self.store, seen)

    def _told(self, run: Run, name: str, part: Callable[[], Any]) -> Any:
        def once() -> Any:
            try:
                return part()
            except OSError as error:  # a file of the environment, for which no store is waited for
                raise XdrError(str(error)) from error

        try:
            return self.patiently(once)
        except Exception:
            log.exception("run %s ends without its %s", run.id, name)
            return None

    def _targets(self, run: Run) -> Mapping[str, float]:
        """The plan's, none for one that is not there any more."""
        with contextlib.suppress(XdrError):
            return dict(plan_view.one_plan(run.plan, self.inventory)["targets"])
        return {}

    @contextlib.contextmanager
    def _only_here(self, run_id: str) -> Iterator[None]:
        """One execution of a run: another, of a queue that was told twice, waits and then finds that it has ended."""
        while not self.patiently(lambda: self._claimed(run_id)):
            if self.ending.wait(WAIT):
                raise Leaving
        try:
            yield
        finally:
            self._mine.discard(run_id)

    def _claimed(self, run_id: str) -> bool:
        with self._claiming:
            if run_id in self._mine:
                return False
            if not runs.claim(self.store, run_id, self.worker):
                self.takeover.look()
                return False
            self._mine.add(run_id)
            return True


class _Execution:
    """One run in the hands of this worker."""

    def __init__(self, executor: Executor, run: Run) -> None:
        self._by, self._run = executor, run
        self._keep = of_interest(run)
        self._cutover = Cutover()
        self._folder_now = Path()  # of the launch that goes on

    def whole(self) -> Result:
        """Raises Leaving."""
        began = time.monotonic()
        try:
            return self._launches()
        except XdrError as error:
            return self._refused(code_of(error), error.code, error.sentence(), began)
        except Exception as error:
            log.exception("run %s broke", self._run.id)
            return self._refused(1, "broken", f"the worker could not carry out the run: {error!r}", began)

    def _refused(self, exit_code: int, code: str, error: str, began: float) -> Result:
        run = self._run
        seconds = round(time.monotonic() - began, 3)
        result = RunResult(run.id, run.action, run.plan, exit_code, code, error, stopped=False, seconds=seconds, changed=0)
        return result.to_json()

    def _launches(self) -> Result:
        for number in itertools.count():
            run = self._run = self._by.patiently(lambda: runs.get(self._by.store, self._run.id))
            if run.ended:  # somebody gave it up meanwhile
                return self._refused(run.exit_code or 0, run.code, run.error, time.monotonic())
            self._settle(run)
            if number == 0 and run.attempts:
                self._catch_up(run)
                self._cutover = self._by.patiently(lambda: gathered(self._by.store, self._run.id))
            if number == 0 and self._late():
                continue
            if run.attempts and self._by.patiently(self._overdue):  # before the first launch its gate refuses
                continue
            results = [self._result(run, attempt) for attempt in range(1, run.attempts + 1)]
            step = next_step(run, results)
            if isinstance(step, Ended):
                return step.result
            if self._by.ending.is_set():
                raise Leaving
            if step.why:
                self._tell(step.why)
            self._launch(run, step, results)
        raise AssertionError("every course ends")

    def _folder(self, run: Run, attempt: int) -> Path:
        return self._by.var / "runs" / launch_id(run, attempt)

    def _result(self, run: Run, attempt: int) -> Result | None:
        """As its folder tells, or the store, where another machine has the folder. None where its launcher died before it could say."""
        kept = run.launches or ()
        return _result_of(self._folder(run, attempt)) or (kept[attempt - 1] if attempt <= len(kept) else None)

    def _settle(self, run: Run) -> None:
        """End what an earlier launch has left running. Raises XdrError for a process that cannot be ended."""
        for attempt in range(1, run.attempts + 1):
            folder = self._folder(run, attempt)
            document = read_json(folder / "result.json")
            if folder.exists() and (document is None or document.get("killed")):
                folders.stop(folder, folders.GRACE)
            if folder.exists() and document is None:
                folders.finish(folder, {"run_id": folder.name, "plan": run.plan, "action": run.action, "outcome": "abandoned"})

    def _catch_up(self, run: Run) -> None:
        """Store the events of the last launch that its worker, when it died, had written to the launch's file only."""
        told = [event for event in _events_of(self._folder(run, run.attempts)) if self._keep(event)]
        stored = self._by.patiently(lambda: _stored(self._by.store, run.id, launch_id(run, run.attempts)))
        if told[stored:]:
            missed = [_marked(event) for event in told[stored:]]
            self._by.patiently(lambda: events.append(self._by.store, run.id, missed, by=self._by.worker))

    def _overdue(self) -> bool:
        """Whether the deadline of a failback has passed just now, which is the run's message from here on."""
        run = self._run
        if run.action != FAILBACK or run.message not in ("", runs.STOP_AFTER):
            return False
        due = counting(run, self._downtime, self._cutover)
        if due is None or time.time() < due.at:
            return False
        by, told = f"the deadline ({clock(due.at)})", f"the deadline has passed before the hand-over, it was {due.told}"
        return bool(runs.send(self._by.store, run.id, runs.DEADLINE, by=by, origin=runs.SCHEDULE, told=told).message)

    def _late(self) -> bool:
        """Whether what a window began is undone, as its worker died and no other came in time: late no downtime begins.

        Raises XdrError, gate_refused, where it was not launched before.
        """
        run, limit = self._run, begin_by(self._run, self._cutover)
        if limit is None or run.message or time.time() <= limit or (run.attempts and self._result(run, run.attempts)):
            return False
        why = f"its window has opened while nobody worked on it: it was to begin by {clock(limit)}"
        if not run.attempts:
            raise XdrError(f"{why}; nothing was changed", where=f"plan {run.plan}", todo="Wait for the next window", code="gate_refused")
        by = f"the time by which its window was to begin it ({clock(limit)})"
        self._by.patiently(lambda: runs.send(self._by.store, run.id, runs.DEADLINE, by=by, origin=runs.SCHEDULE, told=why))
        return True

    @cached_property
    def _downtime(self) -> float | None:
        return self._by.prepare(self._run, self._by.inventory).downtime

    def _tell(self, text: str) -> None:
        event = {"kind": "message", "level": "warning", "at": round(time.time(), 3), "text": text}
        self._by.patiently(lambda: events.append(self._by.store, self._run.id, [event], by=self._by.worker))
        if self._by.on_event:
            self._by.on_event({"seq": 0, "run": self._run.id, **event})

    def _launch(self, run: Run, step: Launch, results: Sequence[Result | None]) -> None:
        kept = [result and {**result, "results": [], "steps": []} for result in results]
        attempt = self._by.patiently(lambda: runs.begin(self._by.store, run.id, self._by.worker, kept))
        if not attempt:
            return
        arguments = self._arguments(run, step)
        wanted = self._by.prepare(replace(run, action=step.action, arguments=arguments), self._by.inventory)
        wanted = replace(actions.decided(wanted, arguments), run_id=launch_id(run, attempt))
        if step.action == run.action:
            self._downtime = wanted.downtime
        stop = threading.Event()
        self._folder_now = wanted.folder
        ledger_of = Ledger(self._by.store, run.id, self._by.worker, self._by.ending)
        with ledger_of as ledger, self._listening(step.heeds, stop), self._answering(wanted):

            def on_event(event: Event) -> None:
                self._cutover.add(event)
                if self._keep(event):
                    ledger.add(_marked(event))
                    if self._by.on_event:
                        self._by.on_event(event)

            actions.execute(wanted, on_event, stop)

    def _arguments(self, run: Run, step: Launch) -> Mapping[str, Any]:
        if step.action == run.action:
            return run.arguments
        return {"before_offer": True} if run.message == runs.DEADLINE else {}

    @contextlib.contextmanager
    def _listening(self, heeds: bool, stop: threading.Event) -> Iterator[None]:
        """Set ``stop`` when the run gets a message or the worker is to end, which does not wait for a store that is slow to answer."""
        over = threading.Event()

        def until(asked: Callable[[], object]) -> None:
            while not over.wait(LISTEN):
                if asked():
                    stop.set()
                    return

        for asked in (self._by.ending.is_set, *[self._is_told] * heeds):
            threading.Thread(target=until, args=(asked,), name=f"stop-{self._run.id}", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    @contextlib.contextmanager
    def _answering(self, wanted: RunRequest) -> Iterator[None]:
        """Hand on to the playbook what people answered to its pauses, also before an earlier launch died."""
        over = threading.Event()

        def until() -> None:
            while not over.wait(LISTEN):
                with contextlib.suppress(Exception):  # the store is asked again in a moment
                    for one in answers.of(self._by.store, self._run.id) if wanted.folder.exists() else ():
                        handed.write(wanted.answers, one.hook, handed.Answer(one.answer, one.reason, one.who))

        threading.Thread(target=until, name=f"answers-{self._run.id}", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _is_told(self) -> bool:
        """Whether the launch is to end: for a message, or for the deadline, which becomes one."""
        try:
            message = runs.message(self._by.store, self._run.id)
            if message == runs.STOP_AFTER:
                folders.stop_after_step(self._folder_now)
                message = ""
            return bool(message) or self._overdue()
        except Exception as error:  # it is asked again in a moment
            log.warning("the store does not answer: %s", error)
            return False


def _result_of(folder: Path) -> Result | None:
    """None where the launch has no result of its own: its launcher died."""
    document = read_json(folder / "result.json")
    return document if document and "exit_code" in document else None


def _events_of(folder: Path) -> list[Event]:
    with contextlib.suppress(FileNotFoundError):
        whole = (folder / "events.jsonl").read_text(encoding="utf-8").rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]
    return []


def _marked(event: Event) -> Event:
    """The first event of a launch says in the store which launch it is of."""
    return {**event, "launch": event["run"]} if event["kind"] == "started" else event


def _stored(store: Store, run_id: str, launch: str) -> int:
    """How many events of this launch, the last one so far, the store has."""
    seq = begun = 0
    while batch := events.after(store, run_id, seq):
        seq = batch[-1]["seq"]
        begun = next((event["seq"] for event in batch if event["kind"] == "started" and event.get("launch") == launch), begun)
    return seq - begun + 1 if begun else 0
