# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What came of a run: gathered from its events, and turned into an exit code."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .events import Event

ERROR, FAILED, UNREACHABLE, BAD_OPTIONS = _PLAYBOOK_CODES = (1, 2, 4, 5)  # ansible-playbook's own; UNREACHABLE also: cannot be parsed
GATE_REFUSED, RUN_ACTIVE, WRONG_STATE = 10, 11, 12
EXIT_CODES = {  # by an XdrError's code, all that the controller gives; any other is a host's, which failed
    # the controller by itself: no host had to do with it
    "failed": ERROR,  # the code of an XdrError that names none; a host's, too (exit_code)
    "database": ERROR,
    "store_damaged": ERROR,
    "store_newer": ERROR,
    "store_older": ERROR,
    "queue": ERROR,
    "worker_lost": ERROR,
    "channel": ERROR,
    "run_failed": FAILED,
    "not_equal": FAILED,
    "not_reached": UNREACHABLE,
    "plan_invalid": UNREACHABLE,
    "usage": BAD_OPTIONS,
    "role": BAD_OPTIONS,
    "gate_refused": GATE_REFUSED,
    "witness_mute": GATE_REFUSED,
    "run_active": RUN_ACTIVE,
    "wrong_state": WRONG_STATE,
    "file_changed": WRONG_STATE,
}
INTERRUPTED = 130  # Ctrl-C, as a shell has it
ON_FROM_THERE = (
    "What it had finished is marked in the sites' records: xdr status shows where it stands, the same command goes on from there"
)
STOPPED = f"the run was stopped. {ON_FROM_THERE}"
_OWN_SENTENCES = ("ansible.builtin.fail", "ansible.builtin.assert")


@dataclass
class Step:
    """A phase of a run; ``seconds`` from its first task's start to its last one's end."""

    name: str
    begin: float
    end: float
    result: str = "ok"  # ok, changed or failed

    @property
    def seconds(self) -> float:
        return round(self.end - self.begin, 3)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "seconds": self.seconds}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Step:
        return cls(**{name: document[name] for name in ("name", "begin", "end", "result")})


@dataclass(frozen=True)
class Failure:
    host: str
    step: str | None
    code: str  # xdr_code, or "" where a part of Ansible failed
    sentence: str
    unreachable: bool = False


@dataclass(frozen=True)
class RunResult:
    """``results``: every item that a module answered for, in order: ``{"host", "step", "module", …the item}``;
    ``instances``: those that a read of the plan looked at, ``{"host", "name", "state", "pid", "why"}``;
    ``view``: the plan as the run's gate read it, before anything was changed (state_machine.View as JSON), or None;
    ``state``: the plan's state as last recorded by a site in this run, else that of the view;
    ``preview``: of a run that only checks, what the action would do (portal/preview.py), else None;
    ``achieved``: of a move that ended an outage (achieved.py), else None;
    ``error``: one sentence, empty when the run ended well; ``changed``: how many tasks changed something."""

    run_id: str
    action: str
    plan: str
    exit_code: int
    code: str
    error: str
    stopped: bool
    seconds: float
    changed: int
    steps: list[Step] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Event] = field(default_factory=list)
    instances: list[dict[str, Any]] = field(default_factory=list)
    view: dict[str, Any] | None = None
    state: str = ""
    reason: str = ""  # why there was nothing to do
    proof: str = ""  # of a failover that nobody attested: that the ownership leases had run out
    achieved: dict[str, Any] | None = None
    preview: dict[str, Any] | None = None
    findings: list[dict[str, Any]] | None = None  # of a diagnosis (diagnosis/finding.py), the worst first
    killed: bool = False  # ansible-playbook died by a signal that its launcher did not send

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    def step(self, name: str) -> Step | None:
        return next((step for step in self.steps if step.name == name), None)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> RunResult:
        """The opposite of to_json; what is missing (of a run that was never launched) is empty."""
        whole = {"stopped": False, "seconds": 0.0, "changed": 0, **document}
        whole["steps"] = [Step.from_json(one) for one in document.get("steps", [])]
        whole["failures"] = [Failure(**one) for one in document.get("failures", [])]
        return cls(**whole)

    def to_json(self) -> dict[str, Any]:
        document = asdict(self)
        document.pop("answers")
        document["steps"] = [step.to_json() for step in self.steps]
        return document


