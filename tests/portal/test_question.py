# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a move that stopped half way asks: which answers may be given, which is recommended and why, and what runs where."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal import question
from portal.question import Question
from portal.store.accounts import Role
from portal.store.runs import Run
from tests.support.portal import plan, seen

OPEN, DONE = {"intent": 1.0, "done": None}, {"intent": 1.0, "done": 2.0}
STARTED = {f"start_instances/{group}": DONE for group in ("database", "application", "frontend")}
ENDED = 1000.0


def failed(action: str = "failback", **values: Any) -> Run:
    result = {"state": "HALTED"}
    return Run(
        "r1", "webshop", action, **{"status": "ended", "ended_at": ENDED, "exit_code": 2, "error": "cart: no", "result": result, **values}
    )


def told(state: str, owner: str | None, phases: dict[str, Any], action: str = "failback", **rest: Any) -> dict[str, Any]:
    document = seen(state, owner, **rest)
    registered = {"id": "r1", "action": action, "plan_hash": plan()["hash"], "phases": phases, "attempt": 7, "started": 1.0, "ended": None}
    return {**document, "run": registered}


HELD = told("HALTED", "primary", {**STARTED, "health_checks/application": OPEN})
FORWARD = told("FAILING_BACK", "primary", {**STARTED, "health_checks/application": DONE, "switch_traffic": OPEN})
STOPPED = told("FAILING_BACK", "dr", {"stop_services/frontend": DONE, "stop_services/application": OPEN})
BACK = told("ROLLING_BACK", "dr", {"start_instances/database": OPEN})
BACK_UNWELL = told("ROLLING_BACK", "dr", {**STARTED, "health_checks/application": OPEN}, "rollback")
DR_DEAD = {**HELD, "unreachable": ["ams-hv1"]}
PRIMARY_DEAD = {**STOPPED, "unreachable": ["fra-hv1"]}
CART = {"host": "fra-hv1", "name": "cart", "state": "FATAL", "pid": 0, "why": "no licence"}
BROKEN = {**HELD, "instances": [*(one for one in HELD["instances"] if (one["host"], one["name"]) != ("fra-hv1", "cart")), CART]}


def asked(
    document: dict[str, Any] | None, run: Run | None = None, at: float | None = ENDED + 1, role: Role = Role.operator
) -> Question | None:
    return question.question(plan(), run or failed(), document, at, role)


def found(document: dict[str, Any], run: Run | None = None) -> Question:
    one = asked(document, run)
    assert one
    return one


RETRIED = failed(arguments={"answer": {"of": "r0", "answer": "retry", "skips": [], "reason": "", "told": ""}})


@pytest.mark.parametrize(
    ("document", "run", "best", "because", "refused"),
    [
        (HELD, failed(), "retry", "only health checks failed, all that was started runs in frankfurt", {}),
        (HELD, RETRIED, "abort", "a retry has failed already", {}),
        (BROKEN, failed(), "abort", "fra-hv1: cart is FATAL (no licence). No client has written since", {}),
        (FORWARD, failed(), "retry", "forward only", {"skip": "The switch of the traffic", "abort": "Traffic may have moved"}),
        (STOPPED, failed(), "abort", "nothing has been handed over", {"skip": "A stop is never skipped"}),
        (BACK, failed(), "retry", "only the end of the rollback", {"skip": "A start is never", "abort": "The rollback is the way back"}),
        (BACK_UNWELL, failed("rollback"), "retry", "only the end of the rollback", {"abort": "The rollback is the way back"}),
        (DR_DEAD, failed(), "retry", "ams-hv1 did not answer, and neither way goes without that", {}),
        (PRIMARY_DEAD, failed(), "abort", "nothing has been handed over", {"skip": "A stop is never skipped"}),
    ],
)
def test_which_answers_there_are(document: dict[str, Any], run: Run, best: str, because: str, refused: dict[str, str]) -> None:
    one = found(document, run)
    assert one.recommended == best
    assert because in one.because
    assert {answer.name for answer in one.answers if answer.refused} == set(refused)
    for answer in one.answers:
        assert answer.told.endswith(".")
        assert refused.get(answer.name, "") in answer.refused
    assert [answer.name for answer in one.answers] == ["retry", "skip", "abort"]


@pytest.mark.parametrize(
    ("document", "actions"),
    [(HELD, ["failback", "failback", "rollback"]), (STOPPED, ["failback", "failback", "rollback"]), (BACK, ["rollback"] * 3)],
)
def test_what_each_runs(document: dict[str, Any], actions: list[str]) -> None:
    assert [answer.action for answer in found(document).answers] == actions


def test_a_viewer_reads_it_and_gives_no_answer() -> None:
    one = asked(HELD, role=Role.viewer)
    assert one
    assert all("It takes the role operator" in answer.refused for answer in one.answers)


