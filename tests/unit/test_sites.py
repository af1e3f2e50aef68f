# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a test of the sites tells, and its history in the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portal import site_history, sites
from portal.actions import asked, request
from portal.results import Failure, RunResult
from portal.store import Store, checks, links
from portal.worker.execution import requested
from tests.support.portal import INVENTORY

HOUR, DAY = 3600.0, 86400.0


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets the clock go forward."""
    real, passed = time.time, [0.0]

    def move(seconds: float) -> None:
        passed[0] += seconds

    monkeypatch.setattr(time, "time", lambda: real() + passed[0])
    return move


def check(result: str, found: str = "4 GiB free", host: str = "fra-hv1", name: str = "room") -> dict[str, str]:
    return {"host": host, "check": name, "result": result, "found": found, "wanted": "room"}


def test_a_row_for_each_change_and_none_for_a_repetition(store: Store, later: Callable[[float], None]) -> None:
    for result, found in (("ok", "5 GiB"), ("ok", "4 GiB"), ("failed", "0 B"), ("failed", "1 B"), ("ok", "9 GiB")):
        checks.keep(store, [check(result, found)])
        later(60)
    told = checks.history(store, ["fra-hv1"])
    assert [(one.result, one.evidence) for one in told] == [("ok", "9 GiB"), ("failed", "1 B"), ("ok", "4 GiB")]
    assert [round(one.seen - one.since) for one in told] == [0, 60, 60]
    [newest] = checks.newest(store, ["fra-hv1", "ams-hv1"])
    assert newest == told[0]
    assert checks.newest(store, ["ams-hv1"]) == []


def test_checks_of_hosts_are_apart_and_what_is_long_over_goes(store: Store, later: Callable[[float], None]) -> None:
    checks.keep(store, [check("failed"), check("ok", host="ams-hv1"), check("ok", name="clock")])
    later(1)
    checks.keep(store, [check("ok")])
    assert len(checks.history(store, ["fra-hv1"])) == 3
    assert len(checks.history(store, ["fra-hv1"], limit=2)) == 2
    later(checks.KEPT + DAY)
    checks.keep(store, [check("ok")])
    assert [(one.check, one.result) for one in checks.history(store, ["fra-hv1", "ams-hv1"])] == [("room", "ok")], "the rest is long over"


def leg(latency: float | None, rate: int | None, start: str = "fra-hv1", end: str = "ams-hv1") -> dict[str, Any]:
    return {"from": start, "to": end, "result": "CONNECTED", "latency_ms": latency, "bytes_per_s": rate}


def test_the_ways_over_time(store: Store, later: Callable[[float], None]) -> None:
    links.keep(store, [leg(None, None, "controller")])
    assert links.pairs(store, ["ams-hv1"]) == [], "what was never measured is none of them"
    for latency, rate in ((4.0, 100), (9.0, None), (None, None), (5.0, 40)):
        links.keep(store, [leg(latency, rate)])
        later(60)
    assert links.pairs(store, ["ams-hv1"]) == [("fra-hv1", "ams-hv1")]
    now = time.time()
    told = links.over(store, "fra-hv1", "ams-hv1", now - HOUR, now)
    assert [(point.latency_ms, point.bytes_per_s) for point in told] == [(4.0, 100), (9.0, None), (None, None), (5.0, 40)]
    [worst] = links.over(store, "fra-hv1", "ams-hv1", now - HOUR, now + HOUR, points=2)
    assert (worst.latency_ms, worst.bytes_per_s) == (9.0, 40)
    assert links.usual(store, "fra-hv1", "ams-hv1") is None, "of two measurements nothing is usual"
    links.keep(store, [leg(5.0, 60)])
    assert links.usual(store, "fra-hv1", "ams-hv1") == 60
    later(links.KEPT + DAY)
    links.keep(store, [])
    assert links.pairs(store, ["ams-hv1"]) == []


def test_the_history_as_one_document(store: Store) -> None:
    checks.keep(store, [check("ok", name="agent"), check("failed")])
    links.keep(store, [leg(4.0, 100)])
    told = site_history.document(store, "frankfurt", ["fra-hv1"])
    assert [one["check"] for one in told["checks"]] == ["room", "agent"], "what is wrong first"
    assert told["ways"][0]["latency"] == {"newest": 4.0, "median": 4.0, "worst": 4.0}


def answered(*legs: dict[str, Any], failures: list[Failure] | None = None, **health: str) -> dict[str, Any]:
    answers = [{"host": host, "health": one, "reasons": [], "checks": [check("ok")]} for host, one in health.items()]
    results = [{"module": "xdr_connectivity", "ms": 4.0, "why": "w", **one} for one in legs]
    result = RunResult("r", "site-test", "all-plans", 0, "", "", stopped=False, seconds=1.0, changed=0)
    return sites.tested(RunResult(**{**vars(result), "answers": answers, "results": results, "failures": failures or []}))


def test_a_host_that_does_not_reach_its_peer_is_degraded_unless_that_one_is_off() -> None:
    broken = {**leg(None, None, "a", "b"), "result": "TCP"}
    told = answered(broken, a="Healthy", b="Healthy")
    assert [(one["health"], one["reasons"]) for one in told["hosts"]] == [("Degraded", ["a → b, TCP: w"]), ("Healthy", [])]
    off = answered(broken, failures=[Failure("b", None, "", "no route", unreachable=True)], a="Healthy")
    assert {one["host"]: one["health"] for one in off["hosts"]} == {"a": "Healthy", "b": "Unreachable"}
    here = answered({**broken, "from": "controller"}, b="Failed")
    assert [(one["health"], one["reasons"]) for one in here["hosts"]] == [("Failed", ["controller → b, TCP: w"])]


def test_all_that_a_test_tells_becomes_checks_of_its_hosts() -> None:
    told = answered(leg(1.0, 2, "a", "b"), {**leg(1.0, 2, "controller", "a"), "result": "LOGIN"}, a="Healthy")
    found = {(one["host"], one["check"]): (one["result"], one["found"]) for one in sites.checked(told)}
    assert found["a", "answers"] == ("ok", "it does")
    assert found["a", "reaches b"] == ("ok", "it connects in 4 ms")
    assert found["a", "reached from the controller"] == ("failed", "LOGIN: w")
    off = sites.checked(answered(failures=[Failure("b", None, "", "no route", unreachable=True)]))
    assert [(one["check"], one["result"], one["found"]) for one in off] == [("answers", "failed", "no route")]


def test_only_what_a_person_asks_for_measures_the_throughput() -> None:
    assert "xdr_transfer_bytes" not in request("site-test", "", INVENTORY).extra_vars
    run = asked("diagnose", "", by="otto", origin="portal", site="frankfurt")
    assert (run.plan, run.exclusive, run.arguments) == ("all-plans", False, {"site": "frankfurt", "transfer": True})
    assert requested(run, INVENTORY).extra_vars == {"xdr_transfer_bytes": 8 << 20}
    assert Path(requested(run, INVENTORY).playbook).name == "diagnose.yml"
