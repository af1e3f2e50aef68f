# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The pages of previews: what is shown, who approves, and what a start is held to."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response

from portal import approval
from portal.preview import BANNER
from portal.store import accounts, approvals, audit, runs
from portal.store.accounts import Role
from portal.store.runs import Run
from tests.support.portal import INVENTORY, PASSWORD, PLAN, Portal, plan

FOUR_EYES = {"approval": {"four_eyes": ["failback", "failover"]}}


def text(response: Response) -> str:
    """Without tags, as a reader sees it."""
    return re.sub(r" ([,:])", r"\1", " ".join(html.unescape(re.sub(r"<[^>]*>", " ", response.text)).split()))


def post(portal: Portal, path: str, role: Role = Role.operator, **fields: str) -> Response:
    client = portal.client(role)
    return client.post(path, data=portal.form(client, **fields))


def start(portal: Portal, run: Run, role: Role = Role.operator, **fields: str) -> Response:
    return post(portal, f"/plans/{PLAN}/{run.action}", role, preview=run.id, confirm=PLAN, **fields)


@pytest.fixture
def four_eyes(portal: Portal, tmp_path: Path) -> Portal:
    """The same portal over a plan that asks for a second person."""
    folder = tmp_path / "inventory"
    shutil.copytree(INVENTORY, folder)
    path = folder / "plans" / f"{PLAN}.yml"
    path.write_text(path.read_text().replace("failback:", "approval: {four_eyes: [failback, failover]}\nfailback:", 1))
    return Portal(tmp_path, folder, users=False, store=portal.store)


def hashed(portal: Portal) -> dict[str, str]:
    """The plan's hash, as a preview over the same portal has it."""
    (found,) = (one for name, one in portal.app.state.desk.inventory.plans.items() if name == PLAN)
    return {"hash": found["hash"], "approval": found["approval"]}


# -- what is shown -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/plans/webshop/preview/failback", "/runs/{run}"])
def test_what_would_be_done_is_shown_in_order_under_the_banner(portal: Portal, path: str) -> None:
    run = portal.previews()
    page = portal.client(Role.viewer).get(path.replace("{run}", run.id))
    assert (page.status_code, BANNER in page.text) == (200, True)
    said = text(page)
    wanted = [
        "failback of webshop stops 7 services in amsterdam, sends 28.0 KiB, starts 7 services in frankfurt",
        "Outage no history",
        "28.0 KiB in 7 volumes",
        "lag ● open replication_lag of at most 16.0 MiB (ready_below) 131072 bytes",
        "1 Check before the downtime no history",
        "amsterdam (ams-hv1), frontend: stop: shop-web-1, shop-web-2",
        "application: stop: shop-api",
        "application: stop (it is so already): cart",
        "Not predicted: how long each takes to stop",
        "send the rest to frankfurt: 1.0 KiB, 0.5 s: orders",
        "▲ C1 Until here any failure or deadline rolls back by itself",
        "6 Hand the ownership over",
        "■ POINT OF NO RETURN, C2 No rollback after this",
        "8 Lead the clients to frankfurt",
        "Nobody has approved it yet",
    ]
    places = [said.find(sentence) for sentence in wanted]
    assert -1 not in places, [sentence for sentence, place in zip(wanted, places, strict=True) if place < 0]
    assert places == sorted(places)


def test_a_page_without_a_preview_offers_one(portal: Portal) -> None:
    assert "There is none yet" in text(portal.client().get("/plans/webshop/preview/failback"))
    answer = post(portal, "/plans/webshop/preview/failback")
    (run,) = runs.latest(portal.store)
    assert (answer.headers["Location"], run.check, run.exclusive) == (f"/runs/{run.id}", True, False)
    assert "A preview is being made" in text(portal.client().get("/plans/webshop/preview/failback"))
    assert BANNER in portal.client().get(f"/runs/{run.id}").text


@pytest.mark.parametrize("path", ["/plans/webshop/preview/status", "/plans/shop/preview/failback"])
def test_there_is_no_such_preview(portal: Portal, path: str) -> None:
    assert portal.client().get(path).status_code == 404


def test_a_run_that_does_it_has_no_banner(portal: Portal) -> None:
    assert BANNER not in portal.client().get(f"/runs/{portal.request('failback').id}").text


@pytest.mark.parametrize(
    ("changes", "seen", "told"),
    [
        ({"hash": "edited"}, {}, "the plan was edited"),
        ({}, {"epoch": 3}, "the epoch has moved"),
        ({}, {"owner": "primary"}, "another site owns the plan"),
    ],
)
def test_a_preview_that_is_not_good_any_more_cannot_be_approved_or_started(
    portal: Portal, changes: dict[str, str], seen: dict[str, Any], told: str
) -> None:
    portal.previews(changes=changes, **seen)
    page = portal.client().get("/plans/webshop/preview/failback")
    assert f"This preview is not good any more: {told}" in text(page)
    assert page.text.count('<button type="submit" disabled') == 2


