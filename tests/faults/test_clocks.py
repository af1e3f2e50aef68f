# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A real process whose wall clock jumps."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal.faults import clocks
from portal.faults.clocks import Clocks
from portal.lab.lab import PYTHON
from tests.support.processes import wait_until

TELL = """\
import json, sys, time
for _ in sys.stdin:
    time.sleep(0.001)
    print(json.dumps([time.time(), time.monotonic()]), flush=True)
"""
FORK = """\
import os, threading
def waits():
    condition = threading.Condition()
    while True:
        with condition:
            condition.wait(0.0001)
def spins():
    while True:
        pass
for what in (waits, waits, spins):
    threading.Thread(target=what, daemon=True).start()
for _ in range(500):
    if not (child := os.fork()):
        os._exit(0)
    os.waitpid(child, 0)
"""
pytestmark = pytest.mark.namespaces  # whose packages it needs


def test_the_wall_clock_jumps_and_the_monotonic_one_goes_on(tmp_path: Path) -> None:
    those = Clocks(tmp_path / "clocks")
    those.make()
    environment = {**os.environ, **those.environment("hv1")}
    with subprocess.Popen(
        [PYTHON, "-I", "-S", "-c", TELL], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def minutes() -> int:
            """By how much its clock is wrong."""
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            wall, monotonic = json.loads(process.stdout.readline())
            assert abs(monotonic - time.monotonic()) < 60
            return round((wall - time.time()) / 60)

        assert minutes() == 0
        for seconds in (3600, -3600, 0):
            those.jump("hv1", seconds)
            wait_until(lambda seconds=seconds: minutes() == seconds // 60, f"its clock is {seconds} s ahead")  # type: ignore[misc]
        process.stdin.close()
    those.reset()
    assert [file.name for file in (tmp_path / "clocks").iterdir()] == [clocks.COPY]


def test_a_process_with_threads_may_fork(tmp_path: Path) -> None:
    """As ansible-playbook does for each task: a child must not wait for a lock that another thread had at that moment."""
    those = Clocks(tmp_path / "clocks")
    those.make()
    command = [PYTHON, "-I", "-S", "-c", FORK]
    with subprocess.Popen(command, env={**os.environ, **those.environment("hv1")}, process_group=0) as process:
        try:
            assert process.wait(60) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_where_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "LIBRARIES", (str(tmp_path / "*.so"),))
    with pytest.raises(XdrError, match="libfaketime"):
        Clocks(tmp_path).make()
