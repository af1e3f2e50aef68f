# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The demo as a person or a CI job starts it: the whole story, and nothing left behind, also when it is interrupted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx2 import Client, ConnectError

from portal import PROJECT
from portal.lab.lab import Lab
from portal.processes import PROC
from portal.services import Services
from tests.support.labs import named
from tests.support.portal import token
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


def left_behind(name: str = "demo") -> list[str]:
    """Commands of processes that belong to a demo's lab, to its worker and portal, or to a run of it."""
    lab = Lab.create(name)
    marks = [str(path).encode() for path in (lab.root, lab.inventory, lab.inventory.parent / "runs")]
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if any(mark in command for mark in marks):
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


# In a lab of its own: what a person works with stays.
ATTENDED = "import sys, portal.demo; portal.demo.ATTENDED = sys.argv.pop(1); from portal.cli import main; main()"


@pytest.fixture
def own() -> Iterator[Lab]:
    """The place of a demo's lab, cleared at the end whatever the demo did."""
    lab = Lab.create(named("attended"))
    try:
        yield lab
    finally:
        Services(lab.inventory, lab.inventory.parent).stop()
        lab.down()


def test_it_opens_the_portal_and_ctrl_c_takes_all_of_it_down(own: Lab, tmp_path: Path) -> None:
    log = tmp_path / "said"
    argv = [sys.executable, "-c", ATTENDED, own.name, "demo"]
    with log.open("w") as stream, subprocess.Popen(argv, cwd=PROJECT, stdout=stream, stderr=stream, start_new_session=True) as demo:
        try:
            wait_until(lambda: "log in as" in log.read_text() or demo.poll() is not None, "the portal is open", 300)
            opened = re.search(r"The portal is open: (\S+), log in as (\S+) with the password (\S+)\n", log.read_text())
            assert opened, log.read_text()
            address, name, password = opened.groups()
            with Client(base_url=address, follow_redirects=True, timeout=60) as browser:
                login = {"csrf": token(browser.get("/login").text), "name": name, "password": password}
                assert 'href="/plans/webshop"' in browser.post("/login", data=login).text
                page = browser.get("/plans/webshop")
                assert (page.status_code, "frankfurt" in page.text, "Log out" in page.text) == (200, True, True)
            wait_until(lambda: "xdr run start" in log.read_text(), "the first run", 120)
            os.killpg(demo.pid, signal.SIGINT)  # as the terminal does, to all that the demo has in its session
            assert demo.wait(180) == 1
        finally:
            demo.kill()
    said = log.read_text()
    assert "Interrupted: taking everything down" in said
    assert "Traceback" not in said
    assert left_behind(own.name) == []
    assert not own.root.exists()
    with pytest.raises(ConnectError), Client(base_url=address) as browser:
        browser.get("/healthz")