def test_the_lag_moves_and_the_preview_stays_good(portal: Portal) -> None:
    run = portal.previews(lag=5)
    portal.see(replication_lag=7 << 20)
    page = portal.client().get(f"/runs/{run.id}")
    assert "not good any more" not in text(page)
    assert (portal.previews(lag=9).result or {})["preview"]["approval"]["hash"] == (run.result or {})["preview"]["approval"]["hash"]


# -- approvals -----------------------------------------------------------------------------------------------------


def test_an_approval_is_kept_with_its_hash_and_its_audit_entry(portal: Portal) -> None:
    run = portal.previews()
    answer = post(portal, f"/runs/{run.id}/approve", note=" looked at\n the gates ")
    assert answer.status_code == 303
    (kept,) = approvals.of_plan(portal.store, PLAN)
    bound = (run.result or {})["preview"]["approval"]
    assert (kept.by, kept.hash, kept.parts, kept.run, kept.note) == (
        "otto (portal)",
        bound["hash"],
        bound["parts"],
        run.id,
        "looked at the gates",
    )
    newest = audit.latest(portal.store, 1)[0]
    assert (newest.who, newest.action, newest.outcome, bound["hash"][:12] in newest.detail) == ("otto", "approve failback", "done", True)
    assert "otto (portal) approved it" in text(portal.client(Role.viewer).get(f"/runs/{run.id}"))


REFUSED: dict[str, Callable[[Portal], Run]] = {
    "it did what it says": lambda portal: ended(portal, portal.request("failback")),
    "it has no preview": lambda portal: ended(portal, portal.request("failback", check=True)),
    "not all of its gates are open: lag": lambda portal: portal.previews(lag=1 << 40),
}


def ended(portal: Portal, run: Run) -> Run:
    portal.finish(run)
    return run


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_approved(portal: Portal, why: str) -> None:
    run = REFUSED[why](portal)
    answer = post(portal, f"/runs/{run.id}/approve")
    assert (answer.status_code, why in text(answer)) == (409, True)
    assert (approvals.of_plan(portal.store, PLAN), audit.latest(portal.store, 1)[0].outcome) == ([], "refused")


def test_who_may_not_start_it_may_not_approve_it(portal: Portal) -> None:
    run = portal.previews("failover", state="ACTIVE", owner="primary")
    assert post(portal, f"/runs/{run.id}/approve").status_code == 403
    assert audit.latest(portal.store, 1)[0].outcome == "refused"
    assert post(portal, f"/runs/{run.id}/approve", Role.dr_admin).status_code == 303


def test_a_note_is_no_template(portal: Portal) -> None:
    answer = post(portal, f"/runs/{portal.previews().id}/approve", note="{{ lookup('pipe', 'id') }}")
    assert (answer.status_code, approvals.of_plan(portal.store, PLAN)) == (400, [])


# -- the start -----------------------------------------------------------------------------------------------------


def test_a_start_under_a_preview_is_held_to_it(portal: Portal) -> None:
    run = portal.previews()
    assert start(portal, run).status_code == 303
    begun = runs.active(portal.store, PLAN)
    assert begun
    bound = (run.result or {})["preview"]["approval"]
    assert {name: begun.arguments["approved"][name] for name in ("hash", "parts")} == {name: bound[name] for name in ("hash", "parts")}
    assert f"as the preview {run.id} shows it" in text(portal.client().get(f"/runs/{begun.id}"))


def test_a_start_under_a_preview_takes_the_plans_name(portal: Portal) -> None:
    run = portal.previews()
    answer = post(portal, f"/plans/{PLAN}/failback", preview=run.id)
    assert (answer.status_code, runs.active(portal.store, PLAN)) == (400, None)


def test_a_start_under_the_preview_of_another_action(portal: Portal) -> None:
    run = portal.previews()
    answer = post(portal, f"/plans/{PLAN}/replicate", preview=run.id)
    assert (answer.status_code, "is no preview of replicate" in text(answer)) == (400, True)


def previews_of(portal: Portal, action: str = "failback", **seen: Any) -> Run:
    return portal.previews(action, changes=hashed(portal), **seen)


