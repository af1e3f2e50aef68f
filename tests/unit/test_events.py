# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""From ansible-runner's events to ours: what is kept, what is censored, the sequence without gaps."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from portal.censor import MASK, Censor
from portal.events import LONGEST, Recorder, step_of, translate

OK = {
    "task": "stop_services | Stop the instances of one group",
    "host": "ams-hv1",
    "resolved_action": "xdr.failback.xdr_instances",
    "start": "2026-01-01T10:00:00.500000+00:00",
    "end": "2026-01-01T10:00:02+00:00",
    "duration": 1.5,
}


def raw(event: str = "runner_on_ok", **data: Any) -> dict[str, Any]:
    return {"event": event, "uuid": "u", "pid": 1, "stdout": "", "event_data": {**OK, **data}}


@pytest.mark.parametrize(
    ("event", "data", "status"),
    [
        ("runner_on_ok", {"res": {"changed": False}}, "ok"),
        ("runner_on_ok", {"res": {"changed": True}}, "changed"),
        ("runner_on_failed", {"res": {"msg": "no"}}, "failed"),
        ("runner_on_failed", {"res": {"msg": "no"}, "ignore_errors": True}, "ignored"),
        ("runner_on_unreachable", {"res": {"unreachable": True}}, "unreachable"),
        ("runner_on_skipped", {"res": {}}, "skipped"),
    ],
)
def test_status(event: str, data: dict[str, Any], status: str) -> None:
    translated = translate(raw(event, **data))
    assert translated is not None
    assert translated["status"] == status
    assert translated["step"] == "stop_services"
    assert (translated["begin"], translated["end"], translated["seconds"]) == (1767261600.5, 1767261602.0, 1.5)


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ({"msg": "x", "invocation": {"module_args": {"a": 1}}, "_ansible_no_log": False, "stdout": "y"}, {"msg": "x"}),
        ({"xdr_code": "gate_refused", "msg": "m", "xdr_where": "w"}, {"xdr_code": "gate_refused", "msg": "m", "xdr_where": "w"}),
        ({"results": [{"name": "a", "state": "RUNNING"}]}, {"results": [{"name": "a", "state": "RUNNING"}]}),
        ({"instances": [{"name": "a", "state": "RUNNING"}]}, {"instances": [{"name": "a", "state": "RUNNING"}]}),
        ({"xdr_view": {"state": "READY"}, "proceed": True}, {"xdr_view": {"state": "READY"}, "proceed": True}),
        ({"diff": {"before": {"a": 1}, "after": {"a": 1}}}, {}),
        ({"diff": {"before": {"a": 1}, "after": {"a": 2}}}, {"diff": {"before": {"a": 1}, "after": {"a": 2}}}),
        ({"censored": "the output has been hidden", "changed": True}, {"msg": "hidden (no_log)"}),
        ({"msg": "x" * (LONGEST + 1)}, {"msg": "x" * LONGEST}),
    ],
)
def test_what_is_kept_of_an_answer(answer: dict[str, Any], kept: dict[str, Any]) -> None:
    translated = translate(raw(res=answer))
    assert translated is not None
    fixed = {"kind", "host", "task", "step", "module", "status", "begin", "end", "seconds"}
    assert {key: value for key, value in translated.items() if key not in fixed} == kept


def test_items_of_a_foreign_module_lose_all_but_their_outcome() -> None:
    items = [{"invocation": {"x": 1}, "stdout": "s", "changed": True}, {"failed": True, "msg": "no"}, {"censored": "hidden"}]
    translated = translate(raw(resolved_action="ansible.builtin.command", res={"results": items}))
    assert translated is not None
    assert translated["results"] == [
        {"failed": False, "changed": True},
        {"failed": True, "changed": False, "msg": "no"},
        {"msg": "hidden (no_log)"},
    ]


@pytest.mark.parametrize(
    ("name", "step"), [("verify | Read both sides", "verify"), ("Gather", None), (" | x", None), ("a |b", None), ("a | b | c", "a")]
)
def test_step_of_a_task(name: str, step: str | None) -> None:
    assert step_of(name) == step


@pytest.mark.parametrize("event", ["runner_on_start", "playbook_on_start", "EOF", "runner_item_on_ok", "playbook_on_include"])
def test_events_that_say_nothing_new(event: str) -> None:
    assert translate({"event": event, "event_data": {}}) is None


def test_lines_of_ansible_playbook_lose_their_colours() -> None:
    assert translate({"event": "verbose", "stdout": "\x1b[0;31m[ERROR]: bad\x1b[0m\n"}) == {
        "kind": "message",
        "level": "line",
        "text": "[ERROR]: bad",
    }
    assert translate({"event": "verbose", "stdout": "\n"}) is None


SECRETS = [
    ({"db_password": "hunter22"}, {"db_password": MASK}),
    ({"api-key": "x", "api_key": "x"}, {"api-key": "x", "api_key": MASK}),
    ({"nested": [{"Token": "abc"}]}, {"nested": [{"Token": MASK}]}),
    ({"msg": "login hunter22 failed"}, {"msg": f"login {MASK} failed"}),
    ({"password_file": "/etc/pw"}, {"password_file": "/etc/pw"}),
    ({"password": ""}, {"password": ""}),
    ({"count": 3, "on": True, "none": None}, {"count": 3, "on": True, "none": None}),
    ({"path": Path("/a")}, {"path": "/a"}),
]


@pytest.mark.parametrize(("value", "censored"), SECRETS)
def test_censor(value: dict[str, Any], censored: dict[str, Any]) -> None:
    assert Censor({"MY_SECRET": "hunter22", "USER": "ann"}, {"deep": {"passphrase": ["longer-one"]}})(value) == censored


def test_a_value_is_masked_where_it_turns_up() -> None:
    censor = Censor({"deep": {"passphrase": ["longer-one"]}, "short_token": "abc"})
    assert censor("x longer-one y abc") == f"x {MASK} y abc"


def test_the_sequence_has_no_gap_with_many_threads(tmp_path: Path) -> None:
    heard: list[int] = []
    recorder = Recorder(tmp_path / "events.jsonl", "r1", Censor(), lambda event: heard.append(event["seq"]))

    def add() -> None:
        for _ in range(200):
            recorder.add({"kind": "play"})

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.close()
    stored = [json.loads(line)["seq"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert heard == stored == list(range(1, 801))
