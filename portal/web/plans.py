# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The pages of the plans, and their buttons."""

from __future__ import annotations

import time
from urllib.parse import quote

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.window import Window
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from .. import windows
from ..actions import asked, attested
from ..choices import NEEDS, Choice
from ..cutover import FAILBACK
from ..store import runs
from ..store.accounts import Role
from .pages import page
from .plan_facts import PlanFacts
from .visit import Visit, allowed


@allowed(Role.viewer)
def overview(visit: Visit) -> Response:
    facts = [PlanFacts(visit.desk, plan, visit.user.role) for _, plan in sorted(visit.desk.inventory.plans.items())]
    return page(visit, "plans.html", plans=facts)


@allowed(Role.viewer)
def one(visit: Visit) -> Response:
    return _page(visit, _facts(visit))


@allowed(Role.operator)
def act(visit: Visit) -> Response:
    """A button: request the run, or give the active one its message; a refusal comes back on the page."""
    facts = _facts(visit)
    choice = facts.choice(visit.path("action"))
    if choice is None:
        raise HTTPException(404)
    check = visit.form.get("check") == "1"
    attestation = " ".join(visit.form.get("attestation", "").split())
    refusal, status = _refused(visit, choice, check, attestation)
    if refusal:
        visit.note(choice.action, f"plan {facts.name}", refusal, "refused")
        return _page(visit, facts, refusal, status)
    try:
        window = _window(visit, facts, choice)
    except XdrError as error:
        visit.note(choice.action, f"plan {facts.name}", error.sentence(), "refused")
        return _page(visit, facts, error.sentence(), 400 if error.code == "usage" else 409)
    try:
        return _to_run(_begin(visit, facts, choice, check, attestation, window))
    except XdrError as error:
        return _page(visit, _facts(visit), error.sentence(), 409)


def _window(visit: Visit, facts: PlanFacts, choice: Choice) -> Window | None:
    """The window that was typed for a failback. Raises XdrError: usage, gate_refused."""
    text = visit.form.get("until", "").strip()
    return windows.window(text, time.time(), visit.desk.store, facts.name) if text and choice.action == FAILBACK else None


def _refused(visit: Visit, choice: Choice, check: bool, attestation: str) -> tuple[str, int]:
    if refusal := choice.check_refused if check else choice.refused:
        return f"{choice.title} is refused. {refusal}", 403 if visit.user.role < NEEDS[choice.action] else 409
    if choice.attest and not attestation:
        return "Failover needs your word that the primary site is off: say who saw it, and how", 400
    try:
        attested(attestation)
    except XdrError as error:
        return error.sentence(), 400
    return "", 0


def _begin(visit: Visit, facts: PlanFacts, choice: Choice, check: bool, attestation: str, window: Window | None) -> str:
    """The id of the run. Raises XdrError: run_active, wrong_state."""
    store, by = visit.desk.store, visit.user.name
    if choice.message_to:
        return runs.send(store, choice.message_to, runs.ROLLBACK, by=by, origin=visit.origin).id
    word = attestation if choice.attest else ""
    wanted = asked(choice.action, facts.name, by=by, origin=visit.origin, attestation=word, check=check, window=window)
    return runs.request(store, wanted).id


def _to_run(run_id: str) -> Response:
    return RedirectResponse(f"/runs/{quote(run_id, safe='')}", 303)


def _facts(visit: Visit) -> PlanFacts:
    plan = visit.desk.inventory.plans.get(visit.path("plan"))
    if plan is None:
        raise HTTPException(404)
    return PlanFacts(visit.desk, plan, visit.user.role)


def _page(visit: Visit, facts: PlanFacts, refusal: str = "", status: int = 200) -> Response:
    return page(visit, "plan.html", status, facts=facts, plan=facts.plan, refusal=refusal)