def test_four_eyes_take_another_person_than_the_starter(four_eyes: Portal) -> None:
    run = previews_of(four_eyes)
    refused = start(four_eyes, run)
    assert (refused.status_code, "nobody has approved it" in text(refused)) == (409, True)
    assert "by anybody who may start it, but another than its starter" in text(refused)
    post(four_eyes, f"/runs/{run.id}/approve")
    refused = start(four_eyes, run)
    assert "only otto (portal), who starts it, has approved it" in text(refused)
    assert (runs.active(four_eyes.store, PLAN), audit.latest(four_eyes.store, 1)[0].outcome) == (None, "refused")
    post(four_eyes, f"/runs/{run.id}/approve", Role.dr_admin)
    assert start(four_eyes, run).status_code == 303
    begun = runs.active(four_eyes.store, PLAN)
    assert begun
    assert begun.arguments["approved"]["by"] == "dora (portal)"
    assert "dora (portal) approved it" in text(four_eyes.client().get(f"/runs/{begun.id}"))


def test_the_plans_page_and_a_preview_say_who_may_approve(four_eyes: Portal) -> None:
    assert "A second person must have approved its preview" in text(four_eyes.client().get(f"/plans/{PLAN}"))
    run = previews_of(four_eyes)
    page = text(four_eyes.client().get(f"/runs/{run.id}"))
    assert "somebody who may start it approves it, and somebody else starts it" in page
    assert "⊘ It takes an approval first" in page


def test_on_the_plans_page_a_start_waits_for_the_second_person(four_eyes: Portal) -> None:
    def button() -> tuple[bool, str]:
        form = four_eyes.client().get(f"/plans/{PLAN}").text.partition('id="do-failback"')[2].partition("</form>")[0]
        return "disabled" in form.partition("Failback</button>")[0], form

    run = previews_of(four_eyes)
    disabled, form = button()
    assert disabled
    assert "⊘ Failback takes an approval by a second person, and nobody has approved it." in form
    assert "to confirm" not in form
    post(four_eyes, f"/runs/{run.id}/approve")
    assert "only otto (portal), who starts it, has approved it" in button()[1]
    post(four_eyes, f"/runs/{run.id}/approve", Role.dr_admin)
    disabled, form = button()
    assert not disabled
    assert ("⊘" in form, "to confirm" in form) == (False, True)


def test_the_same_name_is_the_same_person_on_the_command_line(four_eyes: Portal) -> None:
    run = previews_of(four_eyes)
    approval.approve(four_eyes.store, run, who="Otto", origin="command line")
    assert "only Otto (command line), who starts it, has approved it" in text(start(four_eyes, run))
    approval.approve(four_eyes.store, run, who="root", origin="command line")
    assert start(four_eyes, run).status_code == 303


def test_a_second_operator_may_be_anybody_who_may_start_it(four_eyes: Portal) -> None:
    run = previews_of(four_eyes)
    accounts.add(four_eyes.store, "olga", Role.operator, PASSWORD)
    token = accounts.login(four_eyes.store, "olga", PASSWORD)
    client = four_eyes.client(None)
    client.cookies.set("xdr_session", token or "")
    assert client.post(f"/runs/{run.id}/approve", data=four_eyes.form(client)).status_code == 303
    assert start(four_eyes, run).status_code == 303


def test_in_an_emergency_a_dr_admin_does_without(four_eyes: Portal) -> None:
    four_eyes.see(state="ACTIVE", owner="primary")
    run = previews_of(four_eyes, "failover", state="ACTIVE", owner="primary")
    assert 'name="without_approval"' in four_eyes.client(Role.dr_admin).get(f"/runs/{run.id}").text
    assert start(four_eyes, run, Role.dr_admin).status_code == 409
    assert start(four_eyes, run, Role.dr_admin, without_approval="it is 3 a.m., nobody answers").status_code == 303
    begun = runs.active(four_eyes.store, PLAN)
    assert begun
    assert begun.arguments["approved"]["override"]
    detail = "OVERRIDE: dora (portal) did without a second person: it is 3 a.m., nobody answers"
    assert detail in audit.latest(four_eyes.store, 1)[0].detail
    assert detail in text(four_eyes.client().get(f"/runs/{begun.id}"))


def test_a_failback_waits_for_its_second_person(four_eyes: Portal) -> None:
    run = previews_of(four_eyes)
    answer = start(four_eyes, run, without_approval="I am sure")
    assert (answer.status_code, "only a failover may do without" in text(answer)) == (400, True)
    assert runs.active(four_eyes.store, PLAN) is None


def test_what_went_on_half_way_is_left_to_the_gate(four_eyes: Portal) -> None:
    broken = four_eyes.request("failback")
    four_eyes.finish(broken, exit_code=2, error="it broke")
    assert post(four_eyes, f"/plans/{PLAN}/failback", confirm=PLAN).status_code == 303


def test_plan_of_the_support_is_the_environments(portal: Portal) -> None:
    assert hashed(portal)["hash"] == plan()["hash"]
