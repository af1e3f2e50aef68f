# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The versions of a plan's file, kept by git in the folder of the environment.

Where that folder lies in a work tree (and is not ignored there), the versions are commits on its branch, each of this one file; else the
environment gets a repository of its own with the first version. No hook, pager, signature or configuration of an account is used.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

WITHIN = 20.0  # seconds that one git command may take
LATEST = 200  # versions that are listed
FOUND = "The plan as it was found, changed outside of XDR"
OUTSIDE = "unknown"  # who did that
COMMITTER = "XDR"
_OFF = (
    *("core.hooksPath=/dev/null", "core.fsmonitor=false", "core.autocrlf=false", "core.quotePath=false", "commit.gpgSign=false"),
    *("log.showSignature=false", "gc.auto=0", "maintenance.auto=false", "init.defaultBranch=main"),
)
_CONFIG = [part for one in _OFF for part in ("-c", one)]
_TRAILERS = {"plan_hash": "XDR-Plan-Hash", "origin": "XDR-Origin", "role": "XDR-Role"}
_FORMAT = "%x00".join(["%H", "%at", "%an", "%s", *(f"%(trailers:key={key},valueonly,separator=%x20)" for key in _TRAILERS.values())])
_UNDERWAY = {
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
}


@dataclass(frozen=True)
class Author:
    """Who saves: a user of the portal with the role, or the account of the command line; ``origin`` as in the audit trail."""

    name: str
    origin: str = ""
    role: str = ""


