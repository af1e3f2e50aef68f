# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The pages of the runs: all of them, one with its live log, and the buttons of an active one."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from urllib.parse import quote

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.window import Window
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from .. import achieved, durations, question, units
from ..actions import asked
from ..board import Volume
from ..choices import Active, stop_refused
from ..cutover import counting
from ..store import Store, answers, events, runs
from ..store.accounts import Role
from ..store.runs import MOVES, ROLLBACK, STOP, STOP_AFTER, Run
from .course import COMMITS, FAILBACK, QUIET, Course, Step
from .diagnosis import found_by
from .environment import Plan
from .lines import Line, Names, line, names
from .pages import page
from .plan_facts import PlanFacts
from .previews import shown
from .visit import Visit, allowed

SHOWN = 50
LINES = 500  # of a log on its page, which links to those before
SENDING = ("failback", "reverse-replication", "replicate", "reprotect")


@allowed(Role.viewer)
def overview(visit: Visit) -> Response:
    before = visit.request.query_params.get("before", "")
    cycles = visit.request.query_params.get("cycles") == "1"
    found = runs.latest(visit.desk.store, limit=SHOWN, cycles=cycles, before=_time(before))
    return page(visit, "runs.html", runs=found, cycles=cycles, older=found[-1].requested_at if len(found) == SHOWN else None)


