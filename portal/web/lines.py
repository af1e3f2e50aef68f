# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""An event of a run as one line of its log."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .. import units
from ..events import Event
from ..pauses import MODULE as HOOK

FAIL, WARN, CHANGE, INFO, DETAIL = "fail", "warn", "change", "info", "detail"  # detail is shown on demand
_QUIET = ("ansible.builtin.validate_argument_spec", "ansible.builtin.include_tasks", "ansible.builtin.meta", "ansible.builtin.set_fact")
_WORD = re.compile(r"\w+(?:[.-]\w+)*")
_LEVELS = {"error": FAIL, "warning": WARN}


Names = Mapping[str, str]  # what a resource or one of its volumes is called -> the resource


@dataclass(frozen=True)
class Line:
    """``about``: the resources that it tells of."""

    seq: int
    at: float
    host: str
    level: str
    text: str
    about: tuple[str, ...] = ()

    @property
    def clock(self) -> str:
        return time.strftime("%H:%M:%S", time.localtime(self.at))

    @property
    def utc(self) -> str:
        return units.utc(self.at)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "clock": self.clock, "utc": self.utc}


def names(plan: Mapping[str, Any] | None) -> dict[str, str]:
    """A resource's own name goes before that of another one's volume."""
    resources = [resource for group in (plan or {"start_order": ()})["start_order"] for resource in group["resources"]]
    volumes = {volume["name"]: resource["name"] for resource in resources for volume in resource["volumes"]}
    return volumes | {resource["name"]: resource["name"] for resource in resources}


def line(event: Event, known: Names | None = None) -> Line:
    level, text = _told(event)
    about = dict.fromkeys(known[word] for word in _words(event, text) if word in known) if known else ()
    return Line(event["seq"], event["at"], str(event.get("host") or ""), level, text, tuple(about))


def _words(event: Event, text: str) -> Iterator[str]:
    """All that may be a name: of what a module answered for, and in what is said."""
    for item in event.get("results") or ():
        if isinstance(item, Mapping):
            yield from (str(item[key]) for key in ("name", "resource", "volume") if key in item)
    yield from _WORD.findall(text)


def _told(event: Event) -> tuple[str, str]:
    match event["kind"]:
        case "started":
            check = ", only checking: nothing is changed" if event.get("check") else ""
            return INFO, f"{event['playbook']} begins{check}"
        case "play":
            return DETAIL, f"play: {event['play']}"
        case "task":
            return DETAIL, f"task: {event['task']}"
        case "result":
            return _result(event)
        case "message":
            return _LEVELS.get(event["level"], DETAIL), str(event["text"])
        case "progress":
            return _progress(event)
        case "ended":
            return (FAIL, str(event["error"])) if event["exit_code"] else (INFO, "ended well")
        case "recap":
            return DETAIL, "recap: " + ", ".join(f"{host} {count} ok" for host, count in event["ok"].items())
        case kind:
            return DETAIL, str(kind)


def _result(event: Event) -> tuple[str, str]:
    status, task = event["status"], event["task"]
    said = " ".join(str(event.get("msg") or "").split())
    if status == "failed":
        return FAIL, f"{task}: failed: {said or 'no reason was given'}"
    if status == "unreachable":
        return WARN, f"{task}: the host does not answer. {said}".strip()
    if status == "ignored":
        return WARN, f"{task}: failed, which does not matter here: {said}"
    if event["module"] == HOOK and status in ("ok", "changed") and event.get("results"):
        return _hook(event["results"][0])
    if status == "changed":
        return CHANGE, task + _figures(event)
    if status == "ok" and event["module"] == "ansible.builtin.debug" and said:
        return INFO, said
    if status == "ok" and event["step"] and event["module"] not in _QUIET:
        return INFO, task + _figures(event)
    return DETAIL, f"{task}: {status}"


def _hook(one: Event) -> tuple[str, str]:
    """A hook that had its turn: what is said of it, and the end of its output where not all of it was told line by line."""
    if one.get("state") == "open":
        return WARN, f"{one['name']} {'asks: ' + one['question'] if one['kind'] == 'pause' else 'begins'}"
    ok = one.get("ok", True) and one.get("state") != "skipped"
    rest = str(one.get("output") or "")
    more = f"\n{rest}" if rest.startswith("[only") or one.get("kind") == "playbook" else ""
    return (INFO if ok else WARN), f"{one.get('told') or one.get('name')}{more}"


def _figures(event: Event) -> str:
    parts = [f"{units.size(event['bytes_sent'])} sent"] if event.get("bytes_sent") else []
    if event["seconds"] >= 1:
        parts.append(units.seconds(event["seconds"]))
    return f" ({', '.join(parts)})" if parts else ""


def _progress(event: Event) -> tuple[str, str]:
    if event["what"] == "resource":
        return (FAIL if event["state"] == "Failed" else INFO), f"{event['resource']}: {event['state']}"
    if event["what"] == "output":
        return INFO, f"{event['hook']}: {event['text']}"
    if event["what"] != "bytes":
        return DETAIL, str(event["what"])
    over = event["done"] >= event["total"]
    return (INFO if over and event["total"] else DETAIL), f"{event['volume']}: {units.size(event['done'])} of {units.size(event['total'])}"
