# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The steps that an action would take, and the document that a check run makes of them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.plugin_utils.gates import gates
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import View, derive
from ansible_collections.xdr.failback.plugins.plugin_utils.step_items import Course
from ansible_collections.xdr.failback.plugins.plugin_utils.steps import Step, steps

from portal import PROJECT, durations, preview_view
from portal.preview import built, closed, does, lasts, newest, rows
from portal.store import runs
from portal.store.runs import Run
from portal.web.course import FAILBACK
from tests.support import stores
from tests.support.portal import HOSTS, INVENTORY, VOLUMES, check_result, plan, seen
from tests.support.world import PLAN as SHOP
from tests.support.world import World

WEBSHOP = plan()
ROLES = [*(PROJECT / "roles" / "move" / "tasks").glob("*.yml"), *(PROJECT / "roles" / "replication" / "tasks").glob("*.yml")]
DOWNTIME = ["preflight", "stop_services", "release", "final_sync", "verify"]
UP = ["hand_over", "start_services", "switch_traffic"]
READY, HOME = seen(), seen("ACTIVE", "primary", epoch=1)
OFF = seen("ACTIVE", "primary", epoch=1, unreachable=["fra-hv1"])
BACK = {**READY, "offer": {"epoch": 5, "to": "dr", "decided": False, "declined": False}}

COURSES: dict[str, tuple[str, dict[str, Any], dict[str, Any], list[str]]] = {
    "failback": ("failback", READY, {}, [*DOWNTIME, *UP]),
    "a failback with an open offer": ("failback", READY, {"enter": "handover"}, UP),
    "a failback after the hand-over": ("failback", READY, {"enter": "start"}, UP[1:]),
    "a planned failover": ("failover", HOME, {}, [*DOWNTIME, *UP]),
    "a failover of a dead site": ("failover", OFF, {}, ["preflight", *UP]),
    "rollback before the offer": ("rollback", READY, {}, ["take_back", "start_services", "switch_traffic"]),
    "rollback of a declined offer": ("rollback", READY, {"undo": "decline"}, ["take_back", "start_services", "switch_traffic"]),
    "rollback after the hand-over": ("rollback", READY, {"undo": "hand_back"}, ["stop_services", "hand_back", *UP]),
    "rollback, offered back already": ("rollback", BACK, {"undo": "hand_back"}, UP),
    "reverse": ("reverse_replication", READY, {}, ["check", "reverse", "direction", "cycle"]),
    "reprotect": ("reprotect", HOME, {}, ["direction", "cycle", "protect"]),
    "replicate": ("replicate", READY, {}, ["cycle"]),
    "start": ("start", HOME, {}, ["start_services", "switch_traffic"]),
    "start of a new plan": ("start", {**HOME, "epoch": 0, "owner": None}, {}, ["start", "start_services", "switch_traffic"]),
    "resolve": ("resolve", READY, {"keep": "dr"}, ["stop_services", "resolve", *UP]),
    "vouch": ("vouch", READY, {}, ["vouch"]),
    "verify-primary": ("verify_primary", READY, {}, ["check"]),
    "status": ("status", READY, {}, []),
}


def foreseen(name: str) -> list[Step]:
    action, document, more, _ = COURSES[name]
    return steps(Course(WEBSHOP, action, View.from_json(document), **more))


@pytest.mark.parametrize("name", COURSES)
def test_steps(name: str) -> None:
    assert [step["name"] for step in foreseen(name)] == COURSES[name][3]
    for step in foreseen(name):
        assert step["unpredicted"], "what check mode cannot tell is said of every step"
        assert all(item["site"] and item["name"] and item["does"] for item in step["items"])


def test_the_phases_are_those_of_the_roles() -> None:
    known = {phase for path in ROLES for phase in re.findall(r"- name: (\w+) \|", path.read_text())}
    used = {phase for name in COURSES for step in foreseen(name) for phase in step["phases"]}
    assert used - known == {"vouch"}, "its playbook has no phases"
    assert [phase for step in foreseen("failback") for phase in step["phases"]] == list(FAILBACK)


def test_services_stop_in_reverse_and_start_by_priority() -> None:
    by_name = {step["name"]: step["items"] for step in foreseen("failback")}
    stopped = [(item["site"], item["host"], item["group"]) for item in by_name["stop_services"]]
    groups = ["frontend"] * 2 + ["application"] * 3 + ["database"] * 2
    assert stopped == [("amsterdam", "ams-hv1", group) for group in groups]
    done = list(dict.fromkeys((item["group"], item["does"]) for item in by_name["start_services"]))
    assert done == [(group, what) for group in ("database", "application", "frontend") for what in ("start", "check the health")]


