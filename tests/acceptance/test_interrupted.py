# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A failback whose controller dies in the middle, over the real lab, while a client orders all the time."""

from __future__ import annotations

import pytest

from tests.support.luck import Luck

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]  # a busy machine; alone each takes less than a minute


@pytest.mark.slow
def test_killed_then_rolled_back(luck: Luck) -> None:
    """The command line dies with all it started; what it had begun is given up for the next command."""
    luck.ready()
    with luck.begun("failback") as run:
        run.reaches("final_sync")
        run.kill()
    status = luck.status()
    assert (status["state"], status["run"]["action"]) == ("FAILING_BACK", "failback")
    assert "release" in status["run"]["phases"]
    luck.run("rollback")
    status = luck.status()
    assert (status["state"] in ("REVERSING", "READY"), status["owner"], status["run"]) == (True, "dr", None)
    luck.serves("dr")
    told = luck.xdr("run", "list").document
    assert [(one["action"], one["code"]) for one in told[:2]] == [("rollback", ""), ("failback", "abandoned")]


def test_the_guard_at_the_primary_refuses(luck: Luck) -> None:
    luck.ready()
    said = luck.start_past_xdr("primary", "cart")
    assert "xdr guard: fra-hv1, plan webshop: primary does not own the plan: dr owns epoch" in said
    luck.serves("dr")


@pytest.mark.slow
def test_killed_again_and_again_then_home(luck: Luck) -> None:
    """The launcher dies, too; each new failback goes on where the one before it was killed."""
    luck.ready()
    for step in ("stop_services", "verify", "start_instances"):
        with luck.begun("failback") as run:
            run.reaches(step)
            run.kill()
    assert luck.status()["state"] == "FAILING_BACK"
    home = luck.run("failback")
    assert "stop_services" not in {step["name"] for step in home.document["steps"]}
    luck.stage = "moved"
    status = luck.status()
    assert (status["state"], status["owner"], status["run"]) == ("FAILED_BACK", "primary", None)
    luck.serves("primary")
    again = luck.run("failback")
    assert (again.document["changed"], again.document["steps"]) == (0, [])


def test_a_killed_playbook_is_launched_again(luck: Luck) -> None:
    """Only ansible-playbook dies, and whoever launched it goes on."""
    luck.ready()
    with luck.begun("failback") as run:
        run.reaches("verify")
        run.kill(launcher=False)
        assert run.ends().code == 0
    luck.stage = "moved"
    status = luck.status()
    assert (status["state"], status["owner"], status["run"]) == ("FAILED_BACK", "primary", None)
    luck.serves("primary")


def test_the_guard_at_the_dr_site_refuses(luck: Luck) -> None:
    if luck.stage != "moved":
        luck.home()
    said = luck.start_past_xdr("dr", "cart")
    assert "xdr guard: ams-hv1, plan webshop: dr does not own the plan: primary owns epoch" in said
    luck.serves("primary")
