# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The pages of the runs: all of them, one with its live log, and the buttons of an active one."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from .. import achieved, question, units
from ..actions import asked
from ..board import Volume
from ..choices import Active, stop_refused
from ..cutover import counting
from ..store import answers, events, runs
from ..store.accounts import Role
from ..store.runs import MOVES, ROLLBACK, STOP, Run
from .course import Course
from .diagnosis import found_by
from .environment import Plan
from .lines import Line, line
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
    return _send(visit, STOP)


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
    refusal = stop_refused(run, visit.user.role) if message == STOP else _rollback_refused(visit, run)
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
    """``before``: of a page of older lines, the number of the first line that is not on it; 0 for the newest lines, which go on."""

    lines: list[Line]
    before: int

    @property
    def last(self) -> int:
        return self.lines[-1].seq if self.lines else 0

    @property
    def missing(self) -> int:
        """Events before its first line."""
        return self.lines[0].seq - 1 if self.lines else 0


def _log(visit: Visit, run: Run) -> Log:
    text = visit.request.query_params.get("before", "") if visit.request.method == "GET" else ""
    if text and not (text.isascii() and text.isdecimal() and len(text) < 12):
        raise HTTPException(400, "before is the number of an event")
    before = int(text or 0)
    end = before or events.last(visit.desk.store, run.id) + 1
    found = events.after(visit.desk.store, run.id, max(0, end - 1 - LINES), limit=min(LINES, end - 1)) if end > 1 else []
    return Log([line(event) for event in found], before)


def _page(visit: Visit, run: Run, refusal: str = "", status: int = 200, *, with_log: bool = True) -> Response:
    store = visit.desk.store
    plan = visit.desk.inventory.plans.get(run.plan)
    facts = _facts(visit, run)
    course = visit.desk.courses.of(store, run.id)
    pause = None if run.ended else course.pauses.open
    return page(
        visit,
        "run.html" if with_log else "board.html",
        status,
        run=run,
        course=course,
        volumes=volumes(run, course, plan),
        log=_log(visit, run) if with_log else None,
        lines=LINES,
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


def volumes(run: Run, course: Course, plan: Plan | None) -> dict[str, Volume | None]:
    """What is told of them, in the plan's order; None for one that the run will send. All from the first moment on, lest the page jumps."""
    told = course.volumes
    groups = plan["start_order"] if plan else []
    names = [volume["name"] for group in groups for resource in group["resources"] for volume in resource["volumes"]]
    awaited = names if run.action in SENDING and not run.check and not run.ended else []
    return {name: told.get(name) for name in dict.fromkeys((*names, *told)) if name in told or name in awaited}


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
