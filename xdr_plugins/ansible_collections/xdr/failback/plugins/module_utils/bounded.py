# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A foreign program with a time limit: in a process group of its own, its output by the line and bounded."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Callable

KEPT = 64 * 1024  # bytes: the last of the output that are kept, and the first that are told while it runs
LINE = 2000  # characters of one line
GRACE = 5.0  # seconds from SIGTERM to SIGKILL
LAST = 0.2  # seconds for what is still in the pipe once the program has ended; something it left behind may hold it open

Say = Callable[[str], None]


@dataclass(frozen=True)
class Ended:
    """``code``: the exit status, the negative number of the signal, or None where the time was up. ``output``: its end, see KEPT."""

    code: int | None
    output: str
    seconds: float

    @property
    def told(self) -> str:
        if self.code is None:
            return "it did not end in time and was killed"
        if self.code < 0:
            return f"it was killed by signal {-self.code}"
        return f"it ended with code {self.code}"

    @property
    def last_line(self) -> str:
        return next((line.strip()[:300] for line in reversed(self.output.splitlines()) if line.strip()), "it said nothing")


class _Output:
    """Both streams as one text. Lines are told as they come, up to KEPT bytes of them."""

    def __init__(self, say: Say) -> None:
        self._say, self._told = say, 0
        self._kept, self._rest, self._dropped = bytearray(), b"", False

    def take(self, chunk: bytes) -> None:
        self._kept += chunk
        if len(self._kept) > KEPT:
            del self._kept[: len(self._kept) - KEPT]
            self._dropped = True
        *lines, rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._tell(line)
        self._rest = rest[-4 * LINE :]  # a line without an end is not kept whole

    def end(self) -> str:
        if self._rest:
            self._tell(self._rest)
        text = self._kept.decode(errors="replace")
        return f"[only the last {KEPT} bytes were kept]\n{text}" if self._dropped else text

    def _tell(self, line: bytes) -> None:
        if self._told <= KEPT:
            self._told += len(line) + 1
            more = "… more output is not told line by line, its end is kept"
            self._say(line.decode(errors="replace")[:LINE] if self._told <= KEPT else more)


def run(
    argv: list[str],
    environment: Mapping[str, str],
    timeout: float,
    *,
    folder: str,
    say: Say,
    begun: Callable[[int], None] = lambda pid: None,
    executable: str | None = None,
    keep: Iterable[int] = (),
) -> Ended:
    """Run it to its end. ``begun`` is told its pid; ``keep``: descriptors that it inherits.

    When the time is up, or this process is to end, its whole group gets SIGTERM and, if it takes longer than GRACE, SIGKILL.
    Raises OSError where it cannot be run.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        argv,
        executable=executable,
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=tuple(keep),
    )
    output = _Output(say)
    try:
        begun(process.pid)
        in_time = _read(process, output, began + timeout)
    except BaseException:
        end_group(process.pid, process)
        raise
    if not in_time:
        end_group(process.pid, process)
        _read(process, output, time.monotonic())
    if process.stdout:
        process.stdout.close()
    return Ended(process.returncode if in_time else None, output.end(), round(time.monotonic() - began, 3))


def _read(process: subprocess.Popen[bytes], output: _Output, until: float) -> bool:
    """Whether the program has ended by then; all that it had said is taken."""
    pipe = process.stdout
    open_ = pipe is not None
    with selectors.DefaultSelector() as selector:
        if pipe:
            selector.register(pipe, selectors.EVENT_READ)
        last: float | None = None  # until when something is read of a program that has ended
        while True:
            if last is None and process.poll() is not None:
                last = time.monotonic() + LAST
            if last is not None and (not open_ or time.monotonic() >= last):
                return True
            if last is None and time.monotonic() >= until:
                return False
            if not pipe or not open_:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, until - time.monotonic()))
            elif selector.select(0.1):
                chunk = os.read(pipe.fileno(), 65536)
                output.take(chunk)
                if not chunk:
                    open_ = False
                    selector.unregister(pipe)


def end_group(group: int, process: subprocess.Popen[bytes] | None = None, grace: float = GRACE) -> None:
    """SIGTERM to the group, then SIGKILL to what is left of it. ``process``: its leader, where that is a child of this process."""
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 1.0)):
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            break
        _wait_gone(group, process, seconds)
    if process:
        process.wait()


def _wait_gone(group: int, process: subprocess.Popen[bytes] | None, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process:
            process.poll()  # a zombie would count as a member of the group
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
