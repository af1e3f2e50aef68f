# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The report of an incident: what happened when, what it cost, who asked for what, and what went wrong. By event ledger and audit trail."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from . import achieved, checklist, pauses, units
from .checklist import Evidence
from .events import Event
from .incident import Incident
from .store import approvals, audit, events, notes
from .store.runs import Run

if TYPE_CHECKING:
    from .store import Store
    from .versions import Version

BAD, WARN = "bad", "warn"


@dataclass(frozen=True)
class Line:
    """A moment of the timeline (Unix seconds); ``seconds``: how long it took; ``tone``: bad, warn or nothing."""

    at: float
    run: str
    what: str
    seconds: float | None = None
    tone: str = ""


@dataclass
class _Course:
    """What the events of one run tell, gathered in order."""

    run: Run
    lines: list[Line] = field(default_factory=list)
    plans: dict[str, None] = field(default_factory=dict)  # the hashes of the plan that it had pinned
    _steps: dict[str, tuple[float, float]] = field(default_factory=dict)  # of the launch that is gone through: begin and end

    def add(self, event: Event) -> None:
        match event["kind"]:
            case "started":
                self.close()
                self._line(event, f"{event['playbook']} begins")
            case "task" if event["step"]:
                begin, _ = self._steps.get(event["step"], (event["at"], 0.0))
                self._steps[event["step"]] = (begin, event["at"])
            case "result":
                self._result(event)
            case "message" if event["level"] in ("warning", "error"):
                self._line(event, str(event["text"]), BAD if event["level"] == "error" else WARN)
            case "ended" if event["exit_code"]:
                self._line(event, f"{self.run.action} ended with {event['exit_code']}: {event['error']}", BAD)
            case "ended":
                self._line(event, f"{self.run.action} ended well")

    def close(self) -> None:
        """The launch is over: its steps are known."""
        steps = self._steps.items()
        self.lines += [Line(begin, self.run.id, name, round(max(0.0, end - begin), 3)) for name, (begin, end) in steps]
        self._steps = {}

    def _result(self, event: Event) -> None:
        step = event["step"]
        if step in self._steps:
            self._steps[step] = (self._steps[step][0], event["at"])
        pinned = ((event.get("record") or {}).get("run") or {}).get("plan_hash")
        if pinned:
            self.plans[str(pinned)] = None
        if event["status"] in ("failed", "unreachable"):
            said = " ".join(str(event.get("msg") or "no reason was given").split())
            self._line(event, f"{event['host']}: {event['task']}: {said}", BAD)
        elif event.get("module") == pauses.MODULE:
            for one in event.get("results") or []:
                if one.get("told"):
                    self._line(event, f"hook {one['told']}", "" if one["ok"] and one["state"] != "skipped" else WARN)

    def _line(self, event: Event, what: str, tone: str = "") -> None:
        self.lines.append(Line(event["at"], self.run.id, what, tone=tone))


def of(store: Store, incident: Incident, versions: Sequence[Version] = ()) -> dict[str, Any]:
    """The report as a document; times are Unix seconds. ``versions`` of the plan's file, the newest first, where they are known.

    ``state``: open, over (protected at home again), or closed, when all of its ``checklist`` is done, too; ``costs``: what each move cost
    that ended an outage, as achieved.py tells it, with its ``run`` and ``action``; ``timeline``: Lines, and ``issues`` those of them that
    went wrong; ``asked``: the audit entries about the plan in that time; ``retries``: runs that were launched more than once;
    ``skipped``: answers that left health checks out; ``approvals``: who approved which preview, in that time or for one of these runs, with
    the ``started`` runs; ``overrides``: who did without a second person, and why; ``runbook``: the hashes of the plan that the runs had
    pinned, and ``versions`` that hold them: ``{"plan": hash, "version", "at", "who", "reason"}``; ``notes``: what people wrote.
    """
    evidence = Evidence()
    courses = [_course(store, run, evidence) for run in incident.runs]
    written = notes.of(store, incident.id)
    checked = checklist.items(incident, evidence, written)
    pinned = dict.fromkeys(plan for course in courses for plan in course.plans)
    closed = incident.over and all(item.done for item in checked)
    lines = sorted((line for course in courses for line in course.lines), key=lambda line: line.at)
    return {
        "plan": incident.plan,
        "incident": incident.id,
        "state": "closed" if closed else incident.word,
        "began": incident.began,
        "ended": incident.ended,
        "told": list(_told(incident)),
        "checklist": checklist.document(checked),
        "costs": _costs(incident.runs),
        "runs": [_run(run) for run in incident.runs],
        "timeline": [asdict(line) for line in lines],
        "issues": [asdict(line) for line in lines if line.tone],
        "retries": [{"run": run.id, "action": run.action, "launches": run.attempts} for run in incident.runs if run.attempts > 1],
        "skipped": _skipped(incident.runs),
        "approvals": _approvals(store, incident),
        "overrides": [
            {"run": run.id, "action": run.action, **brought} for run, brought in _brought(incident.runs) if "override" in brought
        ],
        "asked": [entry.to_json() for entry in audit.of_plan(store, incident.plan, incident.began - 1, incident.ended or time.time())],
        "runbook": list(pinned),
        "versions": [found for plan in pinned for found in _version(plan, incident, versions)],
        "notes": [note.to_json() for note in written],
    }


