# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What only dr-admin decides: which side of a split brain is kept, and whose word counts for a mute witness."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console
from starlette.testclient import TestClient

from portal import split_view, status
from portal.store import audit, runs
from portal.store.accounts import Role
from portal.units import since
from tests.support.portal import Portal, plan, seen

RESTORED = "restored: its record is a copy from a backup and may tell an old epoch"


ENTRY = {"epoch": 5, "owner": "dr", "how": "attested", "attempt": [4, 9], "at": 1_700_000_000.0, "by": "ann", "text": "<b>dark</b>"}
SPLIT: dict[str, Any] = {
    "why": "primary does not know of epoch 5 and runs orders-db; the other site owns that epoch",
    "common": 4,
    "owner": "primary",
    "at": 1_600_000_000.0,
    "sides": {
        "primary": {
            "epoch": 4,
            "standing": "accepted",
            "accepted": [],
            "running": [{"host": "fra-hv1", "name": "orders-db", "pid": 7, "since": 1_650_000_000.0}],
            "cycle": {"cycle": 17, "role": "source", "at": 1_690_000_000.0},
        },
        "dr": {"epoch": 5, "standing": "accepted", "accepted": [ENTRY], "running": [], "cycle": None},
    },
    "given_up": None,
}
CHOSEN = {"keep": "dr", "reason": " J. Weber:\n its orders were shipped", "confirm": "webshop"}


def divided(**changes: Any) -> dict[str, Any]:
    return seen("SPLIT_BRAIN", None, epoch=5, why=SPLIT["why"], split={**SPLIT, **changes})


@pytest.fixture
def dora(portal: Portal) -> TestClient:
    return portal.client(Role.dr_admin)


def voucher(site: str) -> dict[str, Any]:
    return {"site": site, "epoch": 4, "owner": "dr", "declined": 0, "heard": 0}


def test_a_mute_witness(portal: Portal, dora: TestClient) -> None:
    assert 'id="mute"' not in dora.get("/plans/webshop").text
    portal.see(**seen(mute=RESTORED, vouchers=[voucher("primary"), voucher("dr")]))
    page = dora.get("/plans/webshop").text
    assert f"The witness edge1 is mute: {RESTORED}." in page
    assert 'name="reason"' not in page
    dora.post("/plans/webshop/vouch", data=portal.form(dora, reason="not asked for"))
    (run,) = runs.latest(portal.store)
    assert (run.action, run.arguments) == ("vouch", {})


def test_a_mute_witness_and_one_site(portal: Portal, dora: TestClient) -> None:
    portal.see(**seen(mute=RESTORED, vouchers=[voucher("dr")], unreachable=["fra-hv1"]))
    assert 'name="reason"' in dora.get("/plans/webshop").text
    for reason in ("", "  ", "x" * 501, "{{ lookup('pipe', 'id') }}"):
        assert dora.post("/plans/webshop/vouch", data=portal.form(dora, reason=reason)).status_code == 400
    assert runs.latest(portal.store) == []
    dora.post("/plans/webshop/vouch", data=portal.form(dora, reason=" J. Weber:\n DR never had it "))
    (run,) = runs.latest(portal.store)
    assert run.arguments == {"reason": "J. Weber: DR never had it"}
    assert "reason: J. Weber: DR never had it" in audit.latest(portal.store, 1)[0].detail
    assert "with the reason: “J. Weber: DR never had it”" in dora.get(f"/runs/{run.id}").text


def test_an_operator_may_not_vouch(portal: Portal) -> None:
    portal.see(**seen(mute=RESTORED, vouchers=[voucher("dr")]))
    client = portal.client(Role.operator)
    assert client.post("/plans/webshop/vouch", data=portal.form(client, reason="sure")).status_code == 403
    assert (runs.latest(portal.store), audit.latest(portal.store, 1)[0].outcome) == ([], "refused")


def test_there_is_nothing_to_vouch_for(portal: Portal, dora: TestClient) -> None:
    assert dora.post("/plans/webshop/vouch", data=portal.form(dora)).status_code == 404


# -- a split brain --------------------------------------------------------------------------------------------


