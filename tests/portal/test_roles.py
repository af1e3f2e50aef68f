# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Every route: who may, and that a POST without the page's token does nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.routing import Mount, Route

from portal.store import audit, runs
from portal.store.accounts import Role
from portal.web.app import ROUTES
from portal.web.visit import ROLES
from tests.support.portal import Portal

OPEN = {("GET", "/healthz"), ("GET", "/login"), ("POST", "/login"), ("GET", "/answer/{token}"), ("POST", "/answer/{token}")}
TABLE = {
    ("POST", "/logout"): Role.viewer,
    ("GET", "/"): Role.viewer,
    ("GET", "/plans/{plan}"): Role.viewer,
    ("GET", "/plans/{plan}/lag"): Role.viewer,
    ("GET", "/plans/{plan}/incidents"): Role.viewer,
    ("GET", "/plans/{plan}/incidents/{run}"): Role.viewer,
    ("POST", "/plans/{plan}/incidents/{run}/notes"): Role.operator,
    ("GET", "/plans/{plan}/runbook"): Role.viewer,
    ("POST", "/plans/{plan}/runbook/check"): Role.operator,
    ("POST", "/plans/{plan}/runbook/review"): Role.operator,
    ("POST", "/plans/{plan}/runbook/save"): Role.dr_admin,
    ("GET", "/plans/{plan}/runbook/priorities"): Role.viewer,
    ("POST", "/plans/{plan}/runbook/reorder"): Role.operator,
    ("GET", "/plans/{plan}/runbook/versions"): Role.viewer,
    ("GET", "/plans/{plan}/runbook/versions/{version}"): Role.viewer,
    ("POST", "/plans/{plan}/runbook/versions/{version}/restore"): Role.dr_admin,
    ("GET", "/plans/{plan}/windows"): Role.viewer,
    ("GET", "/plans/{plan}/windows.ics"): Role.viewer,
    ("POST", "/plans/{plan}/windows/add"): Role.operator,
    ("POST", "/plans/{plan}/windows/cancel"): Role.operator,
    ("POST", "/plans/{plan}/windows/ask"): Role.operator,
    ("POST", "/plans/{plan}/windows/answer"): Role.viewer,
    ("GET", "/plans/{plan}/diagnosis"): Role.viewer,
    ("POST", "/plans/{plan}/diagnose"): Role.operator,
    ("POST", "/plans/{plan}/bundle"): Role.dr_admin,
    ("POST", "/plans/{plan}/{action}"): Role.operator,
    ("GET", "/plans/{plan}/preview/{action}"): Role.viewer,
    ("POST", "/plans/{plan}/preview/{action}"): Role.operator,
    ("POST", "/runs/{run}/approve"): Role.operator,
    ("GET", "/runs"): Role.viewer,
    ("GET", "/runs/{run}"): Role.viewer,
    ("GET", "/runs/{run}/board"): Role.viewer,
    ("GET", "/runs/{run}/stream"): Role.viewer,
    ("POST", "/runs/{run}/stop"): Role.operator,
    ("POST", "/runs/{run}/rollback"): Role.operator,
    ("POST", "/runs/{run}/answer"): Role.operator,
    ("GET", "/sites"): Role.viewer,
    ("POST", "/sites/test"): Role.operator,
    ("GET", "/windows"): Role.viewer,
    ("GET", "/windows.ics"): Role.viewer,
    ("POST", "/sites/bundle"): Role.dr_admin,
    ("GET", "/sites/{site}"): Role.viewer,
    ("GET", "/sites/{site}/links"): Role.viewer,
    ("GET", "/sites/{site}/diagnosis"): Role.viewer,
    ("POST", "/sites/{site}/diagnose"): Role.operator,
    ("GET", "/audit"): Role.dr_admin,
    ("GET", "/users"): Role.dr_admin,
    ("POST", "/users/add"): Role.dr_admin,
    ("POST", "/users/{user}/password"): Role.dr_admin,
    ("POST", "/users/{user}/remove"): Role.dr_admin,
    ("GET", "/banner"): Role.viewer,
    ("GET", "/stream"): Role.viewer,
}


