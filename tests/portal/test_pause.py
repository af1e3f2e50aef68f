# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A pause asks a person: on the pages, answered once by who may, with a word that is kept; and handed on to the playbook."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils import answers as handed
from ansible_collections.xdr.failback.plugins.plugin_utils.skip import skippable
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import View

from portal import pauses, question
from portal.actions import asked, decided, request
from portal.store import answers, audit
from portal.store.accounts import Role
from portal.store.runs import Run
from portal.web.lines import line
from portal.worker.execution import Executor, _Execution
from tests.support.portal import DONE, INVENTORY, PLAN, QUESTION, Portal, pause, plan, result, seen, timed
from tests.support.processes import wait_until


@pytest.fixture
def waiting(portal: Portal) -> Run:
    run = portal.request("failback")
    portal.worker()
    portal.tell(run, timed([{"kind": "started", "action": "failback", "plan": PLAN, "playbook": "failback.yml", "check": False}]))
    portal.tell(run, [pause("open", time.time() + 600)])
    return run


def test_the_question_is_on_both_pages_with_what_is_left(portal: Portal, waiting: Run) -> None:
    client = portal.client()
    for path in (f"/runs/{waiting.id}", f"/runs/{waiting.id}/board", f"/plans/{PLAN}"):
        page = client.get(path).text
        assert "It waits for a person: Are the &lt;invoices&gt; printed?" in page
        assert f'action="/runs/{waiting.id}/answer"' in page
        assert "data-until" in page


def test_an_answer_is_kept_once(portal: Portal, waiting: Run) -> None:
    client = portal.client()
    form = portal.form(client, hook="ask", answer="yes", reason=" K. Lindt:\n all 214 ")
    assert client.post(f"/runs/{waiting.id}/answer", data=form).status_code == 303
    [one] = answers.of(portal.store, waiting.id)
    assert (one.hook, one.answer, one.reason, one.who) == ("ask", "yes", "K. Lindt: all 214", "otto")
    entry = audit.latest(portal.store, 1)[0]
    assert (entry.action, entry.detail, entry.outcome) == ("answer yes", "K. Lindt: all 214", "done")
    page = client.get(f"/runs/{waiting.id}").text
    assert "otto answered yes to ask: K. Lindt: all 214. It goes on in a moment." in page
    again = client.post(f"/runs/{waiting.id}/answer", data={**form, "answer": "no"})
    assert (again.status_code, "is answered already" in again.text) == (409, True)
    assert [each.answer for each in answers.of(portal.store, waiting.id)] == ["yes"]


@pytest.mark.parametrize(
    ("fields", "status", "why"),
    [
        ({"reason": "  "}, 400, "an answer needs a reason"),
        ({"reason": "x" * 501}, 400, "an answer needs a reason"),
        ({"answer": "maybe"}, 400, "expected yes or no"),
        ({"hook": "other"}, 409, "does not wait for an answer any more"),
    ],
)
def test_an_answer_that_is_refused(portal: Portal, waiting: Run, fields: dict[str, str], status: int, why: str) -> None:
    client = portal.client()
    answer = client.post(
        f"/runs/{waiting.id}/answer", data=portal.form(client, **{"hook": "ask", "answer": "yes", "reason": "sure", **fields})
    )
    assert (answer.status_code, why in answer.text) == (status, True)
    assert answers.of(portal.store, waiting.id) == []
    assert audit.latest(portal.store, 1)[0].outcome == "refused"


def test_a_viewer_sees_it_and_does_not_answer(portal: Portal, waiting: Run) -> None:
    client = portal.client(Role.viewer)
    assert "It takes the role operator" in client.get(f"/runs/{waiting.id}").text
    assert client.post(f"/runs/{waiting.id}/answer", data=portal.form(client, hook="ask", answer="yes", reason="I")).status_code == 403
    assert answers.of(portal.store, waiting.id) == []


def test_what_is_answered_or_over_is_not_asked(portal: Portal, waiting: Run) -> None:
    portal.tell(waiting, [pause("done", told="ask: otto answered yes: sure")])
    assert pauses.of(portal.store, waiting.id) is None
    assert 'id="pause"' not in portal.client().get(f"/runs/{waiting.id}").text
    portal.finish(waiting)
    with pytest.raises(XdrError, match="has ended"):
        answers.give(portal.store, waiting.id, "ask", "yes", "late", by="otto", origin="portal")


