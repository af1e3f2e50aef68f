# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What the pages show, and what their buttons do."""

from __future__ import annotations

import re
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from httpx2 import Response
from starlette.routing import Route

from portal.achieved import Achieved
from portal.store import accounts, audit, damage, lags, observations, runs, tables
from portal.store.accounts import Role
from portal.store.runs import Run
from portal.units import seconds, since
from portal.web.app import create_app
from portal.web.headers import POLICY
from tests.support import stores
from tests.support.portal import (
    INVENTORY,
    OPEN,
    STEPS,
    UNWELL,
    VOLUMES,
    Portal,
    bytes_of,
    ended,
    failback,
    plan,
    resource,
    result,
    seen,
    started,
    timed,
)

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"


def text(portal: Portal, path: str, role: Role = Role.operator) -> str:
    answer = portal.client(role).get(path)
    assert answer.status_code == 200
    return answer.text


def test_plans(portal: Portal) -> None:
    page = text(portal, "/")
    assert "READY" in page
    assert "amsterdam" in page
    assert "128.0 KiB" in page
    assert "within RPO" in page


def test_the_last_test_of_a_plan_is_its_newest_check_run_of_a_move(portal: Portal) -> None:
    assert "none yet: a preview of failback or failover is one" in text(portal, "/plans/webshop")
    tested = portal.request("failback", check=True)
    portal.finish(tested, exit_code=10, error="The link is down.")
    for action, options in (("failback", {}), ("replicate", {"check": True})):
        portal.finish(portal.request(action, **options))
    portal.request("failover", check=True)  # goes on
    row = text(portal, "/plans/webshop").partition("<dt>Last test</dt>")[2].partition("</dd>")[0]
    assert f'href="/runs/{tested.id}">failback (check)</a>' in row
    assert "The link is down." in row


def test_a_plan_tells_how_its_instances_are(portal: Portal) -> None:
    """Where it was seen; while a run is at work, how far that has come."""

    def row(name: str) -> str:
        found = re.search(rf"<td>{name}</td>\s*<td>(.*?)</td>", text(portal, "/plans/webshop"))  # the second is its volume's
        assert found
        return " ".join(re.sub("<[^>]*>", "", found[1]).split())

    assert row("cart") == "● RUNNING ams-hv1"
    broken = {"host": "ams-hv1", "name": "cart", "state": "FATAL", "pid": 0, "why": "no licence"}
    portal.see(instances=[{**broken, "host": "fra-hv1", "state": "STOPPED"}, broken])
    assert row("cart") == "✖ FATAL ams-hv1: no licence"
    assert row("pricing") == "unknown"
    run = portal.request("failback")
    runs.begin(portal.store, run.id, "here-1")
    portal.tell(run, timed([resource("cart", "Stopping")]))
    assert row("cart") == "▼ Stopping"


def test_what_is_not_known_is_unknown_never_0(portal: Portal) -> None:
    portal.see(replication_lag="unknown", replication_lag_age="unknown")
    page = text(portal, "/")
    assert "<strong>unknown</strong>, age unknown" in page
    assert "0 B" not in page


def test_the_lag_of_a_plan_that_changed_hands_since_it_was_seen_is_unknown(portal: Portal) -> None:
    run = portal.request("failback")
    runs.begin(portal.store, run.id, "here-1")
    for batch in failback():
        portal.tell(run, timed(batch))
    page = text(portal, "/")
    assert "frankfurt" in page
    assert "<strong>unknown</strong>, age unknown" in page
    assert "128.0 KiB" not in page


def test_over_the_rpo(portal: Portal) -> None:
    portal.see(replication_lag_age=400.0)
    assert "over RPO" in text(portal, "/plans/webshop")


def test_states_that_a_volume_can_go_back_to(portal: Portal) -> None:
    rows = seen()["volumes"]
    rows[1]["recovery_points"] = [{"name": f"cycle-{number}", "opened_at": 2e9, "read_started": 1.9e9 + number} for number in (8, 9)]
    rows[1] |= {"crash_consistent": False, "how": "orders was written while it was read"}
    portal.see(volumes=rows)
    page = text(portal, "/plans/webshop")
    assert "and 1 older" in page
    assert page.index("cycle-9") < page.index("cycle-8")
    assert since(1.9e9 + 9) in page
    assert "not crash consistent</span> <small>orders was written while it was read" in page


def test_whether_the_full_compare_is_still_to_come(portal: Portal) -> None:
    assert "done in this direction: the downtime reads back what was sent since" in text(portal, "/plans/webshop")
    portal.see(compared=False, state="REVERSING")
    assert "both ends are read whole in the downtime, about 3.5 s" in text(portal, "/plans/webshop")
    portal.see(compared=False, state="FAILED_OVER")
    assert "Full compare" not in text(portal, "/plans/webshop")


def test_how_the_newest_cycle_was_read(portal: Portal) -> None:
    assert "unknown</small>" in text(portal, "/plans/webshop")
    for method, why in (("scan", "the first"), ("digests", "no tracker here")):
        run = portal.request("replicate")
        item = {"module": "xdr_delta_sync", "volume": "orders", "cycle": 10, "method": method, "why": why}
        portal.finish(run, results=[item, {"module": "xdr_plan", "volume": "orders"}])
    page = text(portal, "/plans/webshop")
    assert "read at the source: no tracker here" in page
    assert "the first" not in page


def test_a_host_without_accelerators_is_named_with_the_remedy(portal: Portal) -> None:
    assert "site_accelerators" not in text(portal, "/plans/webshop")
    portal.see(volumes=[{**row, "accelerators_missing": ["blake3"] if row["host"] == "ams-hv1" else []} for row in seen()["volumes"]])
    page = text(portal, "/plans/webshop")
    assert "ams-hv1 lacks blake3, so its cycles are slower: the role site_accelerators installs that" in page
    assert "fra-hv1 lacks" not in page


