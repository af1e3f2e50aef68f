# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Ends a worker whose lease runs out, and all that it has launched: ``python -m portal.worker.guardian VAR PID STARTED SECONDS``.

A worker that is frozen cannot end anything, and what it has launched goes on without it. On stdin its guardian is told when each
renewal of the lease began, one number a line; it strikes when the newest is older than ``SECONDS``, or is told to. Where its worker
dies it waits no less, for a worker that is started again goes on at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json

from .. import PROJECT
from ..processes import Process, end, myself, tree
from ..runs import run_processes
from ..secrets import environment

FAREWELL, STRIKE = "farewell", "strike"
TIMES = 3  # that it looks for what is left

log = logging.getLogger("xdr.worker")


def now() -> float:
    """Seconds, with those for which the machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Guardian:
    """The worker's side: started anew if it should die."""

    def __init__(self, var: Path, seconds: float) -> None:
        me = myself()
        self._argv = [sys.executable, "-m", __name__, str(var), str(me.pid), str(me.started), str(seconds)]
        self._process = self._started()

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._argv, cwd=PROJECT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
        )

    def tell(self, word: str) -> None:
        if self._process.poll() is not None:
            log.error("the worker's guardian has died; another one takes its place")
            self._process.communicate()
            self._process = self._started()
        with contextlib.suppress(BrokenPipeError):
            print(word, file=self._process.stdin, flush=True)

    def renewed(self, at: float) -> None:
        self.tell(str(at))

    def farewell(self) -> None:
        self.tell(FAREWELL)
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate(timeout=10)


def watch(seconds: float) -> bool:
    """Until there is something to end, or (False) there is not."""
    newest, unread, deaf = now(), b"", False
    while (left := newest + seconds - now()) > 0:
        if deaf:
            time.sleep(left)
        elif select.select([0], [], [], left)[0]:
            read = os.read(0, 4096)
            deaf = not read
            *words, unread = (unread + read).split(b"\n")
            for word in (word.decode() for word in words):
                if word in (FAREWELL, STRIKE):
                    return word == STRIKE
                newest = max(newest, float(word))
    return True


def strike(var: Path, worker: Process) -> None:
    worker.signal(signal.SIGSTOP)  # so that it starts nothing while its processes are counted
    found = tree(worker.pid) if worker.alive else set()
    worker.signal(signal.SIGKILL)
    for _ in range(TIMES):
        for folder in launched(var, worker):
            found |= run_processes(folder)
        end(found - {myself()}, 0)


def launched(var: Path, worker: Process) -> list[Path]:
    """Its launches that nobody has ended since."""
    open_ones = [folder for folder in (var / "runs").glob("*/") if not (folder / "result.json").exists()]
    mine = {"pid": worker.pid, "started": worker.started}
    return [folder for folder in open_ones if (read_json(folder / "run.json") or {}).get("launcher") == mine]


def main(var: str, pid: str, started: str, seconds: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a whole session that is asked to end asks its worker, too
    if watch(float(seconds)):
        strike(Path(var), Process(int(pid), int(started)))


if __name__ == "__main__":
    main(*sys.argv[1:])
