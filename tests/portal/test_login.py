# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Who comes in, and how often one may try."""

from __future__ import annotations

from starlette.testclient import TestClient

from portal.store import accounts, audit
from portal.store.accounts import Role
from portal.web.auth import first_user
from portal.web.limits import ADDRESS, PAIR, WINDOW, Limits
from tests.support import stores
from tests.support.portal import PASSWORD, Portal, token


def tried(client: TestClient, password: str, name: str = "otto"):
    return client.post("/login", data={"csrf": token(client.get("/login").text), "name": name, "password": password})


def test_without_a_session_every_page_leads_to_the_login(portal: Portal) -> None:
    client = portal.client(None)
    answer = client.get("/")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")


def test_login_and_logout(portal: Portal) -> None:
    client = portal.client(None)
    answer = tried(client, PASSWORD)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = next(one for one in answer.headers.get_list("set-cookie") if one.startswith("xdr_session"))
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    page = client.get("/")
    assert page.status_code == 200
    assert client.get("/login").status_code == 303
    assert client.post("/logout", data={"csrf": token(page.text)}).headers["Location"] == "/login"
    assert client.get("/").status_code == 303
    assert [entry.action for entry in audit.latest(portal.store)] == ["logout", "login"]


def test_over_https_the_cookie_is_secure(portal: Portal) -> None:
    client = TestClient(portal.app, base_url="https://xdr.example", follow_redirects=False)
    assert all("Secure" in cookie for cookie in tried(client, PASSWORD).headers.get_list("set-cookie") if "xdr_session" in cookie)


def test_a_failed_login_says_nothing_of_why_and_is_kept(portal: Portal) -> None:
    client = portal.client(None)
    wrong, nobody = tried(client, "wrong"), tried(client, "wrong", "nobody")
    assert wrong.status_code == nobody.status_code == 403
    assert "do not belong together" in wrong.text
    assert "do not belong together" in nobody.text
    assert [(entry.who, entry.outcome) for entry in audit.latest(portal.store)] == [("nobody", "refused"), ("otto", "refused")]


def test_too_many_failures_close_the_door_for_that_name_from_there(portal: Portal) -> None:
    client = portal.client(None)
    for _ in range(PAIR):
        assert tried(client, "wrong").status_code == 403
    answer = tried(client, PASSWORD)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert tried(client, PASSWORD, "dora").status_code == 303


def test_limits_pass_with_time() -> None:
    now = [1000.0]
    limits = Limits(lambda: now[0])
    for _ in range(PAIR):
        assert limits.wait("otto", "a") == 0
        limits.failed("otto", "a")
    assert limits.wait("otto", "a") == WINDOW
    assert limits.wait("otto", "b") == 0, "from elsewhere the operator gets in"
    now[0] += WINDOW + 1
    assert limits.wait("otto", "a") == 0


def test_one_address_with_many_names_is_limited() -> None:
    limits = Limits(lambda: 1.0)
    for number in range(ADDRESS):
        limits.failed(f"user{number}", "a")
    assert limits.wait("another", "a") > 0


def test_a_success_forgets_the_failures() -> None:
    limits = Limits(lambda: 1.0)
    for _ in range(PAIR):
        limits.failed("otto", "a")
    limits.succeeded("otto", "a")
    assert limits.wait("otto", "a") == 0


def test_the_first_user_is_made_once(tmp_path) -> None:
    store = stores.opened(tmp_path / "new")
    password = first_user(store)
    assert password
    assert accounts.login(store, "admin", password)
    assert accounts.all_users(store) == [accounts.User("admin", Role.dr_admin)]
    assert first_user(store) is None


def test_a_login_form_of_another_site_is_refused(portal: Portal) -> None:
    client = portal.client(None)
    assert client.post("/login", data={"csrf": "guess", "name": "otto", "password": PASSWORD}).status_code == 403
    client.get("/login")
    assert client.post("/login", data={"csrf": "guess", "name": "otto", "password": PASSWORD}).status_code == 403
    assert client.post("/login", data={"name": "otto", "password": PASSWORD}).status_code == 403


def test_a_fragment_without_a_session_sends_its_page_to_the_login(portal: Portal) -> None:
    answer = portal.client(None).get("/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/login")
