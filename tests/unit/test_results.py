# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""From a run's events to its result and exit code."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from ansible_collections.xdr.failback.plugins.module_utils.errors import NotReached, Refused, XdrError

from portal import PROJECT, cli_following, following
from portal.results import EXIT_CODES, INTERRUPTED, Collector, Failure, code_of, exit_code
from portal.store.runs import Run

PLUGIN_UTILS = "xdr_plugins/ansible_collections/xdr/failback/plugins/plugin_utils"


def failure(code: str = "", unreachable: bool = False) -> Failure:
    return Failure("h", None, code, "it failed", unreachable)


@pytest.mark.parametrize(
    ("rc", "cause", "stopped", "expected"),
    [
        (0, None, False, 0),
        (0, failure("gate_refused"), False, 0),  # rescued
        (2, failure(), False, 2),
        (2, failure("failed"), False, 2),
        (8, failure(), False, 2),  # any_errors_fatal
        (2, failure("gate_refused"), False, 10),
        (2, failure("run_active"), False, 11),
        (8, failure("wrong_state"), False, 12),
        (2, failure("not_reached"), False, 4),
        (4, failure(unreachable=True), False, 4),
        (8, failure(unreachable=True), False, 4),
        (1, None, False, 1),
        (4, None, False, 4),  # unparsable playbook
        (5, None, False, 5),
        (250, None, False, 1),
        (None, None, False, 1),
        (-15, None, False, 1),
        (2, failure("gate_refused"), True, 1),
        (None, None, True, 1),
    ],
)
def test_exit_code(rc: int | None, cause: Failure | None, stopped: bool, expected: int) -> None:
    assert exit_code(rc, cause, stopped) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (XdrError("x"), 1),
        (XdrError("x", code="store_damaged"), 1),
        (XdrError("x", code="disk_full"), 2),  # as a host told it
        (Refused("x"), 2),
        (NotReached("x"), 4),
        (XdrError("x", code="run_active"), 11),
        (XdrError("x", code="usage"), 5),
    ],
)
def test_code_of_a_failure_outside_a_run(error: XdrError, expected: int) -> None:
    assert code_of(error) == expected


ERRORS = {one.__name__: one("x").code for one in (XdrError, Refused, NotReached)}


