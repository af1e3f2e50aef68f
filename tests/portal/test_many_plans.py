# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Many plans and long logs: pages of lists, what is found in them, and that none of it is asked for one by one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ansible_collections.xdr.failback.plugins.plugin_utils import environment
from ansible_collections.xdr.failback.plugins.plugin_utils.source import read_source

from portal.bench.estate import Estate
from portal.store import events, observations, runs
from portal.store.accounts import Role
from portal.store.runs import Run
from portal.web import runs as run_pages
from portal.web.environment import Inventory
from tests.support.portal import Portal, resource, seen, timed

ESTATE = Estate(plans=120, resources=1)


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    """Read once for all tests."""
    folder = tmp_path_factory.mktemp("estate") / "inventory"
    ESTATE.write(folder)
    found = Inventory(folder)
    found.read()
    return found


@pytest.fixture
def many(portal: Portal, estate: Inventory) -> Portal:
    portal.app.state.desk.inventory = estate
    return portal


def text(portal: Portal, path: str) -> str:
    answer = portal.client(Role.operator).get(path)
    assert answer.status_code == 200
    return answer.text


def listed(page: str) -> list[str]:
    return re.findall(r'<tr id="plan-([^"]+)">', page)


def see(portal: Portal, name: str, state: str = "ACTIVE", owner: str = "primary") -> None:
    observations.put(portal.store, observations.of_plan(name), {**seen(state, owner), "plan": name})


# -- the list of the plans ---------------------------------------------------------------------------------------


def test_plans_come_in_pages(many: Portal) -> None:
    page = text(many, "/")
    assert listed(page) == ESTATE.names[:50]
    assert "1 to 50 of 120" in page
    assert re.search(r'href="([^"]+)" rel="next"', page)[1] == "/?q=&amp;page=2" or "/?q=&page=2" in page  # type: ignore[index]
    assert listed(text(many, "/?q=&page=3")) == ESTATE.names[100:]
    assert 'rel="next"' not in text(many, "/?page=3")


@pytest.mark.parametrize("number", ["99", "0", "-1", "x", "٣", "9" * 30])
def test_a_page_that_there_is_not_is_the_nearest(many: Portal, number: str) -> None:
    assert listed(text(many, f"/?page={number}")) == (ESTATE.names[100:] if number == "99" else ESTATE.names[:50])


def test_few_plans_need_no_pages(portal: Portal) -> None:
    page = text(portal, "/")
    assert listed(page) == ["webshop"]
    assert "pager" not in page
    assert "search" not in page


def test_plans_are_found_by_name_state_and_owner(many: Portal) -> None:
    see(many, "plan-0007", "READY", "dr")
    see(many, "plan-0099", "READY", "primary")
    assert listed(text(many, "/?q=plan-0007")) == ["plan-0007"]
    assert listed(text(many, "/?q=ready")) == ["plan-0007", "plan-0099"]
    assert listed(text(many, "/?q=READY+amsterdam")) == ["plan-0007"]
    page = text(many, "/?q=nowhere")
    assert listed(page) == []
    assert "No plan has all of that" in page
    assert 'value="nowhere"' in page


def test_how_many_plans_are_in_which_state(many: Portal) -> None:
    see(many, "plan-0007", "HALTED")
    page = text(many, "/?q=plan-0001")
    counts = {state: int(count) for state, count in re.findall(r"</span> (\w+)</span></a> (\d+)", page)}
    assert counts == {"unknown": 119, "HALTED": 1}


def test_what_is_searched_for_is_text(many: Portal) -> None:
    page = text(many, "/?q=%3Cscript%3Ealert(1)%3C/script%3E%22")
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_a_part_that_fetches_itself_again_stays_on_its_page(many: Portal) -> None:
    assert 'hx-get="/?q=ready%20x&page=1"' in text(many, "/?q=ready+x&page=1").replace("&amp;", "&")


