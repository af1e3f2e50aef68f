# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Our events: what Ansible tells about a run, cut down to what a person or a program needs, numbered without gaps.

An event is ``{"seq", "at": unix seconds, "up": seconds since the controller's boot, "run", "kind", …}``; kinds:

- ``started``: action, plan, playbook, check, boot (of the controller)
- ``play``: play
- ``task``: task, step (the part of the task's name before " | ", or None)
- ``result``: host, task, step, module, status (ok, changed, failed, ignored, unreachable, skipped), begin, end, seconds, and of the
  module's answer what ``KEPT`` names
- ``message``: level (line, warning, deprecated, error), text
- ``progress``: host, and the line of the run's file on that host (MU/progress.py)
- ``recap``: per host, the counts of ansible-playbook: ok, changed, failures, dark (unreachable), rescued
- ``ended``: exit_code, error
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from .censor import Censor

Event = dict[str, Any]
Listener = Callable[[Event], None]

KEPT = (
    *(
        "msg",
        "rc",
        "diff",
        "xdr_code",
        "xdr_where",
        "xdr_todo",
        "xdr_view",
        "proceed",
        "reason",
        "proof",
        "state",
        "owner",
        "epoch",
        "attempt",
    ),
    *("record", "health", "reasons", "checks", "facts", "capacity", "agent_version", "bytes_sent", "preview"),
)
OURS = "xdr.failback."  # what the names of this project's modules begin with
LONGEST = 4000  # characters of one text
_STATUS = {
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
    "runner_on_skipped": "skipped",
}
_LEVELS = {"verbose": "line", "warning": "warning", "deprecated": "deprecated", "error": "error"}
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def step_of(task: str) -> str | None:
    """``stop_services | reverse order`` belongs to the step ``stop_services``."""
    name, bar, _ = task.partition(" | ")
    return name.strip() or None if bar else None


def translate(raw: Mapping[str, Any]) -> Event | None:
    """One event of ansible-runner as ours, without number and censorship; None for those that say nothing new."""
    name = str(raw.get("event", ""))
    data: Mapping[str, Any] = raw.get("event_data") or {}
    if name in _STATUS:
        return _result(_STATUS[name], data)
    if name == "playbook_on_play_start":
        return {"kind": "play", "play": data.get("name") or data.get("play", "")}
    if name in ("playbook_on_task_start", "playbook_on_handler_task_start"):
        task = str(data.get("task") or data.get("name") or "")
        return {"kind": "task", "task": task, "step": step_of(task)}
    if name == "playbook_on_stats":
        return {"kind": "recap", **{key: data.get(key) or {} for key in ("ok", "changed", "failures", "dark", "rescued")}}
    if name in _LEVELS:
        return _message(_LEVELS[name], str(raw.get("stdout") or ""))
    return None


def _message(level: str, stdout: str) -> Event | None:
    text = _COLOURS.sub("", stdout).strip()
    return {"kind": "message", "level": level, "text": text} if text else None


def _result(status: str, data: Mapping[str, Any]) -> Event:
    answer: Mapping[str, Any] = data.get("res") or {}
    task = str(data.get("task") or "")
    module = str(data.get("resolved_action") or data.get("task_action") or "")
    if status == "ok" and answer.get("changed"):
        status = "changed"
    if status == "failed" and data.get("ignore_errors"):
        status = "ignored"
    return {
        "kind": "result",
        "host": data.get("host", ""),
        "task": task,
        "step": step_of(task),
        "module": module,
        "status": status,
        "begin": _unix(data.get("start")),
        "end": _unix(data.get("end")),
        "seconds": round(float(data.get("duration") or 0), 3),
        **_answer(module, answer),
    }


def _answer(module: str, answer: Mapping[str, Any]) -> Event:
    """What is kept of a module's answer; never its arguments, and nothing of a task with no_log."""
    if "censored" in answer:
        return {"msg": "hidden (no_log)"}
    kept = {key: answer[key] for key in KEPT if answer.get(key) not in (None, "", [], {})}
    own = module.startswith(OURS)
    if isinstance(answer.get("results"), list):
        kept["results"] = answer["results"] if own else [_item(one) for one in answer["results"]]
    if own and isinstance(answer.get("instances"), list):
        kept["instances"] = answer["instances"]
    if "diff" in kept and not _differs(kept["diff"]):
        del kept["diff"]
    return kept


def _item(one: Any) -> Event:
    """An item of a task's loop: whether it worked, and what it said if it did not."""
    if not isinstance(one, Mapping) or "censored" in one:
        return {"msg": "hidden (no_log)"}
    failed = bool(one.get("failed"))
    return {"failed": failed, "changed": bool(one.get("changed")), **({"msg": str(one.get("msg", ""))} if failed else {})}


def _differs(diff: Any) -> bool:
    parts = diff if isinstance(diff, list) else [diff]
    return any(isinstance(part, Mapping) and part.get("before") != part.get("after") for part in parts)


def _unix(text: Any) -> float | None:
    if not isinstance(text, str):
        return None
    stamp = datetime.fromisoformat(text)
    return (stamp if stamp.tzinfo else stamp.astimezone()).timestamp()


class Recorder:
    """Numbers the events of one run, takes secrets out, appends them to the run's events.jsonl and hands them on.

    Called from several threads; the sequence in the file has no gap and the listener sees the same order.
    """

    def __init__(self, path: Path, run_id: str, censor: Censor, listener: Listener | None) -> None:
        self._lock = threading.Lock()
        self._stream = path.open("a", encoding="utf-8", buffering=1)
        self._run, self._censor, self._listener = run_id, censor, listener
        self._seq = 0

    def add(self, event: Event) -> None:
        with self._lock:
            self._seq += 1
            up = time.clock_gettime(time.CLOCK_BOOTTIME)  # the wall clock may be set in the middle of a run
            whole: Event = {"seq": self._seq, "at": round(time.time(), 3), "up": round(up, 3), "run": self._run, **self._clean(event)}
            self._stream.write(json.dumps(whole) + "\n")
            if self._listener:
                self._listener(whole)

    def _clean(self, event: Event) -> Event:
        """Without secrets; where a module of others answered, its keys and numbers may be some, too."""
        clean: Event = self._censor(event, ours=True)
        if event["kind"] == "result" and not str(event.get("module", "")).startswith(OURS):
            clean |= {key: self._censor(event[key]) for key in (*KEPT, "results") if key in event}
        return _cut(clean)

    def close(self) -> None:
        with self._lock:
            self._stream.close()


def _cut(event: Event) -> Event:
    """Its texts at their longest: only once they have no secret any more, which would be cut, and not be known."""
    results = event.get("results")
    for one in (event, *(results if isinstance(results, list) else ())):
        if isinstance(one, dict):
            one.update({key: one[key][:LONGEST] for key in ("msg", "text") if isinstance(one.get(key), str)})
    return event
