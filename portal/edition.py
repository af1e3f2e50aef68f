# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A new text of a plan's file: whether the plan's runs and its hosts allow it, and how it is saved."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils import durable
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.gate import CYCLE, LETS_GO

from .runbook import Checked, Plan, Runbook, digest
from .store import Store, audit, observations, runs
from .store.runs import Run
from .versions import Author, Version, Versions

ACTION = "edit-plan"  # in the audit trail
LONGEST = 500  # characters of a reason
CHANGED, INVALID = "file_changed", "plan_invalid"


@dataclass(frozen=True)
class Edition:
    """``text`` in the place of what the runbook holds; ``base``: the digest of what its author had before them."""

    book: Runbook
    text: str
    base: str

    @property
    def versions(self) -> Versions:
        return versions_of(self.book)

    def save(self, store: Store, reason: str, author: Author) -> Version:
        """Write the file and keep it as a version. Raises XdrError and leaves all as it was: usage, file_changed, plan_invalid,
        wrong_state, or what the disk or git said. Either way the audit trail tells of it."""
        try:
            version, detail = self._save(store, reason, author)
        except XdrError as error:
            audit.add(store, author.name, author.origin, ACTION, f"plan {self.book.name}", error.sentence(), "refused")
            raise
        audit.add(store, author.name, author.origin, ACTION, f"plan {self.book.name}", detail)
        return version

    def _save(self, store: Store, reason: str, author: Author) -> tuple[Version, str]:
        with _alone(self.book.path):
            before = self.book.read()
            checked, reason = self.checked(store, before), told_reason(reason)
            self.versions.ready(lambda: str((self.book.check(before).plan or {}).get("hash", "")))
            _replace(self.book.path, self.text)
            try:
                version = self.versions.keep(reason, author, str(checked["hash"]))
            except BaseException:
                _replace(self.book.path, before)
                raise
        return version, f"{digest(before)} -> {digest(self.text)}, version {version.short}: {reason}"

    def checked(self, store: Store, before: str) -> Plan:
        """The plan as it would be. Raises XdrError where it may not be saved."""
        if digest(before) != self.base:
            raise XdrError(
                "somebody has changed the file since it was opened here",
                where=str(self.book.path),
                todo="Nothing was saved: look at the differences, and save again if they are what you want",
                code=CHANGED,
            )
        if before == self.text:
            raise XdrError("the text is the one that is saved already", where=str(self.book.path), code="usage")
        found = self.book.check(self.text)
        if found.plan is None:
            wrong = [*found.problems, *found.elsewhere]
            raise XdrError("\n".join(map(str, wrong)), todo="Nothing was saved", code=INVALID)
        if against := self.objections(store, found):
            raise XdrError("; ".join(against), where=f"plan {self.book.name}", code="wrong_state")
        return found.plan

    def objections(self, store: Store, found: Checked) -> list[str]:
        """Why the plan may not become this one now, in sentences."""
        if found.plan is None:
            return []
        seen = observations.get(store, observations.of_plan(self.book.name))
        return list(objections(self.book.plan, found.plan, (seen.document if seen else None) or {}, runs.active(store, self.book.name)))


def versions_of(book: Runbook) -> Versions:
    return Versions(book.folder, book.path)


def told_reason(reason: str) -> str:
    """Raises XdrError, code usage, for none or one that is too long."""
    reason = " ".join(reason.split())
    if not reason or len(reason) > LONGEST:
        raise XdrError("a version needs a reason" if not reason else f"the reason is longer than {LONGEST} characters", code="usage")
    return reason


def objections(now: Plan, new: Plan, seen: Mapping[str, Any], active: Run | None) -> Iterator[str]:
    """Why the plan ``now`` may not become ``new``; ``seen``: the newest look at its hosts (portal/status.py), empty without one.

    A run pins its plan. Each of its playbooks reads the file anew, and the gate refuses another plan than the pinned one, also to a
    rollback: so the plan stays as it is until the run has ended.
    """
    if new["name"] != now["name"]:
        yield f"its hosts know the plan by its name: {now['name']} cannot become {new['name']}"
    if active and not active.check and new["hash"] != now["hash"]:
        yield f"run {active.id} ({active.action}) is active and has pinned the plan; wait until it has ended. Comments may be changed"
    elif (pinned := _pinned(seen)) and new["hash"] != pinned["plan_hash"]:
        yield (
            f"run {pinned['id']} ({pinned['action']}) has not ended and has pinned the plan: with another one it could neither go on nor "
            "be rolled back. Finish it or roll it back first; comments may be changed"
        )
    gone, state = sorted(_parts(now) - _parts(new)), seen.get("state", "unknown")
    if gone and (state not in LETS_GO or active):
        known = f"run {active.id} is active" if active else f"it is {state}" if state != "unknown" else "its state is not known"
        yield f"{', '.join(gone)} would leave the plan while {known}: that may be only while it is ACTIVE, or UNPROTECTED at home"


def leaving(now: Plan, new: Plan) -> list[str]:
    """The resources and volumes that the new plan does not have."""
    return sorted(_parts(now) - _parts(new))


def _pinned(seen: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The run that binds the plan by the sites' records."""
    run = seen.get("run")
    return run if run and run.get("ended") is None and run["action"] != CYCLE and run.get("plan_hash") else None


def _parts(plan: Plan) -> set[str]:
    """One that lies on another host or in another file is another one."""
    resources = [resource for group in plan["start_order"] for resource in group["resources"]]
    places = {f"resource {one['name']} on {one['hosts']['primary']} and {one['hosts']['dr']}" for one in resources}
    return places | {f"volume {volume['name']} ({volume['path']}) of {one['name']}" for one in resources for volume in one["volumes"]}


# -- the file --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One saves at a time. Raises XdrError for a file that cannot be replaced as it is."""
    if path.is_symlink():
        raise XdrError("the file is a link", where=str(path), todo="Edit what it leads to, by hand", code="usage")
    with durable.opened_folder(path.parent) as folder:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield


def _replace(path: Path, text: str) -> None:
    """Durably, with the file's mode and owner: a reader sees the old text or the new one. Raises XdrError, and the old one is there."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        was = path.stat()
        with fresh.open("wb") as stream:
            os.fchmod(stream.fileno(), was.st_mode & 0o7777)
            if (was.st_uid, was.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(stream.fileno(), was.st_uid, was.st_gid)
            stream.write(text.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
        durable.fsync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        todo = "Let the file and its folder belong to the account that runs XDR, or edit it by hand"
        raise XdrError(f"the file cannot be written ({error.strerror})", where=str(path), todo=todo) from error
