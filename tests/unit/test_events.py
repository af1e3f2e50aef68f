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
OK_BEGIN = 1767261600.5


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
    assert (translated["begin"], translated["end"], translated["seconds"]) == (OK_BEGIN, OK_BEGIN + 1.5, 1.5)


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


def recorded(folder: Path, censor: Censor, *told: dict[str, Any]) -> list[dict[str, Any]]:
    """The events as they are stored."""
    recorder = Recorder(folder / "events.jsonl", "r1", censor, None)
    for event in told:
        recorder.add(event)
    recorder.close()
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def result(**data: Any) -> dict[str, Any]:
    event = translate(raw(**data))
    assert event
    return event


def test_numbers_and_keys_of_others_may_be_secrets_ours_stay_what_they_are(tmp_path: Path) -> None:
    """Ansible tells a number as one; what this program counts with is read again."""
    answer = {"msg": {"seen": 20251126, "20251126": True}, "state": 20251126, "results": [{"failed": True, "msg": 20251126}]}
    censor = Censor({"db_password": 20251126, "other_token": "state"})
    progress = {"kind": "progress", "what": "bytes", "done": 20251126, "total": 20251126, "rate": 20251126}
    theirs, ours, bytes_of = recorded(
        tmp_path, censor, result(resolved_action="ansible.builtin.debug", res=answer), result(res={"record": {"epoch": 20251126}}), progress
    )
    assert (theirs["msg"], theirs["state"], theirs["results"][0]["msg"]) == ({"seen": MASK, MASK: True}, MASK, MASK)
    assert theirs["begin"] == OK_BEGIN
    assert ours["record"] == {"epoch": 20251126}
    assert {key: bytes_of[key] for key in progress} == progress


def test_a_text_is_cut_only_where_no_secret_is_in_it_any_more(tmp_path: Path) -> None:
    said = "x" * (LONGEST - 3) + "hunter22" + "y" * 99
    told = translate({"event": "warning", "stdout": said})
    assert told
    item = {"failed": True, "msg": said}
    stored = recorded(
        tmp_path, Censor({"password": "hunter22"}), told, result(res={"msg": said}), result(resolved_action="x", res={"results": [item]})
    )
    cut = "x" * (LONGEST - 3) + MASK[:3]
    assert (stored[0]["text"], stored[1]["msg"], stored[2]["results"][0]["msg"]) == (cut, cut, cut)


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