def test_what_each_side_has_is_shown(portal: Portal, dora: TestClient) -> None:
    assert 'id="split"' not in dora.get("/plans/webshop").text
    portal.see(**divided())
    page = dora.get("/plans/webshop").text
    assert f"Both agree on epoch 4, owned by frankfurt since {since(1_600_000_000.0)}. Since then:" in page
    assert f"epoch 5, attested by ann at {since(1_700_000_000.0)}: “&lt;b&gt;dark&lt;/b&gt;”" in page
    assert f"orders-db on fra-hv1 since {since(1_650_000_000.0)}" in page
    assert f"17, sent, its read began at {since(1_690_000_000.0)}" in page
    assert page.count('name="keep"') == 2


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ({"keep": ""}, "needs your choice"),
        ({"keep": "both"}, "needs your choice"),
        ({"confirm": ""}, "type the plan&#39;s name"),
        ({"confirm": "web"}, "type the plan&#39;s name"),
        ({"reason": "  "}, "needs a reason"),
        ({"reason": "x" * 501}, "plain text of at most"),
        ({"reason": "{{ lookup('pipe', 'id') }}"}, "plain text of at most"),
    ],
)
def test_what_must_be_typed(portal: Portal, dora: TestClient, typed: dict[str, str], told: str) -> None:
    portal.see(**divided())
    answer = dora.post("/plans/webshop/resolve", data=portal.form(dora, **{**CHOSEN, **typed}))
    assert (answer.status_code, told in answer.text) == (400, True)
    assert (runs.latest(portal.store), audit.latest(portal.store, 1)[0].outcome) == ([], "refused")


def test_one_side_is_chosen(portal: Portal, dora: TestClient) -> None:
    portal.see(**divided())
    answer = dora.post("/plans/webshop/resolve", data=portal.form(dora, **CHOSEN))
    (run,) = runs.latest(portal.store)
    assert answer.headers["Location"] == f"/runs/{run.id}"
    assert (run.action, run.arguments) == ("resolve", {"reason": "J. Weber: its orders were shipped", "keep": "dr"})
    newest = audit.latest(portal.store, 1)[0]
    assert (newest.who, newest.outcome, "keep: dr" in newest.detail) == ("dora", "done", True)
    assert "to keep the side <strong>dr</strong>, with the reason: “J. Weber: its orders were shipped”" in dora.get(f"/runs/{run.id}").text


def test_what_was_given_up_is_no_choice_any_more(portal: Portal, dora: TestClient) -> None:
    portal.see(**divided(given_up="primary"))
    assert re.findall(r'name="keep" value="(\w+)"', dora.get("/plans/webshop").text) == ["dr"]
    assert dora.post("/plans/webshop/resolve", data=portal.form(dora, **{**CHOSEN, "keep": "primary"})).status_code == 400


def test_a_run_that_resolved_and_has_not_ended_goes_on(portal: Portal, dora: TestClient) -> None:
    begun = {"id": "r1", "action": "resolve", "plan_hash": plan()["hash"], "attempt": 7, "started": 1.0, "ended": None, "phases": {}}
    portal.see(**seen("FAILED_OVER", "dr", run=begun))
    page = dora.get("/plans/webshop").text
    assert ('id="split"' in page, re.findall(r'name="keep" value="(\w+)"', page)) == (False, ["dr"])
    dora.post("/plans/webshop/resolve", data=portal.form(dora, **CHOSEN))
    assert [run.action for run in runs.latest(portal.store)] == ["resolve"]


def test_an_operator_sees_it_and_may_not_choose(portal: Portal) -> None:
    portal.see(**divided())
    client = portal.client(Role.operator)
    assert "It takes the role dr-admin" in client.get("/plans/webshop").text
    assert client.post("/plans/webshop/resolve", data=portal.form(client, **CHOSEN)).status_code == 403
    assert runs.latest(portal.store) == []


def test_it_takes_the_token(portal: Portal, dora: TestClient) -> None:
    portal.see(**divided())
    assert dora.post("/plans/webshop/resolve", data={**CHOSEN, "csrf": "another"}).status_code == 403
    assert runs.latest(portal.store) == []


def test_without_a_split_brain_there_is_nothing_to_resolve(portal: Portal, dora: TestClient) -> None:
    assert dora.post("/plans/webshop/resolve", data=portal.form(dora, **CHOSEN)).status_code == 404


def test_the_side_that_was_given_up_is_told_to_be_kept(portal: Portal, dora: TestClient) -> None:
    document = seen("REVERSING", "dr")
    for row in document["volumes"]:
        row["recovery_points"] = [{"name": "split-brain", "opened_at": 1.0}, {"name": "before-reverse"}] * (row["host"] == "fra-hv1")
    portal.see(**document)
    told = "What was given up on fra-hv1 in a split brain is kept there as recovery point split-brain, until somebody drops it."
    assert told in dora.get("/plans/webshop").text


def test_the_command_line_tells_the_same() -> None:
    told = dict(split_view.facts(SPLIT, {"primary": "frankfurt", "dr": "amsterdam"}))
    assert told["both agree on"].startswith("epoch 4, owned by frankfurt")
    assert told["frankfurt (primary)"] == "epoch 4, accepted"
    document = {**divided(), "error": "", "volumes": [], "instances": [], "unreachable": []}
    console = Console(width=200, file=io.StringIO())
    console.print(status.render([document]))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "xdr run resolve webshop --keep primary|dr --reason TEXT --confirm webshop" in shown
    assert "attested by ann" in shown
