# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What only dr-admin decides: whose word counts for a mute witness."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from portal.store import audit, runs
from portal.store.accounts import Role
from tests.support.portal import Portal, seen

RESTORED = "restored: its record is a copy from a backup and may tell an old epoch"


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
