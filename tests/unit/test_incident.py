# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Incidents among a plan's runs, and the report of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from typer.testing import CliRunner, Result

from portal import incident, pauses, report
from portal.achieved import Achieved
from portal.actions import asked
from portal.cli import app
from portal.incident import Incident, split
from portal.store import Store, approvals, events, notes, runs
from portal.store.runs import Run
from portal.versions import Version
from portal.web.pages import printed
from tests.support import stores

PLAN = "shop"
COST = Achieved(4.5, 100.0, 104.5, targets={"rto": 900.0, "rpo": 300.0}).to_json()
HOSTILE = "<script>alert(1)</script>"


def run(number: int, action: str, state: str = "", *, changed: int = 1, exit_code: int | None = 0, **rest: Any) -> Run:
    ended = exit_code is not None
    result = {"changed": changed, "state": state} if ended else None
    return Run(f"r{number}", PLAN, action, status="ended" if ended else "running", exit_code=exit_code, result=result, **rest)


FAILOVER, REVERSE = run(1, "failover", "FAILED_OVER"), run(2, "reverse-replication", "READY")
HOME, PROTECTED = run(3, "failback", "FAILED_BACK"), run(4, "reprotect", "ACTIVE")
WHOLE = [FAILOVER, REVERSE, HOME, PROTECTED]

CASES: dict[str, tuple[list[Run], list[tuple[list[str], bool]]]] = {
    "none": ([], []),
    "only protected": ([run(1, "start", "ACTIVE"), run(2, "reprotect", "ACTIVE"), run(3, "verify-primary")], []),
    "whole": (WHOLE, [(["r1", "r2", "r3", "r4"], True)]),
    "open": (WHOLE[:2], [(["r1", "r2"], False)]),
    "under way": ([run(1, "failover", exit_code=None)], [(["r1"], False)]),
    "refused by its gate": ([run(1, "failover", "ACTIVE", changed=0, exit_code=10, code="gate_refused")], []),
    "nothing to do": ([run(1, "failback", "ACTIVE", changed=0)], []),
    "only checked": ([run(1, "failover", "FAILED_OVER", check=True)], []),
    "checked within": ([FAILOVER, run(2, "failback", "ACTIVE", check=True), HOME], [(["r1", "r2", "r3"], False)]),
    "killed": ([run(1, "failover", code="abandoned", exit_code=1, changed=0)], [(["r1"], False)]),
    "a failed reprotection does not end it": (
        [*WHOLE[:3], run(4, "reprotect", "ACTIVE", exit_code=2)],
        [(["r1", "r2", "r3", "r4"], False)],
    ),
    "two": ([*WHOLE, run(5, "start", "ACTIVE"), run(6, "failover", "FAILED_OVER")], [(["r1", "r2", "r3", "r4"], True), (["r6"], False)]),
}


@pytest.mark.parametrize("case", CASES)
def test_split(case: str) -> None:
    found, expected = CASES[case]
    assert [([each.id for each in one.runs], one.over) for one in split(PLAN, found)] == expected


# -- over a store --------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = stores.opened(tmp_path)
    yield one
    one.close()


def result(host: str, step: str, status: str, **rest: Any) -> dict[str, Any]:
    return {"kind": "result", "host": host, "task": f"{step} | do it", "step": step, "status": status, "module": "m", **rest}


def told(begin: float, *middle: dict[str, Any]) -> list[dict[str, Any]]:
    whole = [
        {"kind": "started", "playbook": "failback.yml"},
        {"kind": "task", "step": "stop_services", "task": "stop_services | x"},
        *middle,
    ]
    return [{"at": begin + number, **event} for number, event in enumerate([*whole, {"kind": "ended", "exit_code": 0, "error": ""}])]


def perform(store: Store, action: str, told_by: list[dict[str, Any]], *, exit_code: int = 0, state: str = "", **rest: Any) -> Run:
    made = runs.request(store, asked(action, PLAN, by="otto", origin="portal", **rest))
    events.append(store, made.id, told_by)
    document = {"exit_code": exit_code, "code": "", "error": "it broke" if exit_code else "", "changed": 3, "state": state}
    runs.finish(store, made.id, {**document, "achieved": COST if action == "failback" and not exit_code else None})
    return runs.get(store, made.id)


@pytest.fixture
def home(store: Store) -> Incident:
    """A failover, a failback that failed and then came home, and the protection."""
    perform(store, "failover", told(100.0), state="FAILED_OVER", attestation="ann saw it")
    broke = result("fra-hv1", "health_checks", "failed", msg=HOSTILE)
    pinned = result("fra-hv1", "release", "changed", record={"run": {"plan_hash": "h1"}})
    perform(store, "failback", told(200.0, broke, pinned), exit_code=2, state="HALTED")
    warning = {"kind": "message", "level": "warning", "text": "the worker died"}
    turns = [{"state": "done", "ok": True, "told": "drain: it ended with code 0"}, {"state": "failed", "ok": False, "told": "tell: no"}]
    hooks = [{**result("fra-hv1", "hook", "changed", results=[one]), "module": pauses.MODULE} for one in turns]
    perform(store, "failback", told(300.0, warning, *hooks, result("fra-hv1", "stop_services", "changed")), state="FAILED_BACK")
    perform(store, "reprotect", told(400.0), state="ACTIVE")
    [found] = incident.of_plan(store, PLAN)
    return found


