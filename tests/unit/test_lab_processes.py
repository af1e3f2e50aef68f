# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Which processes go down with a site of the lab, and which do not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.lab.inventory import PROJECT
from tests.support.processes import end, wait_until

DAEMON = PROJECT / "roles" / "lab_site" / "files" / "bin" / "lab_daemon.py"
ADDRESS = "127.77.254.2"
WAITS = "import signal; signal.pause()"
PARENT = f"import subprocess, sys, os; subprocess.Popen([sys.executable, '-c', {WAITS!r}], env={{}}); {WAITS}"
LISTENS = f"import socket; s = socket.create_server(({ADDRESS!r}, 0)); {WAITS}"


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """One of the site with an unmarked child, a stranger that listens at the site's address, and one beside it."""
    programs = {"marked": PARENT, "stranger": LISTENS, "beside": WAITS}
    marked = {**os.environ, "XDR_LAB_SITE": str(tmp_path)}
    found = {
        name: subprocess.Popen([sys.executable, "-c", text], start_new_session=True, env=marked if name == "marked" else None)
        for name, text in programs.items()
    }
    try:
        yield found
    finally:
        for process in found.values():
            end(process)


def of_site(site: Path) -> set[int]:
    argv = ["/usr/bin/python3", "-B", str(DAEMON), "list", str(site), "--address", ADDRESS]
    listed = subprocess.run(argv, check=True, capture_output=True, timeout=20).stdout
    return {pid for pid, _ in json.loads(listed)["processes"]}


def children(pid: int) -> set[int]:
    return {int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_a_site_takes_its_own_and_what_they_started(processes: dict[str, subprocess.Popen[bytes]], tmp_path: Path) -> None:
    pid = processes["marked"].pid
    wait_until(lambda: bool(children(pid)), "the child is there")
    assert of_site(tmp_path) == {pid, *children(pid)}


def test_not_what_shares_its_address(processes: dict[str, subprocess.Popen[bytes]], tmp_path: Path) -> None:
    """Nor anything else that was started by whoever asks, be it that it holds a port of the site itself."""
    with socket.create_server((ADDRESS, 0)):
        found = of_site(tmp_path)
    assert not found & {processes["stranger"].pid, processes["beside"].pid, os.getpid()}
    assert processes["marked"].pid in found
