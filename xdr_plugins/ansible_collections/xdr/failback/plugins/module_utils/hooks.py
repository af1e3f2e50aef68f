# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Fires a plan's hooks on this host, each once in a run: intended, fired and concluded under the plan's lock (module xdr_hook)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import bounded, hook_marks, hook_script
from . import record as records
from .attempt import Pair, held
from .durable import locked
from .errors import XdrError
from .hook_marks import Hook, Mark
from .progress import Progress
from .record import Record
from .running import Mark as Process
from .running import start_time
from .site import plan_dir

SCRIPT = "script"
LOOK = 0.1  # seconds between two looks at a hook that an earlier attempt has left running
Result = dict[str, Any]


@dataclass(frozen=True)
class Firing:
    """What a module was asked for, the same for all its hooks. ``skip``: names of hooks to leave out, for ``skip_reason``."""

    state_dir: Path
    plan: str
    pair: Pair
    launch: str
    hook_dir: str
    progress: Progress
    skip: tuple[str, ...] = ()
    skip_reason: str = ""
    not_after: float | None = None  # Unix seconds: when the downtime must be over

    # -- fire

    def fire(self, hook: Hook, environment: Mapping[str, str]) -> Result:
        """A script is run to its end; a pause or playbook is begun here, and goes on at the controller (``state`` is ``open``).

        Raises XdrError, code hook_halted, where the run is not to go on.
        """
        self._await_other(hook)
        verdict, mark = self._begin(hook)
        if not verdict.fire:
            if verdict.halts:
                raise hook_marks.halted(hook, verdict.halts)
            skipped = bool(verdict.mark and verdict.mark["outcome"] == "skipped")
            return result(hook, "skipped" if skipped else "done", verdict.told, ok=bool((verdict.mark or {"ok": True})["ok"]))
        if hook["kind"] != SCRIPT:
            return {**result(hook, "open", verdict.told), "changed": True, "until": mark["until"]}
        ok, outcome, ended = self._run(hook, mark, environment)
        return self.conclude(hook, mark, ok, outcome, verdict.told, ended)

    def conclude(self, hook: Hook, mark: Mark | None, ok: bool, outcome: str, told: str = "", ended: bounded.Ended | None = None) -> Result:
        """Write how it ended, also where a newer attempt has taken over: that waits for it. Raises XdrError: stale_attempt, hook_halted."""
        with self._record() as record:
            mine = hook_marks.marks(record).get(hook["name"])
            if mark is None:
                records.check_attempt(record, self.pair)
            if mine and mine["ended"] is None and mine["begun"] == (mark or mine)["begun"]:
                done = hook_marks.ended(mine, hook, self.launch, time.time(), ok, outcome)
                records.save(self.state_dir, hook_marks.with_mark(record, hook["name"], done))
            records.check_attempt(record, self.pair)
        sentence = ". ".join(part for part in (told, f"{hook['name']}: {outcome}") if part)
        found = {**result(hook, "done" if ok else "failed", sentence, ok=ok), "changed": True}
        if ended:
            found |= {"output": ended.output, "seconds": ended.seconds}
        if not ok and not hook_marks.goes_on(hook, outcome):
            raise Halted(hook_marks.halted(hook, outcome), found)
        return found

    # -- its parts

    @contextlib.contextmanager
    def _record(self) -> Any:
        with locked(plan_dir(self.state_dir, self.plan) / "lock"):
            yield records.load(self.state_dir, self.plan)

    def _begin(self, hook: Hook) -> tuple[hook_marks.Verdict, dict[str, Any]]:
        name, now = hook["name"], time.time()
        with held(self.state_dir, self.plan, self.pair, run_id=self.launch) as holding:
            mark = hook_marks.marks(holding.record).get(name)
            reason = self.skip_reason if name in self.skip else ""
            verdict = hook_marks.verdict(hook, mark, self.launch, now, reason)
            if verdict.fire and not (hook["kind"] == hook_marks.PAUSE and mark and mark["ended"] is None):
                mark = hook_marks.begun(hook, self.launch, self.pair[1], now, self._until(hook, now))
                holding.save(hook_marks.with_mark(holding.record, name, mark))
            elif verdict.mark:
                holding.save(hook_marks.with_mark(holding.record, name, verdict.mark))
            return verdict, dict(mark or {})

    def _until(self, hook: Hook, now: float) -> float:
        until = now + float(hook["deadline"] if hook["kind"] == hook_marks.PAUSE else hook["timeout"])
        return until if self.not_after is None else min(until, self.not_after)

    def _run(self, hook: Hook, mark: Mark, environment: Mapping[str, str]) -> tuple[bool, str, bounded.Ended | None]:
        """Whether it did well, how it ended in words, and what it said."""

        def begun(pid: int) -> None:
            with self._record() as record:
                process = {"pid": pid, "started": start_time(pid) or 0}
                records.save(self.state_dir, hook_marks.with_mark(record, hook["name"], {**mark, **process}))

        try:
            with hook_script.opened(hook["script"], self.hook_dir) as script:
                ended = bounded.run(
                    [str(script.path), *hook["args"]],
                    environment,
                    max(0.0, mark["until"] - time.time()),
                    folder=str(script.path.parent),
                    say=lambda line: self.progress.output(hook["name"], line),
                    begun=begun,
                    executable=script.executable,
                    keep=[script.fd],
                )
        except OSError as error:
            return False, f"it cannot be run ({error.strerror or error}); is its first line, such as #!/bin/sh, right?", None
        except XdrError as error:
            return False, error.sentence(), None
        return ended.code == 0, ended.told if ended.code == 0 else f"{ended.told}: {ended.last_line}", ended

    def _await_other(self, hook: Hook) -> None:
        """A hook that an earlier attempt has left running is waited for, and ended when its time is up."""
        while (mark := self._mark(hook)) and mark["ended"] is None and mark["pid"] and Process(mark["pid"], mark["started"]).alive():
            if time.time() > mark["until"] + bounded.GRACE:
                bounded.end_group(mark["pid"])
                return
            time.sleep(LOOK)

    def _mark(self, hook: Hook) -> Mark | None:
        return hook_marks.marks(records.load(self.state_dir, self.plan)).get(hook["name"])

    def look(self, hook: Hook, record: Record) -> Result:
        """What ``fire`` would do, for check mode; the script is checked. Raises XdrError as it would."""
        name = hook["name"]
        mark = hook_marks.marks(record).get(name) if record.run and record.run["ended"] is None else None
        reason = self.skip_reason if name in self.skip else ""
        verdict = hook_marks.verdict(hook, mark, self.launch, time.time(), reason)
        if not verdict.fire:
            return result(hook, "skipped" if reason else "done", verdict.told)
        self.check(hook)
        return {**result(hook, "would fire", f"{name} would be fired: {what(hook)}"), "changed": True}

    def check(self, hook: Hook) -> None:
        """Raises XdrError, code hook_refused, for a script that would not be run and would halt the run."""
        if hook["kind"] == SCRIPT and hook["on_failure"] == hook_marks.HALT and hook["name"] not in self.skip:
            with hook_script.opened(hook["script"], self.hook_dir):
                pass


class Halted(XdrError):  # noqa: N818  (what the run is)
    """With the result of the hook that halted it."""

    def __init__(self, error: XdrError, found: Result) -> None:
        super().__init__(error.what, where=error.where, todo=error.todo, code=error.code)
        self.found = found


def what(hook: Hook) -> str:
    """What it does, in a few words."""
    if hook["kind"] == SCRIPT:
        return " ".join([f"script {hook['script']}", *hook["args"]])
    return f"playbook {hook['playbook']}" if hook["kind"] == "playbook" else f"asks: {hook['question']}"


def result(hook: Hook, state: str, told: str, *, ok: bool = True) -> Result:
    """``state``: done, failed, skipped, open, or in check mode would fire."""
    own = {name: hook[name] for name in ("name", "moment", "group", "kind", "question")}
    return {**own, "state": state, "ok": ok, "told": told, "changed": False}