def test_a_check_that_is_left_out_is_told() -> None:
    course = Course(WEBSHOP, "failback", View.from_json(READY), enter="start", skip=("application",))
    told = {item["group"]: item["does"] for item in steps(course)[0]["items"]}  # the last of each group
    assert told == {"database": "check the health", "application": "health checks are left out", "frontend": "check the health"}


@pytest.mark.parametrize(
    ("name", "no_return"),
    [("failback", {"hand_over": False, "switch_traffic": True}), ("a planned failover", {"hand_over": True, "switch_traffic": False})],
)
def test_where_the_way_back_closes(name: str, no_return: dict[str, bool]) -> None:
    assert {step["name"]: step["commit"]["no_return"] for step in foreseen(name) if step["commit"]} == no_return


def test_the_chosen_point_is_put_back() -> None:
    (hand_over,) = (
        step for step in steps(Course(WEBSHOP, "failover", View.from_json(HOME), point="cycle-7")) if step["name"] == "hand_over"
    )
    assert [item["name"] for item in hand_over["items"] if item["does"] == "put back recovery point cycle-7"] == list(VOLUMES)


# -- gates ---------------------------------------------------------------------------------------------------------


RESOURCE = {"name": "orders-db", "hosts": {"primary": "fra", "dr": "ams"}, "volumes": [{"name": "orders"}]}
PLACED = {**SHOP, "start_order": [{"name": "db", "resources": [RESOURCE]}]}


def tried(action: str, world: World, **options: Any) -> dict[str, bool]:
    reads = world.reads()
    return {one.name: one.open for one in gates(action, PLACED, derive(PLACED, reads), reads, options)}


def test_every_gate_is_tried_by_itself() -> None:
    world = World().reversing(lag=5000)
    world.replication["dr"][0]["size"], world.replication["primary"][0]["size"] = 1, 2
    opened = {"hosts": True, "plan": True, "witness": True, "state": True, "lag": False, "sizes": False}
    assert tried("failback", world) == opened
    window = {"until": 10.0, "rollback": 1.0, "how": "assumed"}
    assert tried("failback", World().reversing(), window=window, now=20.0) == {**opened, "lag": True, "sizes": True, "window": False}
    assert tried("failback", World().reversing(lag="unknown"))["lag"] is False


@pytest.mark.parametrize(
    ("action", "world", "closed"),
    [
        ("failback", World().active(), []),
        ("failback", World().failed_over(), ["state"]),
        ("rollback", World().switching(), ["state"]),
        ("reprotect", World().reversing(), ["state"]),
        ("failover", World().active(), []),
    ],
    ids=["at home", "not reversed", "traffic moved", "on DR", "planned"],
)
def test_the_gate_of_the_state(action: str, world: World, closed: list[str]) -> None:
    assert [name for name, is_open in tried(action, world).items() if not is_open] == closed


def test_a_silent_host_closes_a_gate_and_the_others_are_told_all_the_same() -> None:
    world = World().reversing()
    world.dead = {"primary"}
    found = tried("failback", world)
    assert (found["hosts"], found["state"]) == (False, True)


# -- the document --------------------------------------------------------------------------------------------------


CHECK = Run("r9", "webshop", "failback", check=True)


def past(number: int, *, stop: float = 2.0, outage: float = 9.0, **changes: Any) -> Run:
    """A failback that ended well; its stop took so long."""
    spans = [
        {"name": "preflight", "begin": 0.0, "end": 1.0},
        {"name": "stop_services", "begin": 1.0, "end": 1.0 + stop},
        {"name": "start_instances", "begin": 5.0, "end": 7.0},
        {"name": "health_checks", "begin": 5.5, "end": 8.0},
        {"name": "switch_traffic", "begin": 8.0, "end": 9.0},
    ]
    whole = {"action": "failback", "status": "ended", "exit_code": 0, "result": {"steps": spans, "achieved": {"outage_s": outage}}}
    return Run(f"r{number}", "webshop", **{**whole, **changes})


def document(*found: Run, **changes: Any) -> dict[str, Any]:
    return built(CHECK, {**check_result(CHECK, WEBSHOP, READY), **changes}, found)


def test_durations_are_ranges_of_past_runs_of_this_action() -> None:
    others = [past(6, outage=99.0, attempts=2), past(3, action="failover"), past(2, exit_code=2), past(1, check=True)]
    told = document(*others, past(5), past(4, stop=4.0, outage=12.5))
    by_name = {step["name"]: step["seconds"] for step in told["steps"]}
    assert by_name["stop_services"] == {"low": 2.0, "high": 4.0, "runs": 2}
    assert by_name["start_services"] == {"low": 3.0, "high": 3.0, "runs": 2}
    assert (by_name["verify"], told["outage"]) == (None, {"low": 9.0, "high": 12.5, "runs": 2})
    assert told["told"].endswith("the outage: 9.0 s to 12.5 s in 2 past runs")