def test_a_failed_look_stands_beside_what_was_seen(portal: Portal) -> None:
    observations.failed(portal.store, "plan/webshop", "ssh broke")
    page = text(portal, "/plans/webshop")
    assert "READY" in page
    assert "the last look failed: ssh broke" in page


def test_without_a_worker_every_page_says_so(portal: Portal) -> None:
    assert all("No worker runs" in text(portal, path) for path in ("/", "/plans/webshop", "/runs", "/sites", "/banner"))
    portal.worker()
    assert "No worker runs" not in text(portal, "/")


def test_what_comes_up_while_somebody_reads_is_shown_below(portal: Portal) -> None:
    """Only a page that was rendered with it has it above, and its next looks have, too."""
    shown = re.compile(r'<div id="banner"( class="late")? .*hx-get="([^"]*)"')

    def place(path: str) -> tuple[str | None, str]:
        found = shown.search(text(portal, path))
        assert found
        return found[1], found[2]

    above, below = (None, "/banner?above=1"), (' class="late"', "/banner")
    assert [place(path) for path in ("/", "/banner?above=1", "/banner")] == [above, above, below]
    portal.worker()
    assert [place(path) for path in ("/", "/banner?above=1", "/banner")] == [below, below, below]


def test_names_and_messages_of_others_are_text(portal: Portal) -> None:
    run = portal.request("failback")
    portal.tell(run, timed([*next(failback()), result("fra-hv1", "verify", HOSTILE, status="failed", msg=HOSTILE), ended(2, HOSTILE)]))
    portal.tell(run, timed([resource(HOSTILE, HOSTILE)]))
    portal.finish(run, error=HOSTILE, exit_code=2)
    observations.failed(portal.store, "plan/webshop", HOSTILE)
    legs = [{"from": HOSTILE, "to": HOSTILE, "result": HOSTILE, "ms": 1, "why": HOSTILE}]
    hosts = [{"host": "fra-hv1", "health": "Failed", "reasons": [HOSTILE]}]
    observations.put(portal.store, observations.SITES, {"hosts": hosts, "connectivity": legs})
    audit.add(portal.store, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    for path in ("/", "/plans/webshop", f"/runs/{run.id}", "/sites", "/audit"):
        page = text(portal, path, Role.dr_admin)
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "&amp;{{7*7}}" in page


def test_no_page_has_script_or_style_of_its_own(portal: Portal) -> None:
    for path in ("/", "/plans/webshop", "/runs", "/sites", "/users", "/audit"):
        page = text(portal, path, Role.dr_admin)
        assert "style=" not in page
        assert "<style" not in page
        assert " onclick" not in page
        assert page.count("<script") == page.count('<script src="/static/')


# -- buttons ---------------------------------------------------------------------------------------------------


def test_a_button_requests_the_run_and_leads_to_it(portal: Portal) -> None:
    client = portal.client()
    answer = client.post("/plans/webshop/failback", data=portal.form(client, confirm="webshop"))
    (run,) = runs.latest(portal.store)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/runs/{run.id}")
    assert (run.action, run.plan, run.check, run.exclusive, run.requested_by) == ("failback", "webshop", False, True, "otto")
    assert audit.latest(portal.store, 1)[0].origin.startswith("portal ")


@pytest.mark.parametrize("typed", ["", "webshop2", "WEBSHOP"])
def test_a_failback_is_confirmed_by_the_plan_s_name(portal: Portal, typed: str) -> None:
    client = portal.client()
    answer = client.post("/plans/webshop/failback", data=portal.form(client, confirm=typed))
    assert answer.status_code == 400
    assert "Failback stops services: type the plan&#39;s name, webshop, to confirm it" in answer.text
    assert runs.latest(portal.store) == []
    assert audit.latest(portal.store, 1)[0].outcome == "refused"


def test_check_only(portal: Portal) -> None:
    client = portal.client()
    client.post("/plans/webshop/failback", data=portal.form(client, check="1"))
    (run,) = runs.latest(portal.store)
    assert (run.check, run.exclusive) == (True, False)


def test_a_second_click_is_told_in_a_sentence(portal: Portal) -> None:
    client = portal.client()
    client.post("/plans/webshop/failback", data=portal.form(client, confirm="webshop"))
    answer = client.post("/plans/webshop/failback", data=portal.form(client, confirm="webshop"))
    assert answer.status_code == 409
    assert "Another run is active: failback, asked for by otto" in answer.text
    assert len(runs.latest(portal.store)) == 1


def test_two_clicks_at_once_meet_in_the_store(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    portal.request("replicate")
    monkeypatch.setattr("portal.web.plan_facts.runs.active", lambda store, plan: None)
    client = portal.client()
    answer = client.post("/plans/webshop/failback", data=portal.form(client, confirm="webshop"))
    assert answer.status_code == 409
    assert "is active" in answer.text


def test_what_the_state_forbids_is_refused_and_kept(portal: Portal) -> None:
    client = portal.client()
    answer = client.post("/plans/webshop/reprotect", data=portal.form(client))
    assert answer.status_code == 409
    assert "Reprotect is not possible in state READY" in answer.text
    assert runs.latest(portal.store) == []
    assert audit.latest(portal.store, 1)[0].outcome == "refused"


@pytest.mark.parametrize("path", ["/plans/webshop/nonsense", "/plans/nothing/start", "/plans/webshop/site-test", "/plans/webshop/status"])
def test_other_plans_and_actions_are_not_there(portal: Portal, path: str) -> None:
    client = portal.client()
    assert client.post(path, data=portal.form(client)).status_code == 404


def test_rollback_of_an_active_failback_is_a_message(portal: Portal) -> None:
    run = portal.request("failback")
    client = portal.client()
    answer = client.post("/plans/webshop/rollback", data=portal.form(client))
    assert answer.headers["Location"] == f"/runs/{run.id}"
    assert (runs.message(portal.store, run.id), len(runs.latest(portal.store))) == ("rollback", 1)
    assert "being rolled back, as otto asked" in text(portal, f"/runs/{run.id}")
    again = client.post(f"/runs/{run.id}/rollback", data=portal.form(client))
    assert again.status_code == 409
    stop = client.post(f"/runs/{run.id}/stop", data=portal.form(client))
    assert stop.status_code == 409


def test_there_is_no_way_back_once_traffic_may_have_moved(portal: Portal) -> None:
    run = portal.request("failback")
    for batch in failback():
        portal.tell(run, timed(batch))
    client = portal.client()
    for path in (f"/runs/{run.id}/rollback", "/plans/webshop/rollback"):
        answer = client.post(path, data=portal.form(client))
        assert answer.status_code == 409
        assert "goes forward only" in answer.text
    assert runs.message(portal.store, run.id) == ""


def test_stop(portal: Portal) -> None:
    run = portal.request("replicate")
    runs.begin(portal.store, run.id, "here-1")
    client = portal.client()
    assert client.post(f"/runs/{run.id}/stop", data=portal.form(client)).status_code == 303
    assert runs.message(portal.store, run.id) == "stop"
    assert client.post(f"/runs/{run.id}/stop", data=portal.form(client)).status_code == 409


def test_failover_of_a_silent_primary(portal: Portal) -> None:
    portal.see(**seen("ACTIVE", "primary", unreachable=["fra-hv1"]))
    client = portal.client(Role.dr_admin)
    for attestation in ("", "  ", "x" * 501, "{{ lookup('pipe', 'id') }}", "{% x %}"):
        answer = client.post("/plans/webshop/failover", data=portal.form(client, confirm="webshop", attestation=attestation))
        assert answer.status_code == 400
    assert runs.latest(portal.store) == []
    client.post("/plans/webshop/failover", data=portal.form(client, confirm="webshop", attestation=" J. Weber,\n on site "))
    (run,) = runs.latest(portal.store)
    assert run.arguments == {"attestation": "J. Weber, on site"}


def test_failover_of_a_silent_primary_that_holds_leases(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    shutil.copytree(INVENTORY, inventory)
    with (inventory / "plans" / "webshop.yml").open("a", encoding="utf-8") as file:
        file.write("ownership: {lease: {ttl: 2m}}\n")
    portal = Portal(tmp_path, inventory)
    row = {"host": "fra-hv1", "site": "primary", "epoch": 1, "ttl": 120, "until": time.time() + 60}
    portal.see(**seen("ACTIVE", "primary", unreachable=["fra-hv1"], leases=[row]))
    client = portal.client(Role.dr_admin)
    page = client.get("/plans/webshop").text
    assert f"<dt>Lease</dt><dd>fra-hv1: epoch 1, until {since(row['until'])} unless it is renewed" in page
    assert "the failover waits until the site's ownership leases have run out" in page
    client.post("/plans/webshop/failover", data=portal.form(client, confirm="webshop", attestation=" "))
    (run,) = runs.latest(portal.store)
    assert run.arguments == {}
    portal.finish(run, proof="the ownership leases have run out")
    assert "; the ownership leases have run out" in client.get(f"/runs/{run.id}").text


def test_a_failover_to_an_earlier_state(portal: Portal) -> None:
    client = portal.client(Role.dr_admin)
    portal.see(**seen("ACTIVE", "primary", volumes=[]))
    assert "recovery_point" not in client.get("/plans/webshop").text
    document = seen("ACTIVE", "primary")
    for copy in document["volumes"]:
        copy["recovery_points"] = [{"name": f"cycle-{number}", "read_started": 1.9e9 + number} for number in (9, 10)] * (
            copy["role"] == "target"
        )
    portal.see(**document)
    page = client.get("/plans/webshop").text
    assert (
        page.index('<option value="">the newest state') < page.index('<option value="cycle-10">') < page.index('<option value="cycle-9">')
    )
    for name in ("../cycle-9", "{{ x }}", "cycle 9"):
        answer = client.post("/plans/webshop/failover", data=portal.form(client, confirm="webshop", recovery_point=name))
        assert answer.status_code == 400
    assert runs.latest(portal.store) == []
    client.post("/plans/webshop/failover", data=portal.form(client, confirm="webshop", recovery_point="cycle-9"))
    (run,) = runs.latest(portal.store)
    assert run.arguments == {"recovery_point": "cycle-9"}
    assert "recovery_point: cycle-9" in audit.latest(portal.store, 1)[0].detail
    assert "to go back to recovery point <strong>cycle-9</strong>" in client.get(f"/runs/{run.id}").text


def test_an_attestation_that_nobody_asked_for_is_left_out(portal: Portal) -> None:
    portal.see(**seen("ACTIVE", "primary"))
    client = portal.client(Role.dr_admin)
    client.post("/plans/webshop/failover", data=portal.form(client, confirm="webshop", attestation="off"))
    assert runs.latest(portal.store)[0].arguments == {}


# -- runs ------------------------------------------------------------------------------------------------------


def test_a_run_from_its_request_to_its_end(portal: Portal) -> None:
    run = portal.request("failback")
    assert "It waits for a worker" in text(portal, f"/runs/{run.id}")
    runs.begin(portal.store, run.id, "here-1")
    batches = list(failback())
    for batch in batches[:9]:
        last = portal.tell(run, timed(batch))
    page = text(portal, f"/runs/{run.id}")
    assert f'data-after="{last}"' in page
    assert "final_sync" in page
    assert '<li class="pending">' in page
    for batch in batches[9:]:
        portal.tell(run, timed(batch))
    cost = Achieved(4.5, 1.0, 5.5, targets=plan()["targets"]).to_json()
    portal.finish(run, seconds=9.0, changed=20, state="FAILED_BACK", achieved=cost)
    page = text(portal, f"/runs/{run.id}")
    assert "<dt>outage</dt><dd>4.5 s, within the RTO of 15 min</dd><dt>data</dt><dd>nothing was left behind</dd>" in page
    assert "Done in 9.0 s, 20 changes, the plan is FAILED_BACK" in page
    assert "Reprotect now" in page
    assert '<li class="pending">' not in page
    assert 'action="/runs' not in page, "no buttons at the end"
    assert "frankfurt" in text(portal, "/"), "its events know more than what was seen before it"


def test_the_volumes_of_a_run_keep_their_places(portal: Portal) -> None:
    """In the plan's order, all of them from the first moment on."""

    def told() -> list[str]:
        found = re.findall(r'<span class="volume">(.*?)</small></span>', text(portal, f"/runs/{run.id}/board"))
        return [" ".join(re.sub("<[^>]*>", "", one).split()) for one in found]

    run = portal.request("failback")
    runs.begin(portal.store, run.id, "here-1")
    assert told() == [f"{name} nothing sent yet" for name in VOLUMES]
    portal.tell(run, timed([bytes_of("cart", 1 << 20, 4 << 20)]))
    assert [one.split()[0] for one in told()] == list(VOLUMES)
    assert "cart 1.0 MiB of 4.0 MiB, 24.0 MiB/s, 0.1 s to go" in told()
    portal.finish(run)
    assert [one.split()[0] for one in told()] == ["cart"]


def measure(page: str, name: str) -> str:
    found = re.search(rf"<dt>{name}</dt>(.*?)</dd>", page, re.DOTALL)
    return " ".join(re.sub("<[^>]*>", "", found[1]).split()) if found else "not there"


def test_elapsed_against_earlier_runs(portal: Portal) -> None:
    """Those of this plan and action that did all of it; a step that is over its longest says so."""
    run = begun(portal)
    page = text(portal, f"/runs/{run.id}")
    assert measure(page, "Elapsed").endswith(" s no history: no earlier failback to go by")
    assert "over its longest" not in page
    portal.finish(run)
    for took in (30, 50):
        earlier(portal, "failback", took)
    earlier(portal, "reprotect", 7)
    run = begun(portal)
    portal.tell(run, [{**event, "at": time.time() - 9.5} for event in [started("preflight")]])
    page = text(portal, f"/runs/{run.id}")
    assert " s 30.0 s to 50.0 s by the last 2 runs" in measure(page, "Elapsed")
    assert re.search(r'<small class="over" data-over="[0-9.]+">▲ over its longest, 5.0 s</small>', page)  # the step
    assert re.search(r'<small class="over" data-over="[0-9.]+" hidden>▲ over its longest, 50.0 s</small>', page)  # not the run
    assert "3.0 s to 5.0 s" in page


def begun(portal: Portal) -> Run:
    run = portal.request("failback")
    runs.begin(portal.store, run.id, "here-1")
    return run


def earlier(portal: Portal, action: str, took: float) -> None:
    run = portal.request(action)
    runs.begin(portal.store, run.id, "here-1")
    steps = [{"name": name, "begin": 0.0, "end": took / 10, "seconds": took / 10, "result": "ok"} for name in STEPS]
    portal.finish(run, steps=steps)
    with portal.store.writing() as connection:
        values = {"started_at": run.requested_at, "ended_at": run.requested_at + took}
        connection.execute(tables.runs.update().where(tables.runs.c.id == run.id).values(**values))


def test_throughput_is_of_this_moment(portal: Portal) -> None:
    run = begun(portal)
    assert measure(text(portal, f"/runs/{run.id}"), "Throughput").endswith(" nothing is sent")
    portal.tell(run, timed([bytes_of("cart", 1 << 20, 4 << 20), bytes_of("orders", 4 << 20, 4 << 20)]))
    page = text(portal, f"/runs/{run.id}")
    assert measure(page, "Throughput") == "24.0 MiB/s 0.1 s to go"  # what is done has none any more
    assert measure(page, "Still to send") == "3.0 MiB of 8.0 MiB"
    portal.tell(run, [{**bytes_of("cart", 2 << 20, 4 << 20), "at": time.time() - 60}])
    assert measure(text(portal, f"/runs/{run.id}"), "Throughput").startswith("none now last progress")


def test_commit_points_stand_in_the_line_of_steps(portal: Portal) -> None:
    run = begun(portal)
    page = text(portal, f"/runs/{run.id}")
    steps = page.partition('<ol class="steps"')[2].partition("</ol>")[0]
    assert re.search(r"C1</strong> ownership moves</span>.*?hand_over", steps, re.DOTALL)
    assert re.search(r"C2</strong> no way back</span>.*?switch_traffic", steps, re.DOTALL)
    assert steps.count("pending</span>") == len(STEPS)


def test_each_step_tells_when_it_began(portal: Portal) -> None:
    """In a place of its own, on the page and in what the stream makes it fetch; what is to come has none."""

    def told(path: str) -> list[tuple[str, str]]:
        """Of each step its name, and the moment that is shown as its start."""
        steps = text(portal, path).partition('<ol class="steps"')[2].partition("</ol>")[0].split("<li")[1:]
        shown = re.compile(r'began </span><time datetime="([^"]+)" title="[^"]+ UTC">(\d\d:\d\d:\d\d)</time>')
        return [(name_of(step), moment(shown.search(step))) for step in steps]

    def name_of(step: str) -> str:
        return step.partition('<span class="name">')[2].partition("<")[0]

    def moment(found: re.Match[str] | None) -> str:
        return f"{found[1]} {found[2]}" if found else ""

    def at(when: float) -> str:
        return f"{datetime.fromtimestamp(when, UTC).isoformat(timespec='seconds')} {time.strftime('%H:%M:%S', time.localtime(when))}"

    run, first, second = begun(portal), time.time() - 86_400 * 3, time.time() - 86_400 * 3 + 70
    begins = next(failback())
    portal.tell(run, [*timed(begins), {**started("preflight"), "at": first}])
    expected = dict.fromkeys(STEPS, "") | {"preflight": at(first)}
    assert told(f"/runs/{run.id}") == list(expected.items())
    done = {**result("ams-hv1", "preflight", "Look"), "begin": first, "end": first + 60, "at": first + 60}
    portal.tell(run, [done, {**started("stop_services"), "at": second}])
    expected |= {"stop_services": at(second)}
    for path in (f"/runs/{run.id}/board", f"/runs/{run.id}"):
        assert told(path) == list(expected.items())
    portal.finish(run)
    assert dict(told(f"/runs/{run.id}")) == expected


def test_the_log_of_one_resource(portal: Portal) -> None:
    run = begun(portal)
    portal.tell(
        run, timed([resource("cart", "Stopping"), resource("pricing", "Stopping"), bytes_of("cart", 4, 4), bytes_of("orders", 4, 4)])
    )
    page = text(portal, f"/runs/{run.id}?resource=orders-db")
    assert 'id="e4"' in page, "of its volume, too"
    assert 'data-about="orders-db"' in page
    assert 'id="e1"' not in page
    assert 'data-after="4"' in page, "the stream goes on after what the page was rendered at"
    assert re.search(r'data-resource="orders-db" aria-current="true"', page)
    assert portal.client(Role.viewer).get(f"/runs/{run.id}?resource=nothing").status_code == 404


def test_a_stop_that_waits_for_its_step(portal: Portal) -> None:
    run = begun(portal)
    client = portal.client()
    page = text(portal, f"/runs/{run.id}")
    assert "Stop after this step</button>" in page
    assert client.post(f"/runs/{run.id}/stop", data=portal.form(client, after="step")).status_code == 303
    assert runs.get(portal.store, run.id).message == "stop_after"
    assert audit.latest(portal.store, 1)[0].action == "stop_after"
    page = text(portal, f"/runs/{run.id}")
    assert "It stops after this step, as otto asked" in page
    assert "Stop now</button>" in page
    assert client.post(f"/runs/{run.id}/stop", data=portal.form(client)).status_code == 303
    assert runs.get(portal.store, run.id).message == "stop"
    portal.finish(run, exit_code=1, error="it was stopped")
    other = portal.request("reprotect")
    assert client.post(f"/runs/{other.id}/stop", data=portal.form(client, after="step")).status_code == 409


def test_times_stand_in_utc_too(portal: Portal) -> None:
    run = portal.request("failback")
    at = datetime.fromtimestamp(run.requested_at, UTC)
    assert f'<time datetime="{at:%Y-%m-%dT%H:%M:%S}+00:00" title="{at:%Y-%m-%d %H:%M:%S} UTC">' in text(portal, "/runs")


def test_a_run_that_has_just_begun_hides_nothing_of_the_one_before_it(portal: Portal) -> None:
    """Nobody looked at the plan in between."""
    first = portal.request("failback")
    runs.begin(portal.store, first.id, "here-1")
    for batch in failback():
        portal.tell(first, timed(batch))
    portal.finish(first)
    second = portal.request("reprotect")
    runs.begin(portal.store, second.id, "here-1")
    assert "FAILED_BACK" in text(portal, "/")


def test_how_a_failed_run_ends(portal: Portal) -> None:
    run = portal.request("failback")
    for batch in failback("health_checks"):
        portal.tell(run, timed(batch))
    portal.finish(run, exit_code=2, error="fra-hv1: cart did not pass. Read its log")
    page = text(portal, f"/runs/{run.id}")
    assert "fra-hv1: cart did not pass. Read its log." in page
    assert '<li class="fail"' in page
    assert "✖ failed" in re.sub("<[^>]*>", "", page)


def test_nothing_to_do(portal: Portal) -> None:
    run = portal.request("failback")
    portal.finish(run, reason="the plan is home already")
    assert "Nothing to do: the plan is home already." in text(portal, f"/runs/{run.id}")


def test_a_board_is_the_page_without_its_log(portal: Portal) -> None:
    run = portal.request("failback")
    portal.tell(run, timed(next(failback())))
    board = text(portal, f"/runs/{run.id}/board")
    assert 'id="board"' in board
    assert 'id="log"' not in board


def test_older_runs(portal: Portal) -> None:
    for _ in range(51):
        portal.finish(portal.request("replicate"))
    page = text(portal, "/runs")
    assert "Older runs" in page
    oldest = runs.latest(portal.store, limit=50)[-1].requested_at
    assert text(portal, f"/runs?before={oldest}").count('id="row-') == 1
    assert portal.client().get("/runs?before=x").status_code == 400


# -- replication_lag over time -----------------------------------------------------------------------------------


def test_lag_over_time(portal: Portal) -> None:
    assert "Last 24 hours: nobody has looked." in text(portal, "/plans/webshop")
    lags.add(portal.store, "webshop", 4096, 2.0)
    lags.add(portal.store, "webshop", "unknown", "unknown")
    page = text(portal, "/plans/webshop")
    assert "Last 24 hours: at worst 2.0 s old, within RPO at 50.0 % of the looks, unknown at 50.0 %." in page
    client = portal.client(Role.viewer)
    told = client.get("/plans/webshop/lag?hours=168").json()
    assert (len(told["at"]), told["rpo"], round(told["until"] - told["since"])) == (1, 300, 7 * 86400)
    assert (told["bytes"], told["age"]) == ([None], [None]), "two looks in one stretch: the worse counts"
    assert client.get("/plans/webshop/lag?hours=5").status_code == 400
    assert client.get("/plans/nothing/lag").status_code == 404


# -- incidents ---------------------------------------------------------------------------------------------------


def test_an_incident_from_the_plan_to_its_report(portal: Portal) -> None:
    assert "None: the plan has not been moved" in text(portal, "/plans/webshop/incidents")
    run = portal.halts()
    assert '<a href="/plans/webshop/incidents">' in text(portal, "/plans/webshop")
    where = f"/plans/webshop/incidents/{run.id}"
    assert f'<a href="{where}">' in text(portal, "/plans/webshop/incidents")
    page = text(portal, where)
    assert "not over yet: the plan is not ACTIVE again" in page
    assert "cart: http did not pass (Connection refused)" in page
    assert 'name="text"' not in text(portal, where, Role.viewer), "who only reads has no form"
    document = portal.client(Role.viewer).get(f"{where}?format=json").json()
    assert (document["incident"], document["state"]) == (run.id, "open")


def test_a_report_shows_each_check_with_its_answer_and_time(portal: Portal) -> None:
    first, home = portal.halts(), portal.request("failback")
    fact = {"by": "resolver 192.0.2.54", "said": f"www.shop.example A: 192.0.2.1 {HOSTILE}", "at": time.time()}
    moved = {"name": "www", "before": "dr", "after": "primary", "verified": True, "evidence": [fact]}
    over = {"record": {"run": {"outcome": "ok"}}}
    switch = [
        result("edge1", "switch_traffic", "Move the traffic", module="xdr.failback.xdr_traffic", results=[moved]),
        result("edge1", "switch_traffic", "Record that the plan has moved", module="xdr.failback.xdr_ownership", **over),
    ]
    *before, last = failback()
    for batch in [*before, switch, last]:
        portal.tell(home, timed(batch))
    portal.finish(home, changed=20, state="FAILED_BACK")
    page = text(portal, f"/plans/webshop/incidents/{first.id}")
    assert "each balancer and each DNS server gave the primary site&#39;s answer: www" in page
    assert "resolver 192.0.2.54: www.shop.example A: 192.0.2.1 &lt;script&gt;" in page
    assert HOSTILE not in page


def test_a_note_in_a_report(portal: Portal) -> None:
    run, client = portal.halts(), portal.client()
    where = f"/plans/webshop/incidents/{run.id}"
    assert client.post(f"{where}/notes", data=portal.form(client, text=HOSTILE)).headers["Location"] == f"{where}#notes"
    page = text(portal, where)
    assert "&lt;script&gt;" in page
    assert HOSTILE not in page
    newest = audit.latest(portal.store, 1)[0]
    assert (newest.who, newest.action, newest.subject) == ("otto", "note", f"incident {run.id} of plan webshop")
    assert client.post(f"{where}/notes", data=portal.form(client, text="DNS by hand", item="traffic")).status_code == 303
    assert "“DNS by hand”" in text(portal, where)
    assert audit.latest(portal.store, 1)[0].action == "tick traffic"
    assert client.post(f"{where}/notes", data=portal.form(client, text="x", item="nothing")).status_code == 400
    refused = client.post(f"{where}/notes", data=portal.form(client, text=" "))
    assert refused.status_code == 400
    assert "a note has 1 to 4000 characters" in refused.text
    assert audit.latest(portal.store, 1)[0].outcome == "refused"


@pytest.mark.parametrize("path", ["/plans/nothing/incidents", "/plans/webshop/incidents/nothing"])
def test_incidents_that_are_none(portal: Portal, path: str) -> None:
    assert portal.client().get(path).status_code == 404


# -- sites, users, audit ---------------------------------------------------------------------------------------


def test_sites(portal: Portal) -> None:
    assert "Never tested" in text(portal, "/sites")
    legs = [{"from": "controller", "to": "fra-hv1", "result": "LOGIN", "ms": None, "why": "permission denied"}]
    hosts = [{"host": "fra-hv1", "health": "Degraded", "reasons": ["disk is full <b>"]}]
    observations.put(portal.store, observations.SITES, {"hosts": hosts, "connectivity": legs, "exit_code": 0, "error": ""})
    page = text(portal, "/sites")
    assert "Degraded" in page
    assert "disk is full &lt;b&gt;" in page
    assert "controller → fra-hv1: LOGIN, permission denied" in page


def test_connectivity_is_tested_once_at_a_time(portal: Portal) -> None:
    client = portal.client()
    assert client.post("/sites/test", data=portal.form(client)).status_code == 303
    assert runs.latest(portal.store)[0].action == "site-test"
    answer = client.post("/sites/test", data=portal.form(client))
    assert answer.status_code == 409
    assert "A test runs already" in answer.text


def test_users(portal: Portal) -> None:
    client = portal.client(Role.dr_admin)
    answer = client.post("/users/add", data=portal.form(client, name="nina", role="operator"))
    password = answer.text.partition("is <code>")[2].partition("</code>")[0]
    assert accounts.login(portal.store, "nina", password)
    assert password not in text(portal, "/users", Role.dr_admin), "it is shown once"
    for name, role in (("nina", "operator"), ("Nina!", "operator"), ("max", "king")):
        assert client.post("/users/add", data=portal.form(client, name=name, role=role)).status_code == 409
    assert client.post("/users/nina/password", data=portal.form(client)).status_code == 200
    assert accounts.login(portal.store, "nina", password) is None
    assert client.post("/users/nina/remove", data=portal.form(client)).status_code == 303
    assert client.post("/users/nina/remove", data=portal.form(client)).status_code == 409
    assert client.post("/users/dora/remove", data=portal.form(client)).status_code == 409, "a dr-admin is always left"
    assert "nina" not in [user.name for user in accounts.all_users(portal.store)]


def test_audit_goes_back_page_by_page(portal: Portal) -> None:
    for number in range(101):
        audit.add(portal.store, "x", "y", f"z{number}", "s")
    page = text(portal, "/audit", Role.dr_admin)
    assert "Older entries" in page
    oldest = audit.latest(portal.store, 100)[-1].id
    assert ">z0<" in text(portal, f"/audit?before={oldest}", Role.dr_admin)
    assert portal.client(Role.dr_admin).get("/audit?before=-1").status_code == 400


def test_audit_is_verified_on_the_page(portal: Portal) -> None:
    audit.add(portal.store, "x", "y", "z", "s")
    assert "each as it was written" in text(portal, "/audit?verify=1", Role.dr_admin)
    stores.tampered(portal.store, "UPDATE audit SET who = 'w'")
    assert "The trail was tampered with: entry 1 " in text(portal, "/audit?verify=1", Role.dr_admin)


# -- the frame -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/login", "/healthz", "/nowhere", "/static/xdr.css", "/plans/nothing", "/runs/nothing"])
def test_headers(portal: Portal, path: str) -> None:
    answer = portal.client().get(path)
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert "unsafe" not in POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == ("no-cache" if "static" in path else "no-store")


@pytest.mark.parametrize(
    ("error", "status", "title"),
    [
        (RuntimeError("secret detail"), 500, "The portal broke"),
        (XdrError("it is away: secret detail", where="secret detail", code="database"), 503, "The store does not answer"),
        (damage.told("secret detail", "secret detail"), 503, "The store is damaged"),
    ],
)
def test_what_breaks_is_told_in_the_portals_style(
    portal: Portal, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, title: str
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("portal.web.all_plans.PlanFacts", broken)
    client = portal.client()
    client._transport.raise_server_exceptions = False  # type: ignore[attr-defined]
    answer = client.get("/")
    assert answer.status_code == status
    assert title in answer.text
    assert "secret detail" not in answer.text
    assert answer.headers["Content-Security-Policy"] == POLICY


def test_static_files_do_not_lead_out(portal: Portal) -> None:
    client = portal.client()
    assert client.get("/static/xdr.js").status_code == 200
    for path in ("/static/../cli.py", "/static/%2e%2e/cli.py", "/static//etc/passwd"):
        assert client.get(path).status_code == 404


def test_health(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert portal.client(None).get("/healthz").text == "ok\n"

    def broken(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr("portal.web.pages.runs.latest", broken)
    assert portal.client(None).get("/healthz").status_code == 503


def test_a_plan_file_that_was_broken_leaves_the_plans_up(portal: Portal, tmp_path: Path) -> None:
    shutil.copytree(INVENTORY, tmp_path / "inventory")
    file = tmp_path / "inventory" / "plans" / "webshop.yml"
    portal.app = create_app(portal.store, tmp_path / "inventory")
    assert "READY" in text(portal, "/")
    good = file.read_text(encoding="utf-8")
    file.write_text(good.replace("priority: 2", "priority: two"), encoding="utf-8")
    page = text(portal, "/")
    assert "READY" in page
    assert "have a mistake" in page
    assert "priority" in page
    file.write_text(good, encoding="utf-8")
    assert "have a mistake" not in text(portal, "/")


def test_only_reading_routes_answer_get() -> None:
    from portal.web.app import ROUTES

    changing = [route.path for route in ROUTES if isinstance(route, Route) and "POST" in (route.methods or ())]
    assert [
        path for path in changing if any(isinstance(one, Route) and one.path == path and "GET" in (one.methods or ()) for one in ROUTES)
    ] == ["/login", "/plans/{plan}/preview/{action}", "/answer/{token}"]  # whose GET only shows the form, or what there is


def test_a_session_that_was_removed_with_its_user_is_over(portal: Portal) -> None:
    client = portal.client(Role.viewer)
    assert client.get("/").status_code == 200
    accounts.remove(portal.store, "vera")
    assert client.get("/").status_code == 303


# -- a question ------------------------------------------------------------------------------------------------


def answered(portal: Portal, run: Run, answer: str, role: Role = Role.operator, **fields: str) -> Response:
    client = portal.client(role)
    return client.post(f"/runs/{run.id}/answer", data=portal.form(client, answer=answer, **fields))


def test_a_halted_failback_asks_on_its_page_and_on_the_plan_s(portal: Portal) -> None:
    run = portal.halts()
    for path in (f"/runs/{run.id}", "/plans/webshop"):
        page = " ".join(text(portal, path).split())
        assert "It asks: retry, skip or abort?" in page
        assert "Recommended: only health checks failed, all that was started runs in frankfurt: they may pass by now." in page
        assert page.count(f'action="/runs/{run.id}/answer"') == 3
        assert "nothing runs" in page
        assert "Read from the sites</dt><dd><time" in page
        assert "Why may they be left out? This is kept for good." in page
    assert "It takes the role operator" in text(portal, f"/runs/{run.id}", Role.viewer)


def test_what_is_not_safe_is_disabled_with_the_reason(portal: Portal) -> None:
    run = portal.halts({**UNWELL, "start_instances/application": OPEN})
    page = text(portal, f"/runs/{run.id}")
    assert '<button type="submit" name="answer" value="skip" disabled' in page
    assert "⊘ A start is never skipped: what does not run serves nobody." in page
    answer = answered(portal, run, "skip", reason="because")
    assert answer.status_code == 409
    assert "skip is refused. A start is never skipped" in answer.text
    assert audit.latest(portal.store, 1)[0].outcome == "refused"


def test_a_skip_needs_a_reason_and_keeps_it(portal: Portal) -> None:
    run = portal.halts()
    for reason in ("", "  ", "x" * 501, "{{ lookup('pipe', 'id') }}"):
        assert answered(portal, run, "skip", reason=reason).status_code == 400
    assert answered(portal, run, "nonsense").status_code == 400
    assert runs.newest_move(portal.store, "webshop") == runs.get(portal.store, run.id)
    led = answered(portal, run, "skip", reason=f"the page is gone {HOSTILE[:24]}")
    new = runs.newest_move(portal.store, "webshop")
    assert new
    assert (led.status_code, led.headers["Location"]) == (303, f"/runs/{new.id}")
    assert (new.action, new.requested_by, new.arguments["answer"]["skips"]) == ("failback", "otto", ["application"])
    page = text(portal, f"/runs/{new.id}")
    assert "the page is gone &lt;script&gt;" in page
    assert "otto answered: skip" in page
    assert "otto answered" in text(portal, f"/runs/{run.id}")
    assert "without the health checks of application. Reason: the page is gone" in audit.latest(portal.store, 1)[0].detail


def test_a_second_answer_and_one_to_what_is_asked_no_more_are_refused(portal: Portal) -> None:
    run = portal.halts()
    assert answered(portal, run, "abort").status_code == 303
    new = runs.newest_move(portal.store, "webshop")
    assert new
    assert new.action == "rollback"
    for _ in range(2):
        second = answered(portal, run, "abort")
        assert second.status_code == 409
        assert "asks nothing, or does not any more" in second.text
        portal.finish(new)
        portal.see(**seen("REVERSING", "dr"))
    assert "It asks" not in text(portal, f"/runs/{run.id}")
    assert len(runs.latest(portal.store)) == 2


def test_two_answers_at_once_meet_in_the_store(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    run = portal.halts()
    newest = runs.get(portal.store, run.id)
    assert answered(portal, run, "retry").status_code == 303
    monkeypatch.setattr("portal.web.plan_facts.runs.active", lambda store, plan: None)
    monkeypatch.setattr("portal.web.plan_facts.runs.newest_move", lambda store, plan: newest)
    second = answered(portal, run, "retry")
    assert second.status_code == 409
    assert "does not ask any more" in second.text


def test_nothing_is_said_to_run_anywhere_before_the_sites_were_read(portal: Portal) -> None:
    run = portal.request("failback")
    portal.finish(run, exit_code=2, error="it stopped", state="FAILING_BACK")
    page = text(portal, f"/runs/{run.id}")
    assert "not since the run ended" in page
    assert "RUNNING" not in page
    assert answered(portal, run, "abort").status_code == 409


LIMIT = seconds(plan()["failback"]["deadline"])

# -- a deadline ------------------------------------------------------------------------------------------------


def begin(portal: Portal, until: str, **fields: str) -> Response:
    client = portal.client()
    return client.post("/plans/webshop/failback", data=portal.form(client, until=until, confirm="webshop", **fields))


def at(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds).isoformat()


def test_the_page_of_a_failback_tells_how_long_it_has_left(portal: Portal) -> None:
    assert begin(portal, at(3600)).status_code == 303
    run = runs.latest(portal.store)[0]
    runs.begin(portal.store, run.id, "here-1")
    assert run.arguments["window"]["rollback"] == 300
    page = text(portal, f"/runs/{run.id}")
    assert re.search(rf'data-until="{run.arguments["window"]["until"] - 300}"[^>]*>5', page)
    assert re.search(rf'data-until="{run.arguments["window"]["until"]}"[^>]*>(1 h|59 min)[^<]*</time> left', page)
    assert "less 5 min for a rollback (assumed, as no rollback and no start of this plan was measured yet)" in page
    batches = list(failback())
    for batch in batches[:6]:
        portal.tell(run, timed(batch))
    page = text(portal, f"/runs/{run.id}")
    assert f"failback.deadline ({LIMIT}) from the stop of the first service" in page  # which is earlier
    for batch in batches[6:15]:
        portal.tell(run, timed(batch))
    page = text(portal, f"/runs/{run.id}")
    assert "The hand-over has begun: no deadline rolls back any more" in page
    assert page.count("data-until") == 1, "of the window alone"


def test_without_a_window_the_plan_s_own_deadline_is_told(portal: Portal) -> None:
    assert begin(portal, "").status_code == 303
    run = runs.latest(portal.store)[0]
    assert "window" not in run.arguments
    page = text(portal, f"/runs/{run.id}")
    assert measure(page, "Rolls back by itself").startswith(f"{LIMIT} after the stop of the first service")
    assert measure(page, "Window") == "no end none was given"


@pytest.mark.parametrize(("until", "status", "says"), [("soon", 400, "expected a time such as 05:00"), (200, 409, "has passed already")])
def test_a_window_that_is_none(portal: Portal, until: str | int, status: int, says: str) -> None:
    answer = begin(portal, until if isinstance(until, str) else at(until))
    assert answer.status_code == status
    assert says in answer.text
    assert runs.latest(portal.store) == []
    assert audit.latest(portal.store, 1)[0].outcome == "refused"
