# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The pages of a plan's incidents: all of them, and the report of one, to which people add notes."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from .. import checklist, incident, report
from ..edition import versions_of
from ..incident import Incident
from ..runbook import Runbook
from ..store import notes
from ..store.accounts import Role
from .pages import page
from .visit import Visit, allowed


@allowed(Role.viewer)
def overview(visit: Visit) -> Response:
    plan = visit.path("plan")
    found = incident.of_plan(visit.desk.store, plan)
    if not found and plan not in visit.desk.inventory.plans:
        raise HTTPException(404)
    return page(visit, "incidents.html", plan=plan, incidents=found)


@allowed(Role.viewer)
def one(visit: Visit) -> Response:
    found = _incident(visit)
    if visit.request.query_params.get("format") == "json":
        return JSONResponse(_report(visit, found))
    return _page(visit, found)


@allowed(Role.operator)
def note(visit: Visit) -> Response:
    found = _incident(visit)
    try:
        text, item = visit.form.get("text", ""), visit.form.get("item", "")
        if item and item not in checklist.ITEMS:
            raise XdrError(f"{item!r} is no item of the checklist", todo=f"It has: {', '.join(checklist.ITEMS)}", code="usage")
        notes.add(visit.desk.store, found.id, found.plan, text, by=visit.user.name, origin=visit.origin, item=item)
    except XdrError as error:
        visit.note("note", f"incident {found.id} of plan {found.plan}", error.sentence(), "refused")
        return _page(visit, found, error.sentence(), 400)
    return RedirectResponse(f"/plans/{quote(found.plan, safe='')}/incidents/{quote(found.id, safe='')}#notes", 303)


def _incident(visit: Visit) -> Incident:
    found = incident.one(visit.desk.store, visit.path("plan"), visit.path("run"))
    if found is None:
        raise HTTPException(404)
    return found


def _report(visit: Visit, found: Incident) -> dict[str, Any]:
    plan = visit.desk.inventory.plans.get(found.plan)
    return report.of(visit.desk.store, found, versions_of(Runbook(visit.desk.inventory.folder, plan)).known() if plan else ())


def _page(visit: Visit, found: Incident, refusal: str = "", status: int = 200) -> Response:
    return page(visit, "incident.html", status, report=_report(visit, found), refusal=refusal, longest=notes.LONGEST)