def test_only_the_newest_runs_count() -> None:
    assert document(*[past(number) for number in range(durations.NEWEST)], past(99, outage=99.0))["outage"]["high"] == 9.0


def test_without_history_it_says_so() -> None:
    told = document()
    assert {lasts(step["seconds"]) for step in told["steps"]} == {"no history"}
    assert told["told"].endswith("the outage: no history")


def test_bytes_of_each_volume_and_of_all() -> None:
    told = document()
    assert {one["volume"]: one["predicted_bytes"] for one in told["volumes"]} == {
        name: number << 10 for number, name in enumerate(VOLUMES, 1)
    }
    assert (told["bytes"], told["sync_seconds"]) == (28 << 10, 4.5)
    sync = next(step for step in told["steps"] if step["name"] == "final_sync")
    assert does(sync["items"][0], told) == "send the rest to frankfurt: 1.0 KiB, 0.5 s"


def test_bytes_that_are_not_known_are_never_nothing() -> None:
    results = check_result(CHECK, WEBSHOP, READY)["results"]
    results[0]["predicted_bytes"] = "unknown"
    told = document(results=results)
    assert told["bytes"] == "unknown"
    assert "sends an unknown number of bytes" in told["told"]
    sync = next(step for step in told["steps"] if step["name"] == "final_sync")
    assert does(sync["items"][0], told) == "send the rest to frankfurt: an unknown number of bytes, 128.0 MiB at most, 0.5 s"


def test_what_check_mode_found_so_already() -> None:
    told = document()
    stop = next(step for step in told["steps"] if step["name"] == "stop_services")
    assert ("amsterdam (ams-hv1)", "application", "stop (it is so already)", ["cart"]) in list(rows(stop, told))


@pytest.mark.parametrize(
    ("seen_as", "changes", "found", "is_open"),
    [
        ({}, {}, "as wanted", True),
        ({}, {"exit_code": 2, "error": "fra-hv1: the disk is full"}, "fra-hv1: the disk is full", False),
        ({"lag": 1 << 40}, {"exit_code": 10, "error": "replication_lag is"}, "not looked at, as another gate is closed", None),
    ],
    ids=["well", "a check fails", "the gate refuses"],
)
def test_what_is_checked_after_the_gate_is_a_gate(
    seen_as: dict[str, Any], changes: dict[str, Any], found: str, is_open: bool | None
) -> None:
    told = built(CHECK, {**check_result(CHECK, WEBSHOP, seen(**seen_as)), **changes}, [])
    assert (told["gates"][-1]["found"], told["gates"][-1]["open"]) == (found, is_open)
    assert closed(told) == ["lag"] * bool(seen_as) + ["checks"] * (is_open is not True)


def test_nothing_to_do() -> None:
    told = document(reason="the plan is home already")
    assert (told["told"], told["gates"][-1]["name"]) == ("Nothing would be done: the plan is home already", "sizes")


def test_the_newest_preview_is_of_that_action_and_has_ended(tmp_path: Any) -> None:
    store = stores.opened(tmp_path)
    try:
        for number, action in enumerate(("failback", "failback", "replicate", "failback"), 1):
            run = Run(f"r{number}", "webshop", action, check=True, exclusive=False, requested_at=float(number))
            runs.request(store, run)
            told = check_result(run, WEBSHOP, READY)
            if number < 4:
                more = {"preview": built(run, told, [])} if number != 2 else {"preview": None}
                runs.finish(store, run.id, {**told, **more})
        found = newest(store, "webshop", "failback")
        assert found
        assert found.id == "r1"
        assert newest(store, "webshop", "failover") is None
    finally:
        store.close()


def test_the_support_knows_the_environment() -> None:
    assert set(HOSTS) == {WEBSHOP["witness"], *(host for site in WEBSHOP["sites"].values() for host in site["hosts"])}
    assert INVENTORY.is_dir()


def test_every_action_with_a_preview_has_its_steps_and_its_gates() -> None:
    dns = {"name": "www", "host": "edge1", "ttl": 300, "lowered_ttl": 30}
    whole = {**WEBSHOP, "traffic": {**WEBSHOP["traffic"], "dns": [dns]}}
    view, shop = View.from_json(READY), {**PLACED, "traffic": {"load_balancers": [], "dns": [{**dns, "host": "wit"}]}}
    reads = World().reads()
    for name in (name.replace("-", "_") for name in preview_view.ACTIONS):
        assert steps(Course(whole, name, view, keep="dr")), name
        found = [gate.name for gate in gates(name, shop, derive(shop, reads), reads, {})]
        assert found[:4] == ["hosts", "plan", "witness", "state"], name
    [lower] = steps(Course(whole, "lower_ttl", view))
    assert [(one["host"], one["name"], one["does"]) for one in lower["items"]] == [("edge1", "www", "set the TTL to 30 s")]