@pytest.mark.parametrize(
    ("run", "document", "at"),
    [
        (failed(), seen("READY"), ENDED + 1),  # it was undone
        (failed(), seen("FAILED_BACK", "primary"), ENDED + 1),
        (failed(), told("READY", "dr", {}), ENDED + 1),  # it had touched nothing yet
        (failed(), told("FAILED_OVER", "dr", {"offer": OPEN}, "failover"), ENDED + 1),
        (failed(status="running"), HELD, ENDED + 1),
        (failed("reprotect"), HELD, ENDED + 1),
        (failed(check=True), HELD, ENDED + 1),
        (failed(result={"state": "REVERSING"}), HELD, ENDED - 1),
        (failed(exit_code=0), HELD, ENDED - 1),
        (failed(result=None), None, None),
    ],
)
def test_nothing_is_asked(run: Run, document: dict[str, Any] | None, at: float | None) -> None:
    assert asked(document, run, at) is None


@pytest.mark.parametrize(("document", "at"), [(HELD, ENDED - 1), (None, None), ({"state": "unknown"}, ENDED + 1)])
def test_before_the_sites_were_read_nothing_is_known_and_nothing_is_answered(document: dict[str, Any] | None, at: float | None) -> None:
    one = asked(document, at=at)
    assert one
    assert (one.read_at, one.recommended) == (None, "")
    assert {place.told for place in one.places} == {"unknown"}
    assert all("have not been read" in answer.refused for answer in one.answers)


def test_what_runs_where() -> None:
    runs_in = {place.host: place.told for place in found(BROKEN).places}
    assert runs_in["ams-hv1"] == "nothing runs"
    assert runs_in["fra-hv1"].startswith("orders-db, customers-db, shop-api, pricing")
    assert runs_in["fra-hv1"].endswith("; cart is FATAL (no licence)")


def test_what_was_not_started_yet_is_not_missed() -> None:
    """A group whose turn has not come is stopped, and that is right."""
    begun = {name: mark for name, mark in STARTED.items() if "frontend" not in name}
    held = told("HALTED", "primary", {**begun, "health_checks/application": OPEN})
    instances = [{**one, "state": "STOPPED" if "web" in one["name"] else one["state"]} for one in held["instances"]]
    one = found({**held, "instances": instances})
    assert one.recommended == "retry"
    assert one.places[0].others == ("shop-web-1, shop-web-2 stopped",)


def test_a_site_that_does_not_answer_is_unknown_never_guessed() -> None:
    """Also where an earlier look had told of its instances."""
    assert {place.host: place.told for place in found(DR_DEAD).places}["ams-hv1"] == "unknown"
    silent = {**HELD, "instances": [one for one in HELD["instances"] if one["host"] != "ams-hv1"]}
    assert {place.host: place.told for place in found(silent).places}["ams-hv1"] == "unknown"


# -- an answer ---------------------------------------------------------------------------------------------------


def test_what_an_answer_keeps() -> None:
    skip = question.given(found(HELD), "skip", " the check \n is wrong ")
    assert (skip["of"], skip["answer"], skip["skips"], skip["reason"]) == ("r1", "skip", ["application"], "the check is wrong")
    assert skip["told"] == "skip to what run r1 asked, without the health checks of application. Reason: the check is wrong"
    abort = question.given(found(HELD), "abort", "")
    assert (abort["skips"], abort["told"]) == ([], "abort to what run r1 asked")


@pytest.mark.parametrize(
    ("document", "name", "reason", "code", "says"),
    [
        (HELD, "skip", " ", "usage", "skip needs a reason"),
        (HELD, "skip", "{{ lookup('env', 'HOME') }}", "usage", "a reason is plain text"),
        (HELD, "skip", "x" * 501, "usage", "at most 500"),
        (HELD, "maybe", "", "usage", "expected retry, skip or abort"),
        (STOPPED, "skip", "why not", "gate_refused", "A stop is never skipped"),
        (BACK, "abort", "", "gate_refused", "way back already"),
    ],
)
def test_what_is_no_answer(document: dict[str, Any], name: str, reason: str, code: str, says: str) -> None:
    with pytest.raises(XdrError) as refusal:
        question.given(found(document), name, reason)
    assert refusal.value.code == code
    assert says in refusal.value.sentence()


def test_as_json() -> None:
    document = found(HELD).to_json()
    assert (document["run"], document["recommended"], document["read_at"]) == ("r1", "retry", ENDED + 1)
    assert [one["name"] for one in document["answers"]] == ["retry", "skip", "abort"]
    assert document["where"][1] == {
        "site": "amsterdam",
        "host": "ams-hv1",
        "known": True,
        "running": [],
        "others": [],
        "told": "nothing runs",
    }