def routes() -> Iterator[tuple[str, str, Route]]:
    for route in ROUTES:
        if isinstance(route, Route):
            assert route.methods
            yield from ((method, route.path, route) for method in route.methods if method != "HEAD")
        else:
            assert isinstance(route, Mount)
            assert route.path == "/static"


def filled(path: str, run: str) -> str:
    return (
        path.replace("{plan}", "webshop")
        .replace("{action}", "replicate")
        .replace("{run}", run)
        .replace("{user}", "vera")
        .replace("{version}", "0" * 40)
        .replace("{site}", "frankfurt")
    )


POSTS = [(method, path) for method, path, _ in routes() if method == "POST" and (method, path) not in OPEN]


def test_the_table_names_every_route() -> None:
    assert {(method, path) for method, path, _ in routes()} == set(TABLE) | OPEN


def test_each_endpoint_has_the_role_of_the_table() -> None:
    found = {(method, path): ROLES.get(route.endpoint) for method, path, route in routes()}
    assert {key: role for key, role in found.items() if key not in OPEN} == TABLE


@pytest.mark.parametrize("role", Role, ids=lambda role: role.label)
@pytest.mark.parametrize(("method", "path"), sorted(TABLE), ids=lambda value: value)
def test_who_may(portal: Portal, method: str, path: str, role: Role) -> None:
    if path == "/stream":
        return  # it has no end: tests/portal/test_streams.py
    run = portal.request("failback" if "incidents" in path else "verify-primary")
    if "stop" not in path:
        portal.finish(run, changed=1)
    client = portal.client(role)
    csrf = portal.form(client)["csrf"]
    fields = {"text": "a note"} if method == "POST" else None
    answer = client.request(method, filled(path, run.id), headers={"X-CSRF-Token": csrf}, data=fields)
    if role < TABLE[method, path]:
        assert answer.status_code == 403
        assert f"takes the role {TABLE[method, path].label}" in answer.text
    else:
        assert answer.status_code in ((404,) if "{version}" in path else (200, 303, 400, 409))


@pytest.mark.parametrize("given", [None, "", "wrong", "ü"], ids=["missing", "empty", "wrong", "not ascii"])
@pytest.mark.parametrize(("method", "path"), POSTS, ids=lambda value: value)
def test_a_post_without_its_token_does_nothing(portal: Portal, method: str, path: str, given: str | None) -> None:
    run = portal.request("verify-primary")
    before = len(runs.latest(portal.store))
    answer = portal.client(Role.dr_admin).post(filled(path, run.id), data={} if given is None else {"csrf": given})
    assert answer.status_code == 403
    assert "out of date" in answer.text
    assert len(runs.latest(portal.store)) == before
    assert runs.message(portal.store, run.id) == ""
    newest = audit.latest(portal.store, 1)[0]
    assert (newest.who, newest.outcome) == ("dora", "refused")


@pytest.mark.parametrize(("method", "path"), POSTS, ids=lambda value: value)
def test_a_post_without_a_session_does_nothing(portal: Portal, method: str, path: str) -> None:
    answer = portal.client(None).post(filled(path, "x"))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")


def test_a_large_form_is_refused(portal: Portal) -> None:
    assert portal.client().post("/sites/test", data={"csrf": "x" * 70_000}).status_code == 413


def test_failover_is_for_dr_admin(portal: Portal) -> None:
    portal.see(state="ACTIVE", owner="primary")
    client = portal.client(Role.operator)
    answer = client.post("/plans/webshop/failover", data=portal.form(client))
    assert answer.status_code == 403
    assert "It takes the role dr-admin" in answer.text
    assert runs.latest(portal.store) == []
