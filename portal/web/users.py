# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The page of the users, for dr-admin."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from starlette.responses import RedirectResponse, Response

from ..store import accounts
from ..store.accounts import Role
from .pages import page
from .visit import Visit, allowed


@allowed(Role.dr_admin)
def overview(visit: Visit) -> Response:
    return _page(visit)


@allowed(Role.dr_admin)
def add(visit: Visit) -> Response:
    name, role = visit.form.get("name", "").strip(), visit.form.get("role", "")

    def made() -> str:
        return accounts.add(visit.desk.store, name, accounts.role_of(role))

    return _with_password(visit, "user add", name, made, f"role {role}")


@allowed(Role.dr_admin)
def password(visit: Visit) -> Response:
    name = visit.path("user")
    answer = _with_password(visit, "user password", name, lambda: accounts.set_password(visit.desk.store, name))
    visit.desk.hub.session_ended()
    return answer


@allowed(Role.dr_admin)
def remove(visit: Visit) -> Response:
    name = visit.path("user")
    if name == visit.user.name:  # so a dr-admin is always left
        return _refused(visit, "user remove", name, "You cannot remove yourself: let another dr-admin do it")
    try:
        accounts.remove(visit.desk.store, name)
    except XdrError as error:
        return _refused(visit, "user remove", name, error.what)
    visit.note("user remove", f"user {name}")
    visit.desk.hub.session_ended()
    return RedirectResponse("/users", 303)


def _with_password(visit: Visit, action: str, name: str, make: Callable[[], str], detail: str = "") -> Response:
    """The page shows the new password this once: it is kept nowhere."""
    try:
        made = make()
    except XdrError as error:
        return _refused(visit, action, name, f"{error.what}. {error.todo}")
    visit.note(action, f"user {name}", detail)
    return _page(visit, name=name, password=made)


def _refused(visit: Visit, action: str, name: str, refusal: str) -> Response:
    visit.note(action, f"user {name[:64]}", refusal, "refused")
    return _page(visit, 409, refusal=refusal)


def _page(visit: Visit, status: int = 200, *, name: str = "", password: str = "", refusal: str = "") -> Response:
    return page(
        visit, "users.html", status, users=accounts.all_users(visit.desk.store), roles=list(Role), name=name, made=password, refusal=refusal
    )