def test_the_report_names_the_version_of_the_runbook(store: Store, home: Incident) -> None:
    """The newest with the plan that was pinned, of those that were there by then."""
    assert home.ended
    saved = [("c4", home.ended + 60, "h1"), ("c3", home.ended - 60, "h2"), ("c2", home.ended - 70, "h1"), ("c1", home.ended - 80, "h1")]
    versions = [Version(commit, at, "alice", HOSTILE, plan) for commit, at, plan in saved]
    document = report.of(store, home, versions)
    assert document["versions"] == [{"plan": "h1", "version": "c2", "at": home.ended - 70, "who": "alice", "reason": HOSTILE}]
    page = printed("report.html", report=document)
    assert "<code>h1</code> (version c2, saved " in page
    assert HOSTILE not in page
    assert report.of(store, home)["versions"] == []


def test_a_report(store: Store, home: Incident) -> None:
    notes.add(store, home.id, PLAN, " The switch had failed. ", by="ann", origin="portal")
    document = report.of(store, home)
    assert json.loads(json.dumps(document)) == document
    assert (document["plan"], document["incident"], document["state"]) == (PLAN, home.runs[0].id, "over")
    assert [cost["outage_s"] for cost in document["costs"]] == [4.5]
    assert document["told"][1] == "Failback: outage 4.5 s, within the RTO of 15 min; data: nothing was left behind"
    assert [issue["what"] for issue in document["issues"]] == [
        f"fra-hv1: health_checks | do it: {HOSTILE}",
        "the worker died",
        "hook tell: no",
    ]
    assert "hook drain: it ended with code 0" in [line["what"] for line in document["timeline"]]
    assert document["runbook"] == ["h1"]
    assert [entry["action"] for entry in document["asked"]] == ["failover", "failback", "failback", "reprotect"]
    assert "ann saw it" in document["asked"][0]["detail"]
    assert [note["text"] for note in document["notes"]] == ["The switch had failed."]
    steps = [line for line in document["timeline"] if line["seconds"] is not None]
    assert [(line["at"], line["what"], line["seconds"]) for line in steps][2] == (301.0, "stop_services", 4.0)
    assert document["timeline"] == sorted(document["timeline"], key=lambda line: line["at"])


def test_who_approved_what(store: Store, xdr: Callable[..., Result]) -> None:
    """The move that opens an incident was approved before it; what was approved for another one is not told."""
    for name in ("unused", "used"):
        preview = Run(f"preview-{name}", PLAN, "failover", check=True, exclusive=False)
        runs.request(store, preview)
        approvals.add(
            store, PLAN, "failover", {"hash": name * 8, "parts": {}}, preview.id, who="ann", origin="portal 192.0.2.1", note=HOSTILE
        )
    brought = {"hash": "used" * 8, "parts": {}, "by": "ann (portal)", "told": "ann (portal) approved it, used"}
    moved = perform(store, "failover", told(100.0), state="FAILED_OVER", approved=brought)
    alone = {"override": True, "by": "bob (command line)", "reason": "nobody answers", "told": "OVERRIDE: bob (command line) did without"}
    again = perform(store, "failover", told(200.0), state="FAILED_OVER", approved=alone)
    [found] = incident.of_plan(store, PLAN)
    document = report.of(store, found)
    assert [(one["by"], one["run"], one["started"]) for one in document["approvals"]] == [("ann (portal)", "preview-used", [moved.id])]
    assert [(one["run"], one["by"], one["reason"]) for one in document["overrides"]] == [(again.id, "bob (command line)", "nobody answers")]
    page, shown = printed("report.html", report=document), xdr(PLAN).stdout
    assert "ann (portal)" in page
    assert "failover without a second person" in page
    assert HOSTILE not in page
    assert f"ann (portal) approved failover (preview-used), which started {moved.id}" in shown
    assert "OVERRIDE: bob (command line) did without" in shown


def test_an_incident_is_found_by_any_of_its_runs(store: Store, home: Incident) -> None:
    assert incident.one(store, PLAN, home.runs[2].id) == home
    assert incident.one(store, PLAN, "nothing") is None
    assert incident.one(store, "other", home.id) is None


@pytest.mark.parametrize("text", ["", "  \n", "x" * 4001])
def test_what_is_no_note(store: Store, home: Incident, text: str) -> None:
    with pytest.raises(XdrError, match="a note has 1 to 4000 characters"):
        notes.add(store, home.id, PLAN, text, by="ann", origin="portal")
    assert notes.of(store, home.id) == []


# -- the command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def xdr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("XDR_VAR", str(tmp_path))
    return lambda *words: CliRunner().invoke(app, ["report", *words, "-i", str(tmp_path)], standalone_mode=False)


def test_the_command(store: Store, home: Incident, xdr: Callable[..., Result], tmp_path: Path) -> None:
    assert json.loads(xdr(PLAN, "--json").stdout)["incident"] == home.id
    shown = xdr(PLAN, "--incident", home.runs[1].id).stdout
    assert "within the RTO of 15 min" in shown
    assert HOSTILE in shown
    page = tmp_path / "report.html"
    assert xdr(PLAN, "--html", str(page)).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "break-inside: avoid" in text
    assert "http" not in text.replace("http did not pass", ""), "it needs nothing else"


def test_what_the_command_refuses(store: Store, home: Incident, xdr: Callable[..., Result], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("mine", encoding="utf-8")
    for words, why in (
        (["other"], "no incident is known"),
        ([PLAN, "--incident", "nothing"], "run nothing is of no incident"),
        ([PLAN, "--html", str(page)], "the file is there already"),
        ([PLAN, "--html", str(tmp_path / "no" / "x.html")], "cannot be written"),
    ):
        done = xdr(*words)
        assert done.return_value == 5
        assert why in done.stderr
    assert page.read_text(encoding="utf-8") == "mine"
    assert xdr(PLAN, "--html", str(page), "--force").exit_code == 0