@dataclass(frozen=True)
class Version:
    """``id``: the commit; ``at``: Unix seconds; ``plan_hash``: of the compiled plan, where XDR has saved it."""

    id: str
    at: float
    who: str
    reason: str
    plan_hash: str = ""
    origin: str = ""
    role: str = ""

    @property
    def short(self) -> str:
        return self.id[:10]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Versions:
    """Of the file ``file`` in an environment's folder ``folder``. What fails is an XdrError that says what git said."""

    folder: Path
    file: Path

    def all(self) -> list[Version]:
        """The newest first; none without a repository."""
        if not self._kept() or self._git("rev-parse", "--verify", "--quiet", "HEAD", may_fail=True).returncode:
            return []
        told = self._git("log", "-z", f"--max-count={LATEST}", f"--format={_FORMAT}", "--", self.file.name).stdout
        fields = told.decode("utf-8", "replace").split("\0")
        return list(_versions(fields))

    def known(self) -> list[Version]:
        """All, or none where git does not tell: for what is to be shown in any case."""
        try:
            return self.all()
        except XdrError:
            return []

    def one(self, version: str) -> Version | None:
        """By its commit, or by the beginning of it; None where the file has no such version."""
        if not re.fullmatch(r"[0-9a-f]{7,64}", version):
            return None
        found = [each for each in self.all() if each.id.startswith(version)]
        return found[0] if len(found) == 1 else None

    def text(self, version: Version) -> str:
        """What the file held. Raises XdrError, too, where that is no text."""
        path = self._git("ls-tree", "-z", "--name-only", "--full-name", version.id, "--", self.file.name).stdout.decode().strip("\0")
        content = self._git("cat-file", "blob", f"{version.id}:{path}").stdout
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise XdrError(f"version {version.short} is not UTF-8", where=str(self.file)) from error

    def ready(self, plan_hash: Callable[[], str] = str) -> None:
        """Make the repository where there is none, and keep what the file holds if no version does: somebody has edited it by hand.

        ``plan_hash`` tells that of the plan that it holds, where it holds one. Raises XdrError where a commit is not possible now, so that
        nothing is written in vain.
        """
        if not self._kept():
            self._git("init", "--quiet", str(self.folder.resolve()))
        self._no_other_work()
        if self._status():
            self.keep(FOUND, Author(OUTSIDE), plan_hash())

    def keep(self, reason: str, author: Author, plan_hash: str) -> Version:
        """A version of what the file holds now. Raises XdrError: nothing is left staged then."""
        values = {"XDR-Plan-Hash": plan_hash, "XDR-Origin": author.origin, "XDR-Role": author.role}
        trailers = "".join(f"{key}: {' '.join(value.split())}\n" for key, value in values.items() if value)
        self._commit(f"{' '.join(reason.split())}\n\n{trailers}", author)
        return self.all()[0]

    def _commit(self, message: str, author: Author) -> None:
        """Of this file alone, whatever else is staged."""
        new = self._status() == "??"
        if new:
            self._git("add", "--intent-to-add", "--", self.file.name)
        who = re.sub(r"[^\w.-]", "-", author.name)
        names = {"GIT_AUTHOR_NAME": who, "GIT_AUTHOR_EMAIL": f"{who}@xdr.invalid", "GIT_COMMITTER_NAME": COMMITTER}
        commit = ("commit", "--quiet", "--only", "--no-verify", "--cleanup=verbatim", "--file=-", "--", self.file.name)
        try:
            self._git(*commit, given=message, names=names | {"GIT_COMMITTER_EMAIL": "xdr@xdr.invalid"})
        except XdrError:
            if new:
                self._git("rm", "--cached", "--quiet", "--force", "--", self.file.name, may_fail=True)
            raise

    def _kept(self) -> bool:
        """Whether the file lies in a work tree that does not ignore it."""
        found = self._git("rev-parse", "--is-inside-work-tree", may_fail=True)
        if found.returncode:
            if b"not a git repository" not in found.stderr:
                raise self._failed(found.stderr)
            return False
        plain = {"GIT_LITERAL_PATHSPECS": "0"}  # it knows no other paths than literal ones, and refuses to be told so
        return self._git("check-ignore", "--quiet", "--", f"./{self.file.name}", names=plain, may_fail=True).returncode != 0

    def _status(self) -> str:
        """Two letters as ``git status`` writes them: in the index, in the folder; empty where the newest version is what the file holds."""
        return self._git("status", "--porcelain=v1", "-z", "--untracked-files=all", "--", self.file.name).stdout.decode()[:2]

    def _no_other_work(self) -> None:
        if self._status()[:1] not in ("", " ", "?"):
            raise self._refused("has changes that somebody has staged", "Commit them, or take them back: git restore --staged")
        if self._git("symbolic-ref", "--quiet", "HEAD", may_fail=True).returncode:
            raise self._refused("lies in a work tree without a branch (HEAD is detached)", "Check a branch out there: git switch")
        for name, what in _UNDERWAY.items():
            path = self._git("rev-parse", "--git-path", name).stdout.decode().strip("\n")
            if (self.file.parent / path).exists():
                raise self._refused(f"lies in a work tree where {what} is in progress", f"End {what} there, or abort it")

    def _git(
        self, *args: str, given: str = "", names: Mapping[str, str] | None = None, may_fail: bool = False
    ) -> subprocess.CompletedProcess[bytes]:
        command = ["git", *_CONFIG, "-C", str(self.file.parent), *args]
        try:
            done = subprocess.run(
                command, input=given.encode(), capture_output=True, env={**_environment(), **(names or {})}, timeout=WITHIN, check=False
            )
        except FileNotFoundError as error:
            raise XdrError("git is not installed, which keeps the versions of plans", where="controller", todo="Install it") from error
        except subprocess.TimeoutExpired as error:
            todo = "Look at that folder's disk, and whether a file index.lock was left there"
            raise XdrError(f"git {args[0]} did not end within {WITHIN:g} s", where=str(self.folder), todo=todo) from error
        if done.returncode and not may_fail:
            raise self._failed(done.stderr)
        return done

    def _failed(self, said: bytes) -> XdrError:
        lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
        todo = "Let the folder and its .git belong to the account that runs XDR, or end what else is at work there"
        return XdrError(f"git keeps no version: {' '.join(lines[:3]) or 'it gave no reason'}", where=str(self.folder), todo=todo)

    def _refused(self, what: str, todo: str) -> XdrError:
        return XdrError(f"the plan's file {what}", where=str(self.file), todo=todo, code="wrong_state")


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    own = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "GIT_LITERAL_PATHSPECS": "1"}
    own["GIT_OPTIONAL_LOCKS"] = "0"  # to look is possible where nothing may be written
    return kept | own | {"GIT_PAGER": "cat", "GIT_EDITOR": "true", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}


def _versions(fields: list[str]) -> Iterator[Version]:
    size = 4 + len(_TRAILERS)
    for start in range(0, len(fields) - size + 1, size):
        version, at, who, reason, *trailers = (part.strip("\n") for part in fields[start : start + size])
        yield Version(version, float(at), who, reason, **dict(zip(_TRAILERS, trailers, strict=True)))