class Collector:
    """Listens to a run's events and keeps what its result needs."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}
        self.failures: list[Failure] = []
        self.results: list[dict[str, Any]] = []
        self.answers: list[Event] = []
        self.instances: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.view: dict[str, Any] | None = None
        self.state = ""
        self.reason = ""
        self.proof = ""
        self.preview: dict[str, Any] | None = None
        self.changed = 0
        self._dark: set[str] | None = None  # hosts that were unreachable and not allowed to be

    def add(self, event: Event) -> None:
        match event["kind"]:
            case "result":
                self._result(event)
            case "recap":
                self._dark = set(event["dark"])
            case "message" if event["level"] in ("line", "error"):
                self.lines.append(event["text"])

    def _result(self, event: Event) -> None:
        status = event["status"]
        self.changed += status == "changed"
        if status in ("failed", "unreachable"):
            self.failures.append(_failure(event))
        if status != "skipped" and event["step"]:
            self._time(event)
        if event["module"].startswith("xdr.failback."):
            self.answers.append(event)
            origin = {"host": event["host"], "step": event["step"], "module": event["module"].rpartition(".")[2]}
            self.results.extend({**origin, **item} for item in event.get("results", []) if isinstance(item, dict))
            self.instances.extend({"host": event["host"], **item} for item in event.get("instances", []))
        self.preview = event.get("preview") or self.preview
        if event.get("xdr_view"):
            self.view = event["xdr_view"]
            self.state = event["xdr_view"]["state"]
            self.reason = str(event.get("reason") or "") if event.get("proceed") is False else ""
            self.proof = str(event.get("proof") or self.proof)
        elif isinstance(event.get("record"), dict) and event["module"].endswith(".xdr_ownership"):
            self.state = event["record"].get("status") or self.state

    def _time(self, event: Event) -> None:
        end = event["end"] or event["at"]
        begin = event["begin"] or end - event["seconds"]
        step = self.steps.setdefault(event["step"], Step(event["step"], begin, end))
        step.begin, step.end = min(step.begin, begin), max(step.end, end)
        if event["status"] in ("failed", "unreachable"):
            step.result = "failed"
        elif event["status"] == "changed" and step.result == "ok":
            step.result = "changed"

    def cause(self) -> Failure | None:
        """The first failure that counts: an unreachable host that the playbook tolerated does not."""
        counted = [one for one in self.failures if not one.unreachable or self._dark is None or one.host in self._dark]
        return next((one for one in counted if one.code), counted[0] if counted else None)

    def finish(self, *, run_id: str, action: str, plan: str, rc: int | None, stopped: bool, seconds: float) -> RunResult:
        cause = self.cause()
        code = exit_code(rc, cause, stopped)
        return RunResult(
            run_id=run_id,
            action=action,
            plan=plan,
            exit_code=code,
            code=cause.code if cause and code else "",
            error=self._error(code, rc, cause, stopped),
            stopped=stopped,
            seconds=round(seconds, 3),
            changed=self.changed,
            steps=list(self.steps.values()),
            failures=self.failures if code else [],
            results=self.results,
            answers=self.answers,
            instances=self.instances,
            view=self.view,
            state=self.state,
            reason=self.reason,
            proof=self.proof,
            preview=self.preview,
            killed=died_by_signal(rc) and not stopped,
        )

    def _error(self, code: int, rc: int | None, cause: Failure | None, stopped: bool) -> str:
        if code == 0:
            return ""
        if stopped:
            return STOPPED
        if cause is None and rc not in _PLAYBOOK_CODES:
            return f"ansible-playbook was killed or broke (it ended with {rc}). {ON_FROM_THERE}"
        if cause is None:
            return " ".join(self.lines[-3:])[:1000] or f"ansible-playbook ended with {rc}"
        last = self.failures[-1].sentence
        return last if cause.sentence in last else f"{cause.sentence} — {last}"


def _failure(event: Event) -> Failure:
    said = " ".join(str(event.get("msg") or "no reason was given").split())
    own = "xdr_code" in event or event["module"] in _OWN_SENTENCES
    sentence = said if own else f"{event['host']}: {event['task']}: {said}"
    return Failure(event["host"], event["step"], str(event.get("xdr_code", "")), sentence, event["status"] == "unreachable")


def exit_code(rc: int | None, cause: Failure | None, stopped: bool) -> int:
    """The command line's exit code for a run: ansible-playbook's, or the one of the rule that refused it."""
    if stopped:
        return ERROR
    if rc == 0:
        return 0
    if cause is None:
        return rc if rc in _PLAYBOOK_CODES else ERROR
    code = EXIT_CODES.get(cause.code, ERROR)
    return code if code != ERROR else UNREACHABLE if cause.unreachable else FAILED


def died_by_signal(rc: int | None) -> bool:
    """ansible-runner knows no exit code then; 99 is ansible-playbook's own for SIGINT."""
    return rc is None or rc == 99 or 128 < rc < 160


def code_of(error: XdrError) -> int:
    """The exit code of a failure that happened outside a run."""
    return EXIT_CODES.get(error.code, FAILED)


def refusal(action: str, plan: str, error: XdrError) -> dict[str, Any]:
    """What ``--json`` prints for a run that could not begin."""
    return {"action": action, "plan": plan, "exit_code": code_of(error), "code": error.code, "error": error.sentence(), "steps": []}
