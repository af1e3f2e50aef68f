# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What ticks the items of an incident's checklist, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from portal.checklist import DATA, DOCUMENTED, HEALTH, ITEMS, PROTECTION, TRAFFIC, Evidence, Fact, Item, items
from portal.events import Event
from portal.incident import Incident
from portal.store.notes import Note
from portal.store.runs import Run

CHECK = {"check": "tcp 5432", "ok": True, "why": "", "seconds": 0.1, "tries": 1}
SHOWN = {TRAFFIC, HEALTH, DATA}


def result(module: str, step: str = "", *, status: str = "ok", **rest: Any) -> Event:
    return {"kind": "result", "module": f"xdr.failback.{module}", "step": step, "status": status, **rest}


def launch(playbook: str = "failback.yml", *, check: bool = False) -> Event:
    return {"kind": "started", "playbook": playbook, "check": check}


def traffic(after: str = "primary", *, verified: bool = True, name: str = "front", evidence: list[dict[str, Any]] | None = None) -> Event:
    item = {"name": name, "after": after, "verified": verified, "evidence": evidence or []}
    return result("xdr_traffic", "switch_traffic", results=[item])


def health(*names: str, state: str = "Validated") -> Event:
    return result("xdr_health", "health_checks", results=[{"name": name, "resource_state": state} for name in names])


def verified(*, equal: bool = True) -> Event:
    return result("xdr_delta_sync", "verify", results=[{"volume": "orders", "equal": equal}])


def ends(outcome: str) -> Event:
    return result("xdr_ownership", "switch_traffic", record={"run": {"outcome": outcome}})


HOME = [launch(), verified(), health("db"), health("web"), traffic(), ends("ok")]


def found(
    events: list[Event], *, answer: dict[str, Any] | None = None, over: bool = False, notes: list[Note] | None = None
) -> dict[str, Item]:
    evidence = Evidence()
    for number, event in enumerate(events):
        evidence.add("r1", {"at": float(number), **event})
    arguments = {"answer": answer} if answer else {}
    run = Run("r1", "shop", "failback", arguments=arguments, ended_at=9.0)
    told = items(Incident("shop", (run,), over), evidence, notes or [])
    assert [item.name for item in told] == list(ITEMS)
    return {item.name: item for item in told}


CASES: dict[str, tuple[list[Event], set[str]]] = {
    "home": (HOME, SHOWN),
    "nothing": ([], set()),
    "only checked": ([launch(check=True), *HOME[1:]], set()),
    "not yet home": (HOME[:-1], set()),
    "rolled back by itself": ([launch(), verified(), health("db"), ends("rolled_back")], set()),
    "held": ([launch(), verified(), health("db"), ends("held")], set()),
    "home in two launches": ([*HOME[:3], launch(), *HOME[3:]], SHOWN),
    "the volumes differ": ([launch(), verified(equal=False), health("db"), traffic(), ends("ok")], {TRAFFIC, HEALTH}),
    "not verified through the balancer": ([launch(), verified(), health("db"), traffic(verified=False), ends("ok")], {HEALTH, DATA}),
    "led elsewhere": ([launch(), verified(), health("db"), traffic("dr"), ends("ok")], {HEALTH, DATA}),
    "failed over again": ([*HOME, launch("failover.yml")], set()),
    "a failover that is only checked": ([*HOME, launch("failover.yml", check=True)], SHOWN),
    "reprotected": ([*HOME, launch("reprotect.yml"), health("dr-web", state="Failed")], SHOWN),
    "without a balancer": ([launch(), verified(), health("db"), ends("ok")], {HEALTH, DATA}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_the_runs_show(case: str) -> None:
    events, done = CASES[case]
    assert {name for name, item in found(events).items() if item.done} == done


def test_how_it_is_told() -> None:
    told = found(HOME)
    assert told[HEALTH].how == "every health check was answered well: db, web"
    assert (told[HEALTH].at, told[HEALTH].run) == (3.0, "r1")
    assert found([launch(), verified(equal=False), ends("ok")])[DATA].how == "not so: orders"


def test_a_check_that_was_left_out_is_no_evidence() -> None:
    told = found(HOME, answer={"answer": "skip", "skips": ["shop"], "reason": "known"})
    assert (told[HEALTH].done, told[HEALTH].how) == (False, "the health checks of shop were left out")
    assert told[TRAFFIC].done


def test_protection_and_a_note() -> None:
    told = found(HOME, over=True, notes=[Note(1, "r1", 5.0, "ann", "", "the cause")])
    assert (told[PROTECTION].done, told[PROTECTION].at, told[DOCUMENTED].by) == (True, 9.0, "ann")
    assert not found(HOME)[PROTECTION].done
    assert not found(HOME)[DOCUMENTED].done


def test_each_check_is_told_with_its_answer_and_its_time() -> None:
    resolver = {"by": "resolver 192.0.2.54", "said": "www.shop.example A: 192.0.2.1 (TTL 30 s)", "at": 7.5}
    proxy = {"by": "GET http://192.0.2.80/", "said": "X-Site: frankfurt", "at": 7.25}
    checked = result("xdr_health", "health_checks", results=[{"name": "db", "resource_state": "Validated", "checks": [CHECK]}])
    moved = [traffic(evidence=[proxy]), traffic(name="www", evidence=[resolver])]
    told = found([launch(), verified(), checked, *moved, ends("ok")])
    assert told[TRAFFIC].facts == (Fact(**proxy), Fact(**resolver))
    assert told[TRAFFIC].how == "each balancer and each DNS server gave the primary site's answer: front, www"
    assert told[HEALTH].facts == (Fact("db: tcp 5432", "answered well", 2.0),)
    assert told[DATA].facts == (Fact("volume orders", "equal", 1.0),)


def test_a_record_that_a_resolver_does_not_have_yet_leaves_the_item_open() -> None:
    late = traffic(name="www", verified=False, evidence=[{"by": "resolver 192.0.2.54", "said": "no answer", "at": 7.5}])
    told = found([launch(), verified(), health("db"), traffic(), late, ends("ok")])
    assert (told[TRAFFIC].done, told[TRAFFIC].how) == (False, "not so: www")
    assert [fact.said for fact in told[TRAFFIC].facts] == ["no answer"]


def test_a_person_ticks_what_no_run_has_shown() -> None:
    note = Note(1, "r1", 5.0, "ann", TRAFFIC, "DNS was moved by hand")
    by_hand = found([], notes=[note])
    assert (by_hand[TRAFFIC].done, by_hand[TRAFFIC].how, by_hand[TRAFFIC].by) == (True, "“DNS was moved by hand”", "ann")
    assert not by_hand[DOCUMENTED].done, "a tick is no report"
    assert found(HOME, notes=[note])[TRAFFIC].run == "r1", "evidence comes first"