def codes(folder: str) -> set[str]:
    """Of the errors that the sources of a folder make, as far as they are named there."""
    found = set()
    for path in (PROJECT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
                given = next((one.value for one in node.keywords if one.arg == "code"), ast.Constant(ERRORS[node.func.id]))
                found.add(named(given, path))
    return found


def named(code: ast.expr, path: Path) -> str:
    if isinstance(code, ast.Name):  # a constant of that file
        module = ".".join(path.relative_to(PROJECT).with_suffix("").parts)
        return str(getattr(importlib.import_module(module), code.id))
    assert isinstance(code, ast.Constant), f"{path}:{code.lineno}: a code is a word or a constant's name, so that it is found"
    return str(code.value)


def test_each_code_of_the_controller_has_its_exit_code() -> None:
    """Neither one that was forgotten nor one that nobody gives."""
    assert codes("portal") | codes(PLUGIN_UTILS) == set(EXIT_CODES)


def test_the_readme_tells_each_exit_code() -> None:
    told = {int(number) for number in re.findall(r"^\| (\d+) \| ", (PROJECT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)}
    assert {0, *EXIT_CODES.values(), INTERRUPTED} <= told


def test_ctrl_c_while_a_worker_has_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(following, "execute", interrupted)
    with pytest.raises(typer.Exit) as ended:
        cli_following.followed(None, tmp_path, Run("r7", "webshop", "failback"), "failback webshop")  # type: ignore[arg-type]
    assert ended.value.exit_code == 130
    assert "run r7 goes on in the worker; stop it: xdr run stop r7" in capsys.readouterr().err


def result(status: str, step: str | None = None, at: float = 0.0, seconds: float = 1.0, **rest: Any) -> dict[str, Any]:
    base = {"kind": "result", "at": at + seconds, "host": "h1", "task": "t", "module": "ansible.builtin.command"}
    return {**base, "step": step, "status": status, "begin": at, "end": at + seconds, "seconds": seconds, **rest}


def collected(*events: dict[str, Any]) -> Collector:
    collector = Collector()
    for event in events:
        collector.add(event)
    return collector


def finished(collector: Collector, rc: int | None = 0) -> Any:
    return collector.finish(run_id="r", action="a", plan="p", rc=rc, stopped=False, seconds=1.0)


def test_a_step_lasts_from_its_first_start_to_its_last_end() -> None:
    steps = finished(
        collected(
            result("ok", None, 0),
            result("changed", "stop", 10, 2),
            result("ok", "stop", 11, 3, host="h2"),
            result("skipped", "sync", 20),
            result("failed", "start", 30, 0.5, msg="no"),
            result("ok", "start", 31, 1),
        )
    ).steps
    assert [(s.name, s.seconds, s.result) for s in steps] == [("stop", 4.0, "changed"), ("start", 2.0, "failed")]


def test_an_unreachable_host_that_was_tolerated_is_no_cause() -> None:
    refused = result("failed", xdr_code="gate_refused", msg="lag", module="xdr.failback.xdr_gate")
    recap = {"kind": "recap", "dark": {}}
    got = finished(collected(result("unreachable", host="fra", msg="timed out"), refused, recap), rc=2)
    assert (got.exit_code, got.code, got.error) == (10, "gate_refused", "lag")


def test_an_unreachable_host_that_counts() -> None:
    got = finished(collected(result("unreachable", host="fra", msg="timed out"), {"kind": "recap", "dark": {"fra": 1}}), rc=8)
    assert (got.exit_code, got.error) == (4, "fra: t: timed out")


def test_cause_and_what_was_done_about_it() -> None:
    cause = result("failed", "health_checks", xdr_code="failed", msg="shop-web never answered", module="xdr.failback.xdr_health")
    last = result("failed", "recover", msg="The plan was rolled back", module="ansible.builtin.fail")
    got = finished(collected(cause, last), rc=2)
    assert (got.exit_code, got.error) == (2, "shop-web never answered — The plan was rolled back")


def test_a_cause_that_the_last_sentence_repeats_is_told_once() -> None:
    cause = result("failed", xdr_code="failed", msg="disk full", module="xdr.failback.xdr_delta_sync")
    last = result("failed", msg="disk full. The move was undone", module="ansible.builtin.fail")
    assert finished(collected(cause, last), rc=2).error == "disk full. The move was undone"


def test_what_ansible_playbook_said_when_no_task_failed() -> None:
    line = {"kind": "message", "level": "line", "text": "[ERROR]: no such role"}
    got = finished(collected(line), rc=4)
    assert (got.exit_code, got.error) == (4, "[ERROR]: no such role")


def test_that_leases_had_run_out_stays_known_when_the_records_are_read_again() -> None:
    gate = result("ok", module="xdr.failback.xdr_gate", xdr_view={"state": "ACTIVE"}, proceed=True, proof="they have run out")
    again = result("ok", module="xdr.failback.xdr_gate", xdr_view={"state": "FAILED_OVER"})
    assert finished(collected(gate, again)).proof == "they have run out"


def test_views_and_items() -> None:
    view = {"state": "READY", "owner": "dr"}
    items = [{"volume": "orders", "bytes_sent": 5}]
    instance = {"name": "web", "state": "RUNNING", "pid": 7, "why": ""}
    got = finished(
        collected(
            result("ok", module="xdr.failback.xdr_gate", xdr_view=view, proceed=False, reason="home already"),
            result("ok", "sync", module="xdr.failback.xdr_delta_sync", results=items),
            result("ok", module="xdr.failback.xdr_plan", results=[], instances=[instance]),
            result("ok", module="xdr.failback.xdr_ownership", record={"status": "ACTIVE"}),
        )
    )
    assert (got.view, got.reason, got.state) == (view, "home already", "ACTIVE")
    assert got.results == [{"host": "h1", "step": "sync", "module": "xdr_delta_sync", "volume": "orders", "bytes_sent": 5}]
    assert got.instances == [{"host": "h1", **instance}]
    assert got.to_json()["steps"] == [{"name": "sync", "begin": 0.0, "end": 1.0, "seconds": 1.0, "result": "ok"}]