def _time(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise HTTPException(400, "before is a time") from None


@allowed(Role.viewer)
def one(visit: Visit) -> Response:
    return _page(visit, _run(visit))


@allowed(Role.viewer)
def board(visit: Visit) -> Response:
    """The page without its log, which has a stream of its own."""
    return _page(visit, _run(visit), with_log=False)


@allowed(Role.operator)
def stop(visit: Visit) -> Response:
    return _send(visit, STOP_AFTER if visit.form.get("after") == "step" else STOP)


@allowed(Role.operator)
def rollback(visit: Visit) -> Response:
    return _send(visit, ROLLBACK)


@allowed(Role.operator)
def answer(visit: Visit) -> Response:
    """Retry, skip or abort: a new run, if this one still asks; yes or no to a pause, which lets this one go on."""
    run, name = _run(visit), visit.form.get("answer", "")
    if "hook" in visit.form:
        return _answer_pause(visit, run, name)
    try:
        asked_for = _given(visit, run, name)
    except XdrError as error:
        visit.note(f"answer {name}"[:64], f"run {run.id} of plan {run.plan}", error.sentence(), "refused")
        return _page(visit, run, error.sentence(), 400 if error.code == "usage" else 409)
    try:
        return _to(runs.request(visit.desk.store, asked_for).id)
    except XdrError as error:
        return _page(visit, _run(visit), error.sentence(), 409)


def _answer_pause(visit: Visit, run: Run, name: str) -> Response:
    hook = visit.form["hook"]
    pause = visit.desk.courses.of(visit.desk.store, run.id).pauses.open
    try:
        if pause is None or pause.hook != hook:
            visit.note(f"answer {name}"[:64], f"run {run.id} of plan {run.plan}", "that pause is not open", "refused")
            raise XdrError("that pause does not wait for an answer any more", where=f"run {run.id}", code="wrong_state")
        answers.give(visit.desk.store, run.id, hook, name, visit.form.get("reason", ""), by=visit.user.name, origin=visit.origin)
    except XdrError as error:
        return _page(visit, run, error.sentence(), 400 if error.code == "usage" else 409)
    return _to(run.id)


def _given(visit: Visit, run: Run, name: str) -> Run:
    """The run that the answer leads to. Raises XdrError: usage, wrong_state, gate_refused."""
    facts = _facts(visit, run)
    asks = facts.question if facts else None
    if asks is None or asks.run.id != run.id:
        raise XdrError(f"run {run.id} asks nothing, or does not any more", where=f"plan {run.plan}", code="wrong_state")
    given = question.given(asks, name, visit.form.get("reason", ""))
    action = next(one.action for one in asks.answers if one.name == name)
    return asked(action, run.plan, by=visit.user.name, origin=visit.origin, answer=given)


def _facts(visit: Visit, run: Run) -> PlanFacts | None:
    plan = visit.desk.inventory.plans.get(run.plan)
    return PlanFacts(visit.desk, plan, visit.user.role) if plan else None


def _to(run_id: str) -> Response:
    return RedirectResponse(f"/runs/{quote(run_id, safe='')}", 303)


def _send(visit: Visit, message: str) -> Response:
    run = _run(visit)
    refusal = _rollback_refused(visit, run) if message == ROLLBACK else stop_refused(run, visit.user.role)
    try:
        if refusal:
            visit.note(message, f"run {run.id} of plan {run.plan}", refusal, "refused")
            return _page(visit, run, refusal, 409)
        runs.send(visit.desk.store, run.id, message, by=visit.user.name, origin=visit.origin)
    except XdrError as error:
        return _page(visit, _run(visit), error.sentence(), 409)
    return _to(run.id)


def _rollback_refused(visit: Visit, run: Run) -> str:
    if run.ended:
        return "The run has ended: roll back from the page of its plan"
    active = Active(run, visit.desk.courses.of(visit.desk.store, run.id).moved)
    if active.moved:
        return "Traffic may have moved already, clients may have written there: the failback goes forward only"
    if not active.can_go_back:
        return f"Only a failback is rolled back; this is a {run.action}" + " that only checks" * run.check
    if run.goes_back:
        return f"The run is being rolled back, as {run.message_by} asked"
    return "" if visit.user.role >= Role.operator else f"It takes the role {Role.operator.label}"


def _run(visit: Visit) -> Run:
    try:
        return runs.get(visit.desk.store, visit.path("run"))
    except XdrError:
        raise HTTPException(404) from None


@dataclass(frozen=True)
class Log:
    """``last``: the number of the event with which it ends; ``before``: of a page of older lines, the number of the first line that is not
    on it, 0 for the newest lines, which go on; ``missing``: events before its first line, or older lines about the chosen resource."""

    lines: list[Line]
    last: int
    before: int = 0
    missing: int = 0


def _log(visit: Visit, run: Run, plan: Plan | None, chosen: str) -> Log:
    store, known = visit.desk.store, names(plan)
    text = visit.request.query_params.get("before", "") if visit.request.method == "GET" else ""
    if text and not (text.isascii() and text.isdecimal() and len(text) < 12):
        raise HTTPException(400, "before is the number of an event")
    if chosen:
        return _log_of(store, run, known, chosen)
    end = int(text or 0) or events.last(store, run.id) + 1
    missing = max(0, end - 1 - LINES)
    found = events.after(store, run.id, missing, limit=min(LINES, end - 1)) if end > 1 else []
    return Log([line(event, known) for event in found], end - 1, int(text or 0), missing)


def _log_of(store: Store, run: Run, known: Names, chosen: str) -> Log:
    """The newest lines about one resource."""
    seq, last, found, older = 0, events.last(store, run.id), list[Line](), 0
    while seq < last and (batch := events.after(store, run.id, seq)):
        seq = batch[-1]["seq"]
        found += [told for event in batch if event["seq"] <= last and chosen in (told := line(event, known)).about]
        older, found = older + max(0, len(found) - LINES), found[-LINES:]
    return Log(found, last, missing=older)


def _page(visit: Visit, run: Run, refusal: str = "", status: int = 200, *, with_log: bool = True) -> Response:
    store = visit.desk.store
    plan = visit.desk.inventory.plans.get(run.plan)
    chosen = _resource(visit, plan)
    facts = _facts(visit, run)
    course = visit.desk.courses.of(store, run.id)
    pause = None if run.ended else course.pauses.open
    window = run.arguments.get("window")
    return page(
        visit,
        "run.html" if with_log else "board.html",
        status,
        run=run,
        course=course,
        volumes=volumes(run, course, plan),
        log=_log(visit, run, plan, chosen) if with_log else None,
        lines=LINES,
        steps=steps(run, course),
        commits=COMMITS,
        foreseen=durations.of(store, run),
        window=Window.from_json(window) if window else None,
        chosen=chosen,
        outcome=outcome(run),
        achieved=list(achieved.told(cost)) if (cost := (run.result or {}).get("achieved")) else [],
        facts=facts,
        **found_by(run),
        question=facts.question if facts and facts.question and facts.question.run.id == run.id else None,
        answered=runs.answer_to(store, run) if run.ended and run.action in MOVES else None,
        pause=pause,
        pause_answer=next((one for one in answers.of(store, run.id) if pause and one.hook == pause.hook), None),
        deadline=counting(run, plan["failback"]["deadline"], course.cutover) if plan else None,
        downtime=plan["failback"]["deadline"] if plan else None,
        stop_refused=stop_refused(run, visit.user.role),
        rollback_refused=_rollback_refused(visit, run),
        shown=shown(visit, run),
        refusal=refusal,
    )


def _resource(visit: Visit, plan: Plan | None) -> str:
    """The one whose log is wanted; all of it where none is named."""
    name = visit.request.query_params.get("resource", "")
    if name and name not in names(plan).values():
        raise HTTPException(404, f"The plan has no resource {name}")
    return name


def steps(run: Run, course: Course) -> list[Step]:
    """Of the newest launch; before the first one of a failback all that are to come."""
    begun = course.steps()
    ahead = run.action == "failback" and not run.ended and not course.launches
    return begun or [Step(name, "pending") for name in FAILBACK if ahead]


def volumes(run: Run, course: Course, plan: Plan | None) -> dict[str, Volume | None]:
    """What is told of them, in the plan's order; None for one that the run will send. All from the first moment on, lest the page jumps."""
    told = course.volumes
    groups = plan["start_order"] if plan else []
    names = [volume["name"] for group in groups for resource in group["resources"] for volume in resource["volumes"]]
    awaited = names if run.action in SENDING and not run.check and not run.ended else []
    return {name: _present(told.get(name)) for name in dict.fromkeys((*names, *told)) if name in told or name in awaited}


def _present(volume: Volume | None) -> Volume | None:
    """Without the rate of a while ago."""
    return volume if volume is None or volume.at >= time.time() - QUIET else replace(volume, rate=0)


def outcome(run: Run) -> str:
    """How it ended, in a sentence."""
    result = run.result or {}
    if not run.ended:
        return ""
    if run.exit_code:
        return run.error or f"It ended with exit code {run.exit_code}"
    if result.get("reason"):
        return f"Nothing to do: {result['reason']}"
    took = units.seconds(result.get("seconds"))
    if run.check:
        return f"Checked in {took}: it may begin. Nothing was changed"
    state = f", the plan is {result['state']}" if result.get("state") else ""
    return f"Done in {took}, {result.get('changed', 0)} changes{state}"
