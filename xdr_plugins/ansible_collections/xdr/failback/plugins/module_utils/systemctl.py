# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What systemd tells of services, and how it is asked: by systemctl, never through a shell, never interactive."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from .errors import NotReached, XdrError

ANSWERS_WITHIN = 30.0  # seconds for one call, none of which waits for a service
CGROUPS = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")  # whichever systemd has its services in
UP = ("active", "reloading", "refreshing")
PROPERTIES = (
    "Id",
    "LoadState",
    "LoadError",
    "ActiveState",
    "SubState",
    "Result",
    "StatusText",
    "MainPID",
    "ExecMainStatus",
    "ControlGroup",
    "Job",
    "NeedDaemonReload",
    "InvocationID",
    "ActiveEnterTimestamp",
    "StateChangeTimestamp",
    "SuccessExitStatus",
    "ExecCondition",
)


@dataclass(frozen=True)
class Service:
    """A service as systemd has it in memory. ``asked``: the name by which it was asked for, ``name``: its own.

    ``conditions``: of each ExecCondition=, what systemd tells of it. ``successes``: SuccessExitStatus=, which counts for conditions, too.
    ``exit``: exit status, or number of the signal, of the process that
    was last its main one. ``job``: something is queued for it or under way. ``invocation``: the name of its last start, empty for none.
    ``since``: seconds since 1970, when it came up; of one that is not up, when its state changed last; 0 where systemd does not tell.
    """

    asked: str
    name: str
    load: str
    load_error: str
    active: str
    sub: str
    result: str
    status_text: str
    pid: int
    exit: int
    cgroup: str
    job: bool
    stale: bool
    invocation: str
    since: float
    successes: tuple[str, ...]
    conditions: tuple[str, ...]

    @property
    def ended(self) -> bool:
        """Nothing is started or stopped; a process that was left behind may run all the same."""
        return self.active in ("inactive", "failed") and not self.job

    @property
    def is_up(self) -> bool:
        return self.active in UP

    @property
    def asks_its_guard(self) -> bool:
        return self.sub == "condition"

    def processes(self) -> list[int]:
        """What is in its control group now, also what it has left behind."""
        if not self.cgroup:
            return []
        roots = [root for root in CGROUPS if Path(root, "cgroup.procs").exists()]
        if not roots:
            raise XdrError(f"the processes of {self.name} cannot be seen: no control groups below {CGROUPS[-1]}", todo="Mount them")
        folder = next((path for root in roots if (path := Path(root + self.cgroup)).is_dir()), None)
        return sorted(_members(folder)) if folder else []


def show(units: Sequence[str]) -> list[Service]:
    """The services by these names, in this order; one that there is none of has ``load`` not-found. Raises XdrError, NotReached."""
    if not units:
        return []
    answer = ask("show", f"--property={','.join(PROPERTIES)}", "--", *units)
    blocks = [block for block in answer.split("\n\n") if block.strip()]
    if len(blocks) != len(units):
        raise NotReached(f"systemctl told of {len(blocks)} units and was asked for {len(units)}", todo="Try it by hand: systemctl show")
    return [_service(unit, block) for unit, block in zip(units, blocks)]


def ask(*words: str) -> str:
    """What ``systemctl WORDS`` prints. Raises NotReached where no systemd answers, XdrError for what it refuses."""
    argv = ["systemctl", "--no-ask-password", "--no-pager", *words]
    done = run(argv)
    if done.returncode == 0:
        return done.stdout
    said = " ".join((done.stderr or done.stdout).split())
    if "authentication required" in said or "ccess denied" in said or "not permitted" in said:
        raise XdrError(
            f"this account may not do it: systemctl {words[0]} says: {said}",
            todo="Let Ansible become root on this host (ansible_become), or name the account in ownership_guard_account and apply "
            "the role ownership_guard again",
            code="not_allowed",
        )
    if "booted with systemd" in said or "connect to bus" in said:
        raise NotReached(f"systemd does not answer: {said}", todo="Look whether this host runs systemd, and whether its D-Bus is up")
    raise XdrError(f"systemctl {words[0]} says: {said or f'exit status {done.returncode}'}", todo="Read the unit's state: systemctl status")


def run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A program of systemd's, with output for programs. Raises NotReached where it is missing or does not end."""
    plain = {**os.environ, "LC_ALL": "C", "TZ": "UTC", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=ANSWERS_WITHIN, check=False, env=plain
        )
    except OSError as error:
        raise NotReached(f"{argv[0]} cannot be run ({error.strerror})", todo="Use the driver systemd only on hosts with systemd") from error
    except subprocess.TimeoutExpired as error:
        raise NotReached(
            f"{argv[0]} has not answered in {ANSWERS_WITHIN:g} s", todo="Look at systemd on this host (process 1) and its D-Bus"
        ) from error


def _service(asked: str, block: str) -> Service:
    """From the lines ``Property=value``, of which only ExecCondition comes more than once."""
    pairs = [(name, value) for name, _, value in (line.partition("=") for line in block.splitlines())]
    told = dict(pairs)
    up = told.get("ActiveState") in UP
    return Service(
        asked=asked,
        name=told.get("Id", asked),
        load=told.get("LoadState", "unknown"),
        load_error=told.get("LoadError", ""),
        active=told.get("ActiveState", "unknown"),
        sub=told.get("SubState", ""),
        result=told.get("Result", ""),
        status_text=told.get("StatusText", ""),
        pid=int(told.get("MainPID") or 0),
        exit=int(told.get("ExecMainStatus") or 0),
        cgroup=told.get("ControlGroup", ""),
        job=told.get("Job", "") not in ("", "0"),
        stale=told.get("NeedDaemonReload") == "yes",
        invocation=told.get("InvocationID", ""),
        since=_seconds(told.get("ActiveEnterTimestamp" if up else "StateChangeTimestamp", "")),
        successes=tuple(told.get("SuccessExitStatus", "").split()),
        conditions=tuple(value for name, value in pairs if name == "ExecCondition"),
    )


def _seconds(stamp: str) -> float:
    """``Thu 2026-11-26 01:13:19 UTC``, empty or n/a for never."""
    words = stamp.split()
    if len(words) != 4:
        return 0.0
    return datetime.strptime(f"{words[1]} {words[2]}", "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc).timestamp()


def _members(folder: Path) -> Iterator[int]:
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        try:
            yield from (int(pid) for pid in (path / "cgroup.procs").read_text(encoding="ascii").split())
        except OSError:  # it went meanwhile, and its processes with it
            continue
