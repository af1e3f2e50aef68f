# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The demo as a person or a CI job starts it: the whole story, and nothing left behind, also when it is interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from portal import PROJECT
from portal.lab.lab import Lab
from portal.processes import PROC
from tests.support.processes import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

XDR = [str(Path(sys.executable).parent / "xdr")]
KEYS = {
    "": {"plan", "status", "owner", "epoch", "orders", "failover", "reverse_replication", "failback", "verified_equal", "runs"},
    "orders": {"sent", "acknowledged", "lost", "duplicated"},
    "failover": {"outage_s", "rpo_s", "lost_acknowledged"},
    "reverse_replication": {"bytes", "seconds"},
    "failback": {"outage_s", "final_sync_bytes", "final_sync_s", "cutover_s", "steps"},
}


def left_behind() -> list[str]:
    """Commands of processes that belong to the demo's lab or to a run of it."""
    root, runs = str(Lab.create("demo").root).encode(), str(PROJECT / "var" / "demo" / "runs").encode()
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if root in command or runs in command:
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_the_whole_story() -> None:
    done = subprocess.run([*XDR, "demo", "--unattended", "--json"], cwd=PROJECT, capture_output=True, text=True, timeout=850, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    document = json.loads(done.stdout)
    for part, keys in KEYS.items():
        assert set(document[part] if part else document) == keys
    assert (document["plan"], document["status"], document["owner"], document["verified_equal"]) == ("webshop", "ACTIVE", "primary", True)
    assert (document["orders"]["lost"], document["orders"]["duplicated"]) == (0, 0)
    assert document["orders"]["acknowledged"] > 100
    assert document["failback"]["final_sync_bytes"] > 0
    assert [step["name"] for step in document["failback"]["steps"]][-1] == "switch_traffic"
    assert all(run["exit_code"] == 0 for run in document["runs"])
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 500
    assert left_behind() == []
    assert not Lab.create("demo").root.exists()


def test_an_interrupted_story_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "stderr"
    with (
        log.open("w") as stream,
        subprocess.Popen([*XDR, "demo", "--unattended", "--json"], cwd=PROJECT, stderr=stream, stdout=stream) as demo,
    ):
        try:
            wait_until(lambda: "xdr run start" in log.read_text(), "the first run", 120)
            demo.send_signal(signal.SIGTERM)
            assert demo.wait(90) == 1
        finally:
            demo.kill()
    assert "Traceback" not in log.read_text()
    assert left_behind() == []
    assert not Lab.create("demo").root.exists()
