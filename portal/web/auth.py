# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Logging in and out, and the first user of a new store."""

from __future__ import annotations

import hmac
import secrets
import threading

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..store import Store, accounts, audit
from ..store.accounts import Role
from .desk import desk
from .pages import bare
from .visit import COOKIE, TOKEN_FIELD, Visit, allowed, origin, read_form, session_of

LOGIN_COOKIE = "xdr_login"  # a form's token for those who have no session yet
FIRST = "admin"
WRONG = "Name and password do not belong together"
_AT_ONCE = threading.BoundedSemaphore(2)  # each check of a password takes 64 MiB


def first_user(store: Store) -> str | None:
    """Make the user ``admin`` (dr-admin) of a store without users; its password, which is kept nowhere, or None."""
    if accounts.all_users(store):
        return None
    try:
        password = accounts.add(store, FIRST, Role.dr_admin)
    except XdrError:  # another process was faster
        return None
    audit.add(store, "portal", "portal", "user add", f"user {FIRST}", f"role {Role.dr_admin.label}, the first user")
    return password


async def login_page(request: Request) -> Response:
    if await session_of(request):
        return RedirectResponse("/", 303)
    return _form(request)


def _form(request: Request, refusal: str = "", status: int = 200, name: str = "") -> Response:
    token = request.cookies.get(LOGIN_COOKIE) or secrets.token_urlsafe(32)
    answer = bare(request, "login.html", status, token=token, refused=refusal, name=name)
    _set(answer, request, LOGIN_COOKIE, token)
    return answer


async def login(request: Request) -> Response:
    form = await read_form(request)
    name, address = form.get("name", "").strip()[:64], request.client.host if request.client else ""
    if not _same(form.get(TOKEN_FIELD, ""), request.cookies.get(LOGIN_COOKIE, "")):
        return _form(request, "The login page is out of date, try again", 403, name)
    limits = desk(request).limits
    if wait := limits.wait(name, address):
        answer = _form(request, f"Too many failed logins: try again in {round(wait / 60) or 1} min", 429, name)
        answer.headers["Retry-After"] = str(round(wait) + 1)
        return answer
    token = await run_in_threadpool(_login, request, name, form.get("password", ""))
    if token is None:
        limits.failed(name, address)
        return _form(request, WRONG, 403, name)
    limits.succeeded(name, address)
    answer = RedirectResponse("/", 303)
    _set(answer, request, COOKIE, token)
    answer.delete_cookie(LOGIN_COOKIE)
    return answer


def _same(given: str, kept: str) -> bool:
    return bool(kept) and hmac.compare_digest(given.encode(), kept.encode())


def _login(request: Request, name: str, password: str) -> str | None:
    with _AT_ONCE:
        token = accounts.login(desk(request).store, name, password)
    outcome = "done" if token else "refused"
    audit.add(desk(request).store, name, origin(request), "login", "portal", "" if token else WRONG, outcome)
    return token


@allowed(Role.viewer)
def logout(visit: Visit) -> Response:
    accounts.logout(visit.desk.store, visit.token)
    visit.note("logout", "portal")
    visit.desk.hub.session_ended()
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE)
    return answer


def _set(answer: Response, request: Request, name: str, value: str) -> None:
    answer.set_cookie(name, value, httponly=True, samesite="lax", secure=request.url.scheme == "https")
