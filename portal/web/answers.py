# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The page behind the link in a question about a window: for whoever has the link, without a login.

A GET only shows: mail scanners follow links. The link's token is no cookie, so no other site can make a browser answer.
"""

from __future__ import annotations

import time

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from ..calendar import Calendar
from ..occurrences import Occurrence
from ..store import audit, invitations
from ..store.invitations import Invitation
from .desk import desk
from .pages import bare
from .visit import origin, read_form

GONE = "This link is not, or not any more, one of a question: it may have been asked anew, with another link"


async def shown(request: Request) -> Response:
    return await run_in_threadpool(_answered, request, None)


async def given(request: Request) -> Response:
    form = await read_form(request)
    return await run_in_threadpool(_answered, request, form)


def _answered(request: Request, form: dict[str, str] | None) -> Response:
    here, limits = desk(request), desk(request).limits
    address = request.client.host if request.client else ""
    guesser = f"link {address}"  # guesses of links lock nobody out of a login by name
    if wait := limits.wait(guesser, address):
        answer = _page(request, 429, refused=f"Too many wrong links: try again in {round(wait / 60) or 1} min")
        answer.headers["Retry-After"] = str(round(wait) + 1)
        return answer
    found = invitations.by_token(here.store, str(request.path_params["token"]))
    if found is None:
        limits.failed(guesser, address)
        audit.add(here.store, "somebody", origin(request), "window answer", "link", GONE, "refused")
        return _page(request, 404, refused=GONE)
    if form is None:
        return _page(request, invitation=found)
    try:
        _occurrence(request, found)
        invitations.answer(
            here.store, found, form.get("answer", ""), form.get("text", ""), by=found.name, via="link", origin=origin(request)
        )
    except XdrError as error:
        return _page(request, 400 if error.code == "usage" else 409, invitation=found, refused=error.sentence().rstrip("."))
    return _page(request, invitation=invitations.by_token(here.store, str(request.path_params["token"])))


def _occurrence(request: Request, found: Invitation) -> Occurrence:
    """The window as it is now. Raises XdrError, wrong_state: it is not any more."""
    plan = desk(request).inventory.plans.get(found.plan)
    calendar = Calendar.read(desk(request).store, plan, time.time()) if plan else None
    one = next((each for each in calendar.between(found.begin, found.begin) if each.key == found.key), None) if calendar else None
    if one is None or one.cancelled:
        raise XdrError("the window is cancelled: nobody has to answer any more", code="wrong_state")
    return one


def _page(request: Request, status: int = 200, *, invitation: Invitation | None = None, refused: str = "") -> Response:
    window = invitation and Occurrence(invitation.plan, invitation.key.partition("@")[0], invitation.begin, invitation.end, invitation.zone)
    over = bool(invitation and invitation.begin <= time.time())
    if invitation and not refused:
        try:
            _occurrence(request, invitation)
        except XdrError as error:
            refused, over = error.sentence(), True
    answers = (invitations.APPROVE, invitations.OBJECT)
    return bare(request, "answer.html", status, invitation=invitation, window=window, over=over, refused=refused, answers=answers)