def _version(plan: str, incident: Incident, versions: Sequence[Version]) -> Iterator[dict[str, Any]]:
    """The newest of those that hold the plan and were there by then: a later one may differ from it in a comment."""
    until = incident.ended or time.time()
    for one in [one for one in versions if one.plan_hash == plan and one.at <= until][:1]:
        yield {"plan": plan, "version": one.id, "at": one.at, "who": one.who, "reason": one.reason}


def _course(store: Store, run: Run, evidence: Evidence) -> _Course:
    course, seq = _Course(run), 0
    while batch := events.after(store, run.id, seq):
        for event in batch:
            seq = event["seq"]
            course.add(event)
            evidence.add(run.id, event)
    course.close()
    return course


def _told(incident: Incident) -> Iterator[str]:
    """The verdict, in sentences."""
    began = units.since(incident.began)
    if incident.ended:
        later = units.seconds(incident.ended - incident.began)
        yield f"Began {began}; protected at home again {units.since(incident.ended)}, {later} later"
    else:
        yield f"Began {began}; not over yet: the plan is not ACTIVE again"
    for cost in _costs(incident.runs):
        rows = dict(achieved.told(cost))
        yield f"{cost['action'].capitalize()}: outage {rows['outage']}; data: {rows['data']}"


def _costs(runs: Sequence[Run]) -> list[dict[str, Any]]:
    return [{"run": run.id, "action": run.action, **cost} for run in runs if (cost := (run.result or {}).get("achieved"))]


def _run(run: Run) -> dict[str, Any]:
    names = ("id", "action", "check", "requested_by", "origin", "requested_at", "ended_at", "exit_code", "error")
    return {
        **{name: getattr(run, name) for name in names},
        "attestation": run.arguments.get("attestation", ""),
        "override_window": run.arguments.get("override_window", ""),
        "proof": (run.result or {}).get("proof", ""),
    }


def _skipped(runs: Sequence[Run]) -> list[dict[str, Any]]:
    answers = [(run, run.arguments.get("answer") or {}) for run in runs]
    return [
        {"run": run.id, "groups": list(answer["skips"]), "reason": answer.get("reason", ""), "by": run.requested_by}
        for run, answer in answers
        if answer.get("skips")
    ]


def _approvals(store: Store, incident: Incident) -> list[dict[str, Any]]:
    """The oldest first. The move that opens an incident was approved before it."""
    used: dict[str, list[str]] = {}
    for run, brought in _brought(incident.runs):
        used.setdefault(str(brought.get("hash") or ""), []).append(run.id)
    found = approvals.of_plan(store, incident.plan, until=incident.ended)
    told = [one for one in reversed(found) if one.at >= incident.began or one.hash in used]
    return [{**one.to_json(), "started": used.get(one.hash, [])} for one in told]


def _brought(runs: Sequence[Run]) -> Iterator[tuple[Run, dict[str, Any]]]:
    """What runs brought along of approvals (portal/approval.py)."""
    for run in runs:
        if brought := run.arguments.get("approved"):
            yield run, dict(brought)
