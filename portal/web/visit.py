# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Who may come in: each endpoint is wrapped by ``allowed``, which checks session, role and, for a POST, the form's token."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..store import accounts, audit
from ..store.accounts import Role, Session, User
from .desk import Desk, desk

COOKIE = "xdr_session"
TOKEN_FIELD, TOKEN_HEADER = "csrf", "X-CSRF-Token"
LARGEST, FIELDS = 64 * 1024, 20  # bytes and fields of a form
STALE = "This page is out of date, or the request did not come from it. Load the page again, then try again"

ROLES: dict[Callable[..., Any], Role] = {}  # endpoint -> the least role that it lets in


@dataclass(frozen=True)
class Visit:
    """One request of a known user."""

    request: Request
    session: Session
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def desk(self) -> Desk:
        return desk(self.request)

    @property
    def user(self) -> User:
        return self.session.user

    @property
    def token(self) -> str:
        return self.request.cookies.get(COOKIE, "")

    @property
    def origin(self) -> str:
        return origin(self.request)

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    def note(self, action: str, subject: str, detail: str = "", outcome: str = "done") -> None:
        """Leave an audit entry."""
        audit.add(self.desk.store, self.user.name, self.origin, action, subject, detail, outcome)


Handler: TypeAlias = Callable[[Visit], Response]
Endpoint: TypeAlias = Callable[[Request], Any]


def origin(request: Request) -> str:
    """For the audit trail: through what and from where."""
    return f"portal {request.client.host}" if request.client else "portal"


def allowed(role: Role, *, largest: int = LARGEST, fields: int = FIELDS) -> Callable[[Handler], Endpoint]:
    """The handler runs in a thread, for a user with at least that role, and with a form of so many bytes and fields at most."""

    def wrap(handler: Handler) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            session = await session_of(request)
            if session is None:
                return to_login(request)
            form = await read_form(request, largest, fields) if request.method == "POST" else {}
            visit = Visit(request, session, form)
            if request.method == "POST" and not _token_is_right(visit):
                await run_in_threadpool(visit.note, "request", request.url.path, STALE, "refused")
                raise HTTPException(403, STALE)
            if session.user.role < role:
                sentence = f"This takes the role {role.label}; {session.user.name} has the role {session.user.role.label}"
                if request.method == "POST":
                    await run_in_threadpool(visit.note, "request", request.url.path, sentence, "refused")
                raise HTTPException(403, sentence)
            return await run_in_threadpool(handler, visit)

        ROLES[endpoint] = role
        return endpoint

    return wrap


async def session_of(request: Request) -> Session | None:
    token = request.cookies.get(COOKIE)
    return await run_in_threadpool(accounts.session, desk(request).store, token) if token else None


def to_login(request: Request) -> Response:
    """A person is sent to the login page; a fragment's request makes its page go there."""
    if request.headers.get("HX-Request"):
        return Response(status_code=401, headers={"HX-Redirect": "/login"})
    return RedirectResponse("/login", 303)


async def read_form(request: Request, largest: int = LARGEST, fields: int = FIELDS) -> dict[str, str]:
    """The fields of a small form; files are no fields. Raises HTTPException for a large one."""
    length = request.headers.get("Content-Length", "")
    if not length.isdecimal() or int(length) > largest:
        raise HTTPException(413 if length else 411, "The request is too large, or does not say how large it is")
    async with request.form(max_files=0, max_fields=fields) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


def _token_is_right(visit: Visit) -> bool:
    given = visit.request.headers.get(TOKEN_HEADER) or visit.form.get(TOKEN_FIELD, "")
    return hmac.compare_digest(given.encode(), visit.session.csrf.encode())