def test_a_list_tells_of_each_plan_what_its_page_does(many: Portal) -> None:
    """Also of one whose run has written a record since it was seen."""
    see(many, "plan-0002", "READY", "dr")
    run = Run("r-1", "plan-0002", "failback", requested_by="otto", origin="portal")
    runs.request(many.store, run)
    runs.begin(many.store, run.id, "here-1")
    record = {"status": "FAILED_BACK", "owner": "primary", "epoch": 9, "standing": "accepted"}
    told = {"kind": "result", "host": "h", "task": "t", "step": "s", "module": "m", "status": "changed", "record": record}
    many.tell(run, timed([{**told, "begin": 1.0, "end": 2.0, "seconds": 1.0}]))
    row = text(many, "/?q=plan-0002")
    page = text(many, "/plans/plan-0002")
    for shown in ("FAILED_BACK", "(primary), epoch 9", "age unknown"):
        assert shown in row
        assert shown in page
    runs.finish(many.store, run.id, {"exit_code": 0, "code": "", "error": ""})
    assert "FAILED_BACK" in text(many, "/?q=plan-0002")  # until it is seen again
    see(many, "plan-0002", "ACTIVE")
    assert "FAILED_BACK" not in text(many, "/?q=plan-0002")


def test_a_failed_look_is_told_in_the_list(many: Portal) -> None:
    see(many, "plan-0003")
    text(many, "/")
    observations.failed(many.store, "plan/plan-0003", "ssh broke")
    assert "the last look failed: ssh broke" in text(many, "/")


def queries(portal: Portal, ask: Callable[[], Any]) -> int:
    sent: list[str] = []

    def caught(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append(statement)

    sa.event.listen(portal.store.engine, "before_cursor_execute", caught)
    ask()
    sa.event.remove(portal.store.engine, "before_cursor_execute", caught)
    return len([one for one in sent if one.startswith("SELECT")])


def test_more_plans_take_no_more_queries(many: Portal) -> None:
    client = many.client()
    for name in ESTATE.names:
        see(many, name)
    client.get("/")
    assert queries(many, lambda: client.get("/")) < 12


# -- the files ---------------------------------------------------------------------------------------------------


def test_an_edit_reads_one_file_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Estate(plans=3, resources=1).write(tmp_path / "inventory")
    found = Inventory(tmp_path / "inventory")
    before = found.plans
    read: list[str] = []

    def reading(path: Path, name: str) -> Any:
        read.append(path.name)
        return read_source(path, name)

    monkeypatch.setattr(environment, "read_source", reading)
    file = tmp_path / "inventory" / "plans" / "plan-0002.yml"
    file.write_text(file.read_text().replace("rpo: 5m", "rpo: 7m"))
    after = found.plans
    assert read == ["plans.yml", "plan-0002.yml"]
    assert after["plan-0002"]["targets"]["rpo"] == 420
    assert after["plan-0001"] is before["plan-0001"]
    file.write_text(file.read_text().replace("plan: plan-0002", "plan: plan-0001"))
    assert found.plans == after
    assert "the name 'plan-0001' belongs to" in found.error
    hosts = tmp_path / "inventory" / "hosts.yml"
    hosts.write_text(hosts.read_text().replace("fra-hv01", "fra-hv09"))
    assert found.plans
    assert "'fra-hv01' is no host of site frankfurt" in found.error  # what was right before its surroundings changed is looked at again


# -- a long log --------------------------------------------------------------------------------------------------


def numbers(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'<li class="\w+" id="e(\d+)"', page)]


def test_a_long_log_is_read_back_page_by_page(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_pages, "LINES", 10)
    run = portal.request("failback")
    portal.tell(run, timed([resource(f"r{number}", "Validated") for number in range(25)]))
    page = text(portal, f"/runs/{run.id}")
    assert numbers(page) == list(range(16, 26))
    assert 'data-after="25" data-over="no"' in page
    assert "15 earlier events" in page
    page = text(portal, f"/runs/{run.id}?before=16")
    assert numbers(page) == list(range(6, 16))
    assert 'data-over="yes"' in page  # what comes belongs to the newest page
    page = text(portal, f"/runs/{run.id}?before=6")
    assert numbers(page) == list(range(1, 6))
    assert "earlier events" not in page
    assert numbers(text(portal, f"/runs/{run.id}?before=1")) == []
    assert portal.client().get(f"/runs/{run.id}?before=x").status_code == 400


def test_what_many_runs_have_new_is_seen_at_once(portal: Portal) -> None:
    run = portal.request("failback")
    portal.tell(run, timed([resource("a", "Stopping")]))
    courses = portal.app.state.desk.courses
    assert courses.of_several(portal.store, [run.id, "none"])[run.id].resources == {"a": "Stopping"}
    assert queries(portal, lambda: courses.of_several(portal.store, [run.id])) == 1
    portal.tell(run, timed([resource("a", "Validated")]))
    assert courses.of_several(portal.store, [run.id])[run.id].resources == {"a": "Validated"}
    assert events.lasts(portal.store, [run.id, "none"]) == {run.id: 2}
