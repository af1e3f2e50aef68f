# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The start guards of systemd's services: ExecCondition= in a drop-in of each (module xdr_service_guards)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import systemctl
from .errors import XdrError
from .site import AGENT

FILE = "50-xdr-ownership.conf"
OLDEST = 243  # the first systemd with ExecCondition=
ENDS = ("1", "2", "77", "203", "255")  # how a guard ends that refuses, fails, or cannot be run; and by any signal


@dataclass(frozen=True)
class Change:
    """A drop-in before and after; None: there is none."""

    path: Path
    before: str | None
    after: str | None


def argv(state_dir: Path, plan: str, instance: str) -> list[str]:
    """The guard's words, as the role ownership_guard writes them into ExecCondition=."""
    words = ["--state-dir", str(state_dir), "--plan", plan, "--instance", instance]
    return ["/usr/bin/python3", str(state_dir / AGENT), "condition", *words]


def missing(service: systemctl.Service, words: Sequence[str]) -> str:
    """Empty where systemd will ask the guard of these words, else what is wrong."""
    asked = any(f"argv[]={' '.join(words)} ;" in told and "ignore_errors=no" in told for told in service.conditions)
    return swallowed(service) if asked else f"{service.name} has no start guard of this plan: systemd would start it whoever owns the plan"


def swallowed(service: systemctl.Service) -> str:
    """SuccessExitStatus= counts for conditions, too: empty where it holds nothing by which a guard ends."""
    taken = [word for word in service.successes if word in ENDS or not word.isdigit()]  # a signal is a word
    return f"{service.name} has SuccessExitStatus={taken[0]}, so a guard that refuses or dies would let it start" if taken else ""


def read_state(folder: Path) -> dict[Path, str]:
    """The guards that are there, of whichever service."""
    return {path: path.read_text(encoding="utf-8") for path in folder.glob(f"*.d/{FILE}")}


def plan(folder: Path, current: Mapping[Path, str], guards: Mapping[str, str]) -> list[Change]:
    """What is missing or differs, and what is of a service that shall have none. Pure; ``guards``: unit -> text."""
    desired = {folder / f"{unit}.d" / FILE: text for unit, text in guards.items()}
    changes = (Change(path, current.get(path), desired.get(path)) for path in sorted({*current, *desired}))
    return [change for change in changes if change.before != change.after]


def apply(changes: Sequence[Change]) -> None:
    """A folder in which others have files stays."""
    for change in changes:
        if change.after is not None:
            _write(change.path, change.after)
            continue
        change.path.unlink()
        if not any(change.path.parent.iterdir()):
            change.path.parent.rmdir()


def check(units: Sequence[str]) -> None:
    """Raises XdrError where this host's systemd asks no guard, or a service would not heed it."""
    if not units:
        return
    version = systemctl.ask("--version").split()[1]
    if int(version.partition(".")[0]) < OLDEST:
        todo = f"Services can be guarded from systemd {OLDEST} on; run the instances below supervisord here"
        raise XdrError(f"systemd {version} knows no ExecCondition=", todo=todo)
    for service in systemctl.show(units):
        wrong = swallowed(service)
        if wrong:
            raise XdrError(wrong, todo=f"Leave {', '.join(ENDS)} and signals out of it")


def unread(units: Sequence[str]) -> list[str]:
    """The services of which systemd has not read what their files say now."""
    return [service.name for service in systemctl.show(units) if service.stale]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o755, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(0o644)
    fresh.replace(path)
