# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The button that finds out what is wrong, what is shown of it, the page of a site, and the bundle."""

from __future__ import annotations

import re

import pytest

from portal.diagnosis.finding import Finding
from portal.store import audit, checks, links, runs
from portal.store.accounts import Role
from portal.store.runs import Run
from portal.store.tables import runs as table
from tests.support.portal import Portal

FINDINGS = [
    Finding("link", "wrong", "fra-hv1 does not reach <b>ams-hv1</b>", "Mend it", ("TCP: it is off",)).to_json(),
    Finding("clock", "unknown", "The clock of fra-hv1 is not known").to_json(),
    Finding("lag", "ok", "The copy is within its RPO").to_json(),
]
SUBJECTS = pytest.mark.parametrize("path", ["/plans/webshop", "/sites/frankfurt"])


def text(portal: Portal, path: str, role: Role = Role.operator) -> str:
    answer = portal.client(role).get(path)
    assert answer.status_code == 200
    return answer.text


def pressed(portal: Portal, path: str, role: Role = Role.operator) -> Run:
    client = portal.client(role)
    answer = client.post(f"{path}/diagnose", data=portal.form(client))
    assert (answer.status_code, answer.headers["location"]) == (303, f"{path}/diagnosis")
    return runs.latest(portal.store)[0]


@SUBJECTS
def test_one_button_asks_and_the_page_tells_the_worst_first(portal: Portal, path: str) -> None:
    assert "Nobody has asked yet" in text(portal, f"{path}/diagnosis")
    run = pressed(portal, path)
    assert (run.action, run.exclusive, run.requested_by) == ("diagnose", False, "otto")
    assert audit.latest(portal.store)[0].action == "diagnose"
    waits = text(portal, f"{path}/diagnosis")
    assert "It waits for a worker, and none runs" in waits
    portal.finish(run, findings=FINDINGS)
    assert f'of <a href="{path}">' in text(portal, f"/runs/{run.id}")
    for page in (text(portal, f"{path}/diagnosis"), text(portal, f"/runs/{run.id}")):
        assert "1 thing is wrong, 1 could not be found out, 1 ok" in page
        assert "fra-hv1 does not reach &lt;b&gt;ams-hv1&lt;/b&gt;" in page
        places = [page.index(word) for word in ("does not reach", "TCP: it is off", "The clock of", "within its RPO")]
        assert places == sorted(places)


@SUBJECTS
def test_it_is_asked_once_at_a_time_and_not_by_a_viewer(portal: Portal, path: str) -> None:
    pressed(portal, path)
    client = portal.client()
    again = client.post(f"{path}/diagnose", data=portal.form(client))
    assert again.status_code == 409
    assert "It is being found out already" in again.text
    assert audit.latest(portal.store)[0].outcome == "refused"
    viewer = portal.client(Role.viewer)
    assert viewer.post(f"{path}/diagnose", data=portal.form(viewer)).status_code == 403
    assert "It takes the role operator" in text(portal, f"{path}/diagnosis", Role.viewer)
    assert len(runs.latest(portal.store)) == 1


def test_a_diagnosis_goes_beside_another_run(portal: Portal) -> None:
    portal.request("failback")
    assert pressed(portal, "/plans/webshop").action == "diagnose"
    assert len(runs.unended(portal.store)) == 2


def test_those_of_a_site_are_not_those_of_another(portal: Portal) -> None:
    portal.finish(pressed(portal, "/sites/frankfurt"), findings=FINDINGS)
    assert "Nobody has asked yet" in text(portal, "/sites/amsterdam/diagnosis")
    assert "Nobody has asked yet" in text(portal, "/plans/webshop/diagnosis")


def test_a_diagnosis_that_failed_says_so(portal: Portal) -> None:
    run = pressed(portal, "/plans/webshop")
    portal.finish(run, exit_code=1, error="no such inventory")
    assert "The diagnosis itself failed: no such inventory" in text(portal, "/plans/webshop/diagnosis")


@pytest.mark.parametrize("path", ["/plans/mars/diagnosis", "/sites/mars/diagnosis", "/sites/mars", "/sites/mars/links"])
def test_what_is_not_there(portal: Portal, path: str) -> None:
    assert portal.client().get(path).status_code == 404


def test_a_site_tells_what_was_found_and_since_when(portal: Portal) -> None:
    assert "No test has told anything yet" in text(portal, "/sites/frankfurt")
    wanted = {"host": "fra-hv1", "check": "agent", "wanted": "it runs"}
    checks.keep(portal.store, [{**wanted, "result": "ok", "found": "0.1.0"}])
    checks.keep(portal.store, [{**wanted, "result": "failed", "found": "it is <gone>"}])
    links.keep(portal.store, [{"from": "fra-hv1", "to": "ams-hv1", "latency_ms": 4.25, "bytes_per_s": 3 << 20}])
    page = text(portal, "/sites/frankfurt")
    assert page.index("it is &lt;gone&gt;") < page.index("0.1.0"), "the newest change first"
    assert "4.2 ms" in page
    assert "3.0 MiB/s" in page
    assert "it is &lt;gone&gt;" in text(portal, "/sites"), "the evidence is beside the host"
    assert "it is &lt;gone&gt;" not in text(portal, "/sites/amsterdam")
    told = portal.client().get("/sites/frankfurt/links", params={"from": "fra-hv1", "to": "ams-hv1"}).json()
    assert (told["latency"], told["throughput"]) == ([4.25], [3 << 20])
    for query in ({"from": "x", "to": "y"}, {"from": "fra-hv1", "to": "ams-hv1", "hours": "9"}):
        assert portal.client().get("/sites/frankfurt/links", params=query).status_code == 400


def test_the_bundle_is_a_download_for_the_dr_admin_alone(portal: Portal) -> None:
    client = portal.client(Role.dr_admin)
    answer = client.post("/plans/webshop/bundle", data=portal.form(client))
    assert answer.status_code == 200
    assert re.fullmatch(r'attachment; filename="xdr-support-webshop-\d{8}T\d{6}\.tar\.gz"', answer.headers["content-disposition"])
    assert answer.content.startswith(b"\x1f\x8b")
    entry = audit.latest(portal.store)[0]
    assert (entry.action, entry.who, entry.subject) == ("support bundle", "dora", "plan webshop")
    operator = portal.client()
    assert operator.post("/plans/webshop/bundle", data=portal.form(operator)).status_code == 403
    assert "It takes the role dr-admin" in text(portal, "/plans/webshop/diagnosis")


def test_the_newest_findings_are_kept_while_another_diagnosis_is_asked_for(portal: Portal) -> None:
    run = pressed(portal, "/plans/webshop")
    portal.finish(run, findings=FINDINGS)
    with portal.store.writing() as connection:
        connection.execute(table.update().values(requested_at=table.c.requested_at - 60))
    pressed(portal, "/plans/webshop")
    page = text(portal, "/plans/webshop/diagnosis")
    assert "It is being found out" in page
    assert "does not reach" in page
