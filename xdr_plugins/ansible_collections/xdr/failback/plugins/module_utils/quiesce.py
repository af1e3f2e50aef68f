# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Hooks that freeze a resource around a read, where its storage has no snapshot."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .errors import XdrError

TIMEOUT = 30.0  # seconds for one hook


@dataclass(frozen=True)
class Member:
    """A resource of a unit: its name, its hooks (argv lists) and what they find in their environment."""

    name: str
    before: list[Any]
    after: list[Any]
    environment: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def frozen(members: list[Member], *, timeout: float = TIMEOUT) -> Iterator[None]:
    """Freeze all members, and thaw those whose freeze was begun in reverse order, whatever happened.

    Raises XdrError when a hook fails. A failing ``after`` may mean that the freeze did not last, so what was read inside
    must then be dropped.
    """
    begun: list[Member] = []
    try:
        for member in members:
            begun.append(member)
            _run_all(member, "before", member.before, timeout)
        yield
    except BaseException:
        with contextlib.suppress(XdrError):  # the first failure is the one to tell
            _thaw(begun, timeout)
        raise
    _thaw(begun, timeout)


def _thaw(begun: list[Member], timeout: float) -> None:
    failed: list[XdrError] = []
    for member in reversed(begun):
        try:
            _run_all(member, "after", member.after, timeout)
        except XdrError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def _run_all(member: Member, when: str, hooks: list[Any], timeout: float) -> None:
    for hook in hooks:
        _run(member, when, shlex.split(hook) if isinstance(hook, str) else [str(word) for word in hook], timeout)


def _run(member: Member, when: str, argv: list[str], timeout: float) -> None:
    where = f"resource {member.name}, quiesce.{when}: {shlex.join(argv)}"
    todo = "Run it by hand on this host; the cycle was dropped and nothing was applied"
    # the hook may leave a process behind that holds the freeze, and with it any pipe: so its output goes to a file
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **member.environment},
                start_new_session=True,
            )
        except OSError as error:
            raise XdrError(f"it cannot be run ({error.strerror})", where=where, todo=todo, code="quiesce_failed") from error
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise XdrError(f"it did not end within {timeout:g} s", where=where, todo=todo, code="quiesce_failed") from None
        if code:
            output.seek(0)
            lines = output.read(65536).decode(errors="replace").split("\n")
            said = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
            raise XdrError(f"it failed with code {code}: {said[:300]}", where=where, todo=todo, code="quiesce_failed")
