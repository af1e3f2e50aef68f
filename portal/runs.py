# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Runs on disk: one folder each, one run of a plan at a time, and an end to what an earlier try left behind.

``var/runs/<run_id>/``: run.json (who launched what), child.json (pid and start time of ansible-playbook), events.jsonl, result.json,
answers/ (to its pauses); stop-after-step where it was asked to end before its next step.
``var/plans/<plan>.lock``: locked by the launcher for as long as it runs, and says which run that is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json, write_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from . import PROJECT
from .processes import Process, carrying, end, myself, tree

KEPT_RUNS = 500
GRACE = 10.0  # seconds that ansible-playbook gets to clean up


def new_run_id(action: str) -> str:
    return f"{datetime.now():%Y%m%dT%H%M%S}-{action}-{secrets.token_hex(3)}"


@dataclass(frozen=True)
class RunRequest:
    """``exclusive``: whether it may be the only run of its plan (everything that changes something)."""

    action: str
    plan: str
    playbook: str  # a file of playbooks/
    inventory: Path
    var: Path
    extra_vars: dict[str, Any] = field(default_factory=dict)
    check: bool = False
    diff: bool = False
    exclusive: bool = True
    run_id: str = ""
    project: Path = PROJECT
    grace: float = GRACE
    downtime: float | None = None  # seconds from the stop of the first service after which a failback rolls back by itself

    @property
    def folder(self) -> Path:
        return self.var / "runs" / self.run_id

    @property
    def answers(self) -> Path:
        """Where the playbook looks for what people answered to its pauses."""
        return self.folder / "answers"


def create(request: RunRequest) -> None:
    """Make the run's folder, which says whose it is before anything is started."""
    request.folder.mkdir(parents=True, mode=0o700)
    me = myself()
    write_json(
        request.folder / "run.json",
        {
            "run_id": request.run_id,
            "plan": request.plan,
            "action": request.action,
            "playbook": request.playbook,
            "check": request.check,
            "at": round(time.time(), 3),
            "launcher": {"pid": me.pid, "started": me.started},
        },
    )


def stop_file(folder: Path) -> Path:
    """Where it is, a failback ends before its next step (roles/move)."""
    return folder / "stop-after-step"


def stop_after_step(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # the launch has not made its folder yet: it is asked again
        stop_file(folder).touch(mode=0o600)


def finish(folder: Path, document: dict[str, Any]) -> None:
    """Record how the run ended and drop what only ansible-runner needed."""
    shutil.rmtree(folder / "runner", ignore_errors=True)
    write_json(folder / "result.json", document)


@contextlib.contextmanager
def only_run(request: RunRequest) -> Iterator[None]:
    """Be the plan's one run. Raises XdrError, code run_active, naming the one that is."""
    path = request.var / "plans" / f"{request.plan}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _active(request.plan, os.pread(fd, 4096, 0)) from None
        me = myself()
        holder = {"run_id": request.run_id, "action": request.action, "pid": me.pid, "started": me.started, "at": time.time()}
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(fd)


def _active(plan: str, holder: bytes) -> XdrError:
    try:
        known = json.loads(holder)
        since = datetime.fromtimestamp(known["at"]).strftime("%H:%M:%S")
        what = f"run {known['run_id']} ({known['action']}) has been active since {since}, process {known['pid']}"
    except (ValueError, KeyError):  # it took the lock a moment ago
        what = "another run has just begun"
    return XdrError(what, where=f"plan {plan}", todo="Wait until it ends, or stop it (Ctrl-C in its window)", code="run_active")


def run_processes(folder: Path) -> set[Process]:
    """What is alive of a run: its ansible-playbook, all below it, and all that carry its id."""
    found = carrying(f"XDR_RUN_ID={folder.name}")
    child = child_of(folder)
    if child and child.alive:
        found |= tree(child.pid)
    return found


def child_of(folder: Path) -> Process | None:
    child = read_json(folder / "child.json")
    return Process(child["pid"], child["started"]) if child else None


def end_leftovers(plan: str, var: Path, grace: float = GRACE) -> list[str]:
    """End what earlier runs of this plan left behind when their launcher died. Returns their run ids.

    Raises XdrError when something cannot be ended: two tries at once would be worse than none.
    """
    ended = []
    for folder in sorted((var / "runs").glob("*/")):
        run = None if (folder / "result.json").exists() else read_json(folder / "run.json")
        if run is None or run["plan"] != plan or Process(**run["launcher"]).alive:
            continue
        stop(folder, grace)
        finish(folder, {"run_id": run["run_id"], "plan": plan, "action": run["action"], "outcome": "abandoned"})
        ended.append(str(run["run_id"]))
    return ended


def stop(folder: Path, grace: float) -> None:
    """SIGTERM to ansible-playbook first, which cleans up behind itself; then whatever is left of its processes."""
    before = run_processes(folder)
    child = child_of(folder)
    if child:
        end([child], grace)
    left = end(before | run_processes(folder), 0.5)
    if left:
        raise XdrError(
            f"process {', '.join(str(one.pid) for one in left)} of the earlier run {folder.name} cannot be ended",
            todo="It hangs in the kernel (a dead disk or network file system?): look at it, then try again",
        )


def prune(var: Path, keep: int = KEPT_RUNS) -> None:
    """Forget the oldest finished runs."""
    done = sorted(path.parent for path in (var / "runs").glob("*/result.json"))
    for folder in done[:-keep]:
        shutil.rmtree(folder, ignore_errors=True)
