# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The button that finds out what is wrong with a plan or a site, and the page of what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from ..actions import ALL_PLANS, asked
from ..diagnosis.finding import Finding, summary
from ..diagnosis.gather import DIAGNOSE
from ..store import runs
from ..store.accounts import Role
from ..store.runs import Run
from .pages import page
from .visit import Visit, allowed

LOOKED_THROUGH = 50  # of the newest runs


@dataclass(frozen=True)
class Subject:
    """A plan or a site."""

    kind: str  # plan, site
    name: str

    @property
    def path(self) -> str:
        return f"/{self.kind}s/{quote(self.name, safe='')}"


@allowed(Role.viewer)
def one(visit: Visit) -> Response:
    return _page(visit, _subject(visit))


@allowed(Role.operator)
def find_out(visit: Visit) -> Response:
    subject = _subject(visit)
    if active := next((run for run in _runs(visit, subject) if not run.ended), None):
        refusal = f"It is being found out already: run {active.id}, asked for by {active.requested_by}"
        visit.note(DIAGNOSE, f"{subject.kind} {subject.name}", refusal, "refused")
        return _page(visit, subject, refusal, 409)
    plan, site = (subject.name, "") if subject.kind == "plan" else ("", subject.name)
    runs.request(visit.desk.store, asked(DIAGNOSE, plan, by=visit.user.name, origin=visit.origin, site=site))
    return RedirectResponse(f"{subject.path}/diagnosis", 303)


def _subject(visit: Visit) -> Subject:
    inventory, named = visit.desk.inventory, visit.request.path_params
    if named.get("plan") in inventory.plans:
        return Subject("plan", str(named["plan"]))
    if named.get("site") in {site["site"] for site in inventory.listed()["sites"]}:
        return Subject("site", str(named["site"]))
    raise HTTPException(404)


def _runs(visit: Visit, subject: Subject) -> list[Run]:
    """The diagnoses of the subject, the newest first."""
    of_plan = subject.kind == "plan"
    found = runs.latest(visit.desk.store, plan=subject.name if of_plan else ALL_PLANS, limit=LOOKED_THROUGH)
    return [run for run in found if run.action == DIAGNOSE and (of_plan or run.arguments.get("site") == subject.name)]


def found_by(run: Run) -> dict[str, Any]:
    """What a template needs of the findings of a run that may be a diagnosis."""
    told = (run.result or {}).get("findings")
    findings = [Finding.from_json(one) for one in told or []]
    return {"findings": findings, "summary": summary(findings) if findings else ""}


def _page(visit: Visit, subject: Subject, refusal: str = "", status: int = 200) -> Response:
    known = _runs(visit, subject)
    newest = next((run for run in known if run.ended), None)
    return page(
        visit,
        "diagnosis.html",
        status,
        subject=subject,
        active=next((run for run in known if not run.ended), None),
        newest=newest,
        refusal=refusal,
        **(found_by(newest) if newest else {"findings": [], "summary": ""}),
    )
