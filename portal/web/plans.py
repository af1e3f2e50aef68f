# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The pages of the plans, and their buttons."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from .. import approval, windows
from ..actions import asked
from ..choices import NEEDS, Choice
from ..cutover import FAILBACK
from ..store import runs
from ..store.accounts import Role
from ..store.runs import Run
from ..windows import Admission
from . import all_plans
from .lag import spans
from .pages import page
from .plan_facts import PlanFacts
from .visit import Visit, allowed

FAILOVER = "failover"


@allowed(Role.viewer)
def overview(visit: Visit) -> Response:
    given = visit.request.query_params
    found = all_plans.listed(
        all_plans.all_facts(visit.desk, visit.user.role), given.get("q", "").strip(), all_plans.number(given.get("page", ""))
    )
    return page(visit, "plans.html", listed=found)


@allowed(Role.viewer)
def one(visit: Visit) -> Response:
    return _page(visit, facts_of(visit))


@allowed(Role.operator)
def act(visit: Visit) -> Response:
    """A button: request the run, or give the active one its message; a refusal comes back on the page."""
    return begun(visit, check=visit.form.get("check") == "1")


def begun(visit: Visit, *, check: bool) -> Response:
    """The run that is asked for, or why not, on the plan's page."""
    facts = facts_of(visit)
    choice = facts.choice(visit.path("action"))
    if choice is None:
        raise HTTPException(404)
    if refusal := choice.check_refused if check else choice.refused:
        status = 403 if visit.user.role < NEEDS[choice.action] else 409
        return _refuse(visit, facts, choice, f"{choice.title} is refused. {refusal}", status)
    try:
        wanted = _wanted(visit, facts, choice, check)
    except XdrError as error:
        return _refuse(visit, facts, choice, error.sentence(), {"usage": 400, "role": 403}.get(error.code, 409))
    try:
        return _to_run(_begin(visit, choice, wanted))
    except XdrError as error:
        return _page(visit, facts_of(visit), error.sentence(), 409)


def _refuse(visit: Visit, facts: PlanFacts, choice: Choice, refusal: str, status: int) -> Response:
    visit.note(choice.action, f"plan {facts.name}", refusal, "refused")
    return _page(visit, facts, refusal, status)


def _wanted(visit: Visit, facts: PlanFacts, choice: Choice, check: bool) -> Run:
    """The run with what was typed and chosen for it. Raises XdrError: usage, gate_refused."""
    if choice.types_name and not check:
        _confirmed(visit, facts, choice)
    word = " ".join(visit.form.get("attestation", "").split()) if choice.attest else ""
    if choice.attest and not choice.leased and not word:
        raise XdrError("Failover needs your word that the primary site is off: say who saw it, and how", code="usage")
    keep = _kept(visit, facts, choice) if choice.keeps else ""
    reason = " ".join(visit.form.get("reason", "").split()) if choice.reason or keep else ""
    if (choice.reason or keep) and not reason:
        raise XdrError(f"{choice.title} needs a reason: say who knows it, and how", code="usage")
    point = visit.form.get("recovery_point", "") if choice.action == FAILOVER else ""
    typed: dict[str, Any] = {"attestation": word, "point": point, "reason": reason, "keep": keep}
    if choice.action == FAILBACK:
        typed |= _admitted(visit, facts, check).__dict__
    if not check and not choice.message_to:
        typed["approved"] = _approved(visit, facts, choice)
    return asked(choice.action, facts.name, by=visit.user.name, origin=visit.origin, check=check, **typed)


def _approved(visit: Visit, facts: PlanFacts, choice: Choice) -> dict[str, Any]:
    """What the start brings along. Raises XdrError: usage, gate_refused."""
    store, form = visit.desk.store, visit.form
    previewed = runs.get(store, form["preview"]) if form.get("preview") else None
    override = " ".join(form.get("without_approval", "").split())
    starter = approval.Starter(visit.user.name, visit.origin)
    return approval.given(store, facts.plan, choice.action, starter, typed=form.get("approved", ""), previewed=previewed, override=override)


def _kept(visit: Visit, facts: PlanFacts, choice: Choice) -> str:
    """The side that was chosen. Raises XdrError, code usage."""
    keep = visit.form.get("keep", "")
    if keep not in choice.keeps:
        raise XdrError(f"{choice.title} needs your choice of the side that is kept", code="usage")
    _confirmed(visit, facts, choice)
    return keep


def _confirmed(visit: Visit, facts: PlanFacts, choice: Choice) -> None:
    """Raises XdrError, code usage, unless the plan's name was typed."""
    if visit.form.get("confirm", "").strip() != facts.name:
        raise XdrError(f"{choice.title} stops services: type the plan's name, {facts.name}, to confirm it", code="usage")


def _admitted(visit: Visit, facts: PlanFacts, check: bool) -> Admission:
    """The window of a failback. A check changes nothing, so it needs no maintenance window. Raises XdrError: usage, gate_refused."""
    until, override = visit.form.get("until", "").strip(), " ".join(visit.form.get("override_window", "").split())
    store, now = visit.desk.store, time.time()
    if check:
        return Admission(windows.window(until, now, store, facts.name) if until else None)
    if override and visit.user.role < Role.dr_admin:
        raise XdrError(f"To override the maintenance windows takes the role {Role.dr_admin.label}", code="role")
    return windows.admitted(store, facts.plan, now, until=until, override=override)


def _begin(visit: Visit, choice: Choice, wanted: Run) -> str:
    """The id of the run. Raises XdrError: run_active, wrong_state."""
    store = visit.desk.store
    if choice.message_to:
        return runs.send(store, choice.message_to, runs.ROLLBACK, by=visit.user.name, origin=visit.origin).id
    return runs.request(store, wanted).id


def _to_run(run_id: str) -> Response:
    return RedirectResponse(f"/runs/{quote(run_id, safe='')}", 303)


def facts_of(visit: Visit) -> PlanFacts:
    plan = visit.desk.inventory.plans.get(visit.path("plan"))
    if plan is None:
        raise HTTPException(404)
    return PlanFacts(visit.desk, plan, visit.user.role)


def _page(visit: Visit, facts: PlanFacts, refusal: str = "", status: int = 200) -> Response:
    store, starter = visit.desk.store, approval.Starter(visit.user.name, visit.origin)
    lacking = {choice.action: approval.lacking(store, facts.plan, choice.action, starter) for choice in facts.choices}
    more = {"refusal": refusal, "lacking": lacking, "spans": spans(store, facts.plan)}
    return page(visit, "plan.html", status, facts=facts, plan=facts.plan, **more)
