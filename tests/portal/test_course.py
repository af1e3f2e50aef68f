# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What is gathered from a run's events, and how each reads as a line."""

from __future__ import annotations

from typing import Any

import pytest

from portal.web.course import FAILBACK, Course
from portal.web.lines import CHANGE, DETAIL, FAIL, INFO, WARN, line
from tests.support.portal import Event, bytes_of, ended, failback, resource, result, started, timed


def course(*batches: list[Event]) -> Course:
    made = Course()
    for number, event in enumerate((event for batch in batches for event in timed(batch)), 1):
        made.add({**event, "seq": number})
    return made


def begun(playbook: str = "failback.yml") -> Event:
    return {"kind": "started", "action": "failback", "plan": "webshop", "playbook": playbook, "check": False}


def states(made: Course, launch: int = 0) -> dict[str, str]:
    return {step.name: step.state for step in made.launches[launch].steps()}


def test_a_failback_that_goes_well() -> None:
    made = course(*failback())
    assert states(made) == dict.fromkeys(FAILBACK, "ok")
    assert set(made.resources.values()) == {"Validated"}
    assert all(volume.done == volume.total for volume in made.volumes.values())
    assert (made.record["status"], made.owned, made.moved, made.task) == ("FAILED_BACK", ("primary", 5), True, "")


def test_in_the_middle() -> None:
    made = course([begun()], [result("h", "release", "x")], [started("final_sync"), bytes_of("orders", 1, 4)])
    assert states(made)["final_sync"] == "running"
    assert states(made)["verify"] == "pending"
    assert not made.moved
    assert made.task == "final_sync | Begin"


def test_where_it_fails_nothing_more_is_to_come() -> None:
    made = course(*failback("health_checks"))
    assert states(made)["health_checks"] == "failed"
    assert "switch_traffic" not in states(made)


def test_a_rollback_is_another_launch_of_the_run() -> None:
    made = course([begun(), started("stop_services"), ended(1, "stopped")], [begun("rollback.yml"), started("take_back")])
    assert [launch.playbook for launch in made.launches] == ["failback.yml", "rollback.yml"]
    assert states(made, 1) == {"take_back": "running"}
    assert "verify" not in states(made)


@pytest.mark.parametrize(
    ("event", "level", "said"),
    [
        (begun(), INFO, "failback.yml begins"),
        ({**begun(), "check": True}, INFO, "failback.yml begins, only checking: nothing is changed"),
        (started("verify"), DETAIL, "task: verify | Begin"),
        (result("h", "verify", "Compare"), INFO, "verify | Compare"),
        (result("h", "verify", "Tell", msg="little\nis left", module="ansible.builtin.debug"), INFO, "little is left"),
        (result("h", None, "Read"), DETAIL, "Read: ok"),
        (result("h", "verify", "Compare", status="skipped"), DETAIL, "verify | Compare: skipped"),
        (result("h", "s", "Send", status="changed", bytes_sent=2 << 20), CHANGE, "s | Send (2.0 MiB sent)"),
        (result("h", "s", "Send", status="failed", msg="no\n space"), FAIL, "s | Send: failed: no space"),
        (result("h", "s", "Send", status="failed"), FAIL, "s | Send: failed: no reason was given"),
        (result("h", "s", "Send", status="unreachable", msg="timed out"), WARN, "s | Send: the host does not answer. timed out"),
        (resource("cart", "Failed"), FAIL, "cart: Failed"),
        (resource("cart", "Validated"), INFO, "cart: Validated"),
        (bytes_of("orders", 1 << 20, 2 << 20), DETAIL, "orders: 1.0 MiB of 2.0 MiB"),
        (bytes_of("orders", 2 << 20, 2 << 20), INFO, "orders: 2.0 MiB of 2.0 MiB"),
        ({"kind": "message", "level": "warning", "text": "old"}, WARN, "old"),
        ({"kind": "message", "level": "line", "text": "x"}, DETAIL, "x"),
        (ended(), INFO, "ended well"),
        (ended(2, "why"), FAIL, "why"),
        ({"kind": "of a later version"}, DETAIL, "of a later version"),
    ],
)
def test_lines(event: dict[str, Any], level: str, said: str) -> None:
    told = line({"seq": 7, "at": 0.0, **event})
    assert (told.seq, told.level, told.text) == (7, level, said)