def test_the_worker_hands_it_on_also_to_a_second_launch(portal: Portal, waiting: Run, tmp_path: Path) -> None:
    answers.give(portal.store, waiting.id, "ask", "yes", "sure", by="otto", origin="portal")
    executor = Executor(portal.store, INVENTORY, tmp_path, "w1", threading.Event())
    for launch in (waiting.id, f"{waiting.id}-2"):
        wanted = request("failback", PLAN, INVENTORY)
        wanted = type(wanted)(**{**wanted.__dict__, "var": tmp_path, "run_id": launch})
        with _Execution(executor, waiting)._answering(wanted):
            assert handed.read(wanted.answers, "ask") is None
            wanted.folder.mkdir(parents=True)
            wait_until(lambda folder=wanted.answers: handed.read(folder, "ask"), "the answer", 20)  # type: ignore[misc]
        found = handed.read(wanted.answers, "ask")
        assert found
        assert found.told == "otto answered yes: sure"


@pytest.mark.parametrize(
    ("text", "answer"),
    [("yes: J. Weber has them\n", "J. Weber has them"), ("NO\n", ""), ("yes: half a li", None), ("perhaps: so\n", None), ("{}", None)],
)
def test_an_answer_by_hand(tmp_path: Path, text: str, answer: str | None) -> None:
    (tmp_path / "ask").write_text(text)
    found = handed.read(tmp_path, "ask")
    assert (found.reason if found else None) == answer


def test_what_the_log_says_of_hooks() -> None:
    def said(event: dict[str, Any]) -> tuple[str, str]:
        one = line({"seq": 1, "at": 1.0, **event})
        return one.level, one.text

    script = {"name": "drain", "kind": "script", "state": "done", "ok": True, "told": "drain: it ended with code 0", "output": "short"}
    told_of = [
        {**script, "output": "[only the last 65536 bytes were kept]\nrest"},
        {**script, "state": "failed", "ok": False, "told": "drain: no"},
    ]
    lines = [said(result("h", "hook", "Fire", module=pauses.MODULE, results=[one])) for one in (script, *told_of)]
    assert lines == [
        ("info", "drain: it ended with code 0"),
        ("info", "drain: it ended with code 0\n[only the last 65536 bytes were kept]\nrest"),
        ("warn", "drain: no"),
    ]
    assert said(pause("open")) == ("warn", f"ask asks: {QUESTION}")
    output = {"kind": "progress", "what": "output", "host": "h", "hook": "drain", "text": "queue: 14 left"}
    assert said(output) == ("info", "drain: queue: 14 left")


# -- a hook that halted a failback ----------------------------------------------------------------------------


def halted() -> dict[str, Any]:
    phases = {**{f"start_instances/{group['name']}": DONE for group in plan()["start_order"]}, "switch_traffic": DONE}
    hooks = {"thaw": {"settled": False, "ended": 1.0, "outcome": "it ended with code 3"}, "tell": {"settled": True, "ended": 1.0}}
    open_run = {"id": "r1", "action": "failback", "plan_hash": plan()["hash"], "attempt": 7, "started": 1.0, "ended": None}
    return seen("HALTED", "primary", run={**open_run, "phases": phases, "hooks": hooks})


def test_a_hook_that_halted_the_run_may_be_left_out_with_a_reason() -> None:
    run = Run("r1", PLAN, "failback", status="ended", ended_at=1000.0, exit_code=2, error="thaw: no", result={"state": "HALTED"})
    one = question.question(plan(), run, halted(), 1001.0, Role.operator)
    assert one
    skip = one.answer("skip")
    assert skip
    assert (skip.told, skip.refused, skip.hooks, one.recommended) == ("Goes on without the hook thaw.", "", ("thaw",), "retry")
    given = question.given(one, "skip", "ann: thawed by hand")
    wanted = decided(request("failback", PLAN, INVENTORY), {"answer": given})
    assert wanted.extra_vars["xdr_skip_hooks"] == ["thaw"]
    assert wanted.extra_vars["xdr_skip_reason"] == "ann: thawed by hand"
    assert "xdr_skip_checks" not in wanted.extra_vars
    assert skippable(View.from_json(halted())).hooks == ("thaw",)


def test_hooks_that_are_left_out_from_the_beginning_need_a_reason() -> None:
    with pytest.raises(XdrError, match="leaving out a hook needs a reason"):
        asked("failover", PLAN, by="otto", origin="command line", skip_hooks=["leave"])
    run = asked("failover", PLAN, by="otto", origin="command line", skip_hooks=["leave"], reason="it hangs")
    assert decided(request("failover", PLAN, INVENTORY), run.arguments).extra_vars["xdr_skip_hooks"] == ["leave"]
