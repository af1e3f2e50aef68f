# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The pages of the maintenance windows: of all plans, and of one, where they are added, cancelled, asked about and answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from .. import booking, consent, ics
from ..booking import Booker
from ..calendar import DAY, Calendar
from ..store import invitations
from ..store.accounts import Role
from .pages import page
from .visit import Visit, allowed

SHOWN = 60 * DAY
STATUS = {"usage": 400, "role": 403}


@allowed(Role.viewer)
def overview(visit: Visit) -> Response:
    now = time.time()
    store, plans = visit.desk.store, list(visit.desk.inventory.plans.values())
    calendars = Calendar.read_all(store, plans, now).values()
    found = [row for each in calendars for row in booking.document(store, each, now, now + SHOWN)]
    found.sort(key=lambda row: (row["begin"], row["plan"]))
    return page(visit, "windows.html", windows=found, days=round(SHOWN / DAY))


@allowed(Role.viewer)
def of_plan(visit: Visit) -> Response:
    return _page(visit, _plan(visit))


@allowed(Role.viewer)
def calendar(visit: Visit) -> Response:
    """All plans' windows as a calendar file."""
    return _file(visit, list(visit.desk.inventory.plans.values()), "xdr.ics")


@allowed(Role.viewer)
def calendar_of_plan(visit: Visit) -> Response:
    plan = _plan(visit)
    return _file(visit, [plan], f"{plan['name']}.ics")


@allowed(Role.operator)
def add(visit: Visit) -> Response:
    form = visit.form

    def do(booker: Booker, plan: Mapping[str, Any], now: float) -> None:
        zone, reason = form.get("zone", "").strip(), " ".join(form.get("reason", "").split())
        booker.add(plan, form.get("start", ""), form.get("duration", ""), zone, reason, now)

    return _done(visit, do)


@allowed(Role.operator)
def cancel(visit: Visit) -> Response:
    reason = " ".join(visit.form.get("reason", "").split())
    return _done(visit, lambda booker, plan, now: booker.cancel(plan, visit.form.get("window", ""), reason, now))


@allowed(Role.operator)
def ask(visit: Visit) -> Response:
    return _done(visit, lambda booker, plan, now: booker.ask(plan, visit.form.get("window", ""), now))


@allowed(Role.viewer)
def answer(visit: Visit) -> Response:
    """An owner's or stakeholder's own, or noted down for them by a dr-admin."""
    form = visit.form
    given = form.get("window", ""), form.get("name", ""), form.get("answer", ""), form.get("text", "")
    return _done(visit, lambda booker, plan, now: booker.answer(plan, *given, now, via="page"))


def _done(visit: Visit, do: Callable[[Booker, Mapping[str, Any], float], object]) -> Response:
    plan = _plan(visit)
    try:
        do(Booker(visit.desk.store, visit.user.name, visit.origin, visit.user.role), plan, time.time())
    except XdrError as error:
        return _page(visit, plan, error.sentence(), STATUS.get(error.code, 409))
    return RedirectResponse(f"/plans/{quote(plan['name'], safe='')}/windows", 303)


def _plan(visit: Visit) -> Mapping[str, Any]:
    found = visit.desk.inventory.plans.get(visit.path("plan"))
    if found is None:
        raise HTTPException(404)
    return found


def _rows(visit: Visit, plan: Mapping[str, Any], now: float) -> list[dict[str, Any]]:
    store = visit.desk.store
    return booking.document(store, Calendar.read(store, plan, now), now, now + SHOWN)


def _page(visit: Visit, plan: Mapping[str, Any], refusal: str = "", status: int = 200) -> Response:
    """After a refusal with what was typed."""
    now = time.time()
    return page(
        visit,
        "plan_windows.html",
        status,
        refusal=refusal.rstrip("."),
        plan=plan,
        windows=_rows(visit, plan, now),
        lately=Calendar.read(visit.desk.store, plan, now).lately(now),
        typed=visit.form,
        days=round(SHOWN / DAY),
        zone_of_plan=booking.zone_of(plan),
        people=list(consent.people(plan)),
        answers=(invitations.APPROVE, invitations.OBJECT),
    )


def _file(visit: Visit, plans: list[Mapping[str, Any]], name: str) -> Response:
    now = time.time()
    text = ics.calendar(list(Calendar.read_all(visit.desk.store, plans, now).values()), now)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type="text/calendar; charset=utf-8", headers=headers)
