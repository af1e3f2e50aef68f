# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What xdr_site tells of a host for a diagnosis: real locks, spools, certificates and clones."""

from __future__ import annotations

import calendar
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils import certificates, inspection

from tests.support.processes import wait_until
from tests.support.site_host import ModuleCaller, SiteHost, site_host
from tests.support.sshd import make_key

HOLDER = "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"


@pytest.fixture
def host(tmp_path: Path) -> SiteHost:
    return site_host(tmp_path / "state")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> ModuleCaller:
    return ModuleCaller(capsys)


@pytest.fixture
def holder(host: SiteHost) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the plan's lock."""
    (host.plan_dir / "lock").touch()
    argv = [sys.executable, "-c", HOLDER, str(host.plan_dir / "lock")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def facts(host: SiteHost, call: ModuleCaller) -> dict[str, Any]:
    answer = call("xdr_site", host.arguments(inspect=True))
    assert not answer["changed"]
    found = answer["facts"]
    assert isinstance(found, dict)
    return found


def test_a_host_without_faults(host: SiteHost, call: ModuleCaller) -> None:
    found = facts(host, call)
    assert abs(found["time"] - time.time()) < 60
    assert found["python"] == sys.version.split()[0]
    [room] = found["rooms"]
    assert (room["what"], room["path"]) == ("state folder", str(host.state_dir))
    assert 0 < room["free_bytes"] <= room["total_bytes"]
    assert found["plans"]["webshop"] == {
        "site": "primary",
        "hash": "h",
        "trackers": [],
        "why": "",
        "lock": {"held": False, "pid": None, "command": "", "since": None},
        "spool": [],
    }
    assert "facts" not in call("xdr_site", host.arguments())


def test_a_host_that_is_not_set_up(tmp_path: Path) -> None:
    found = inspection.facts(tmp_path)
    assert "is not set up as a site host" in found["why"]
    assert found["rooms"]


def test_who_holds_a_lock_and_since_when(host: SiteHost, call: ModuleCaller, holder: subprocess.Popen[str]) -> None:
    lock = facts(host, call)["plans"]["webshop"]["lock"]
    assert (lock["held"], lock["pid"]) == (True, holder.pid)
    assert 0 <= time.time() - lock["since"] < 60
    assert HOLDER not in lock["command"], "arguments may hold a secret"
    holder.kill()
    holder.wait()
    wait_until(lambda: not inspection.lock(host.plan_dir / "lock")["held"], "the lock is free")


def test_a_spool_says_whether_its_receiver_lives(host: SiteHost, call: ModuleCaller) -> None:
    folder = host.plan_dir / "spool"
    folder.mkdir()
    (folder / "cycle-dead.part").write_bytes(b"x" * 10)
    (folder / "cycle-done.part").write_bytes(b"")
    (folder / "cycle-done.commit").write_text("{}")
    with (folder / "cycle-live.part").open("wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        found = {one["name"]: one for one in facts(host, call)["plans"]["webshop"]["spool"]}
    assert {name: (one["held"], one["committed"]) for name, one in found.items()} == {
        "cycle-dead.part": (False, False),
        "cycle-done.part": (False, True),
        "cycle-live.part": (True, False),
    }
    assert (found["cycle-dead.part"]["bytes"], found["cycle-live.part"]["pid"]) == (10, os.getpid())


def test_a_damaged_plan_is_told_and_hides_no_other(host: SiteHost, call: ModuleCaller) -> None:
    (host.state_dir / "plans" / "shop").mkdir()
    (host.state_dir / "plans" / "shop" / "plan.json").write_text('{"plan": "shop"}')
    found = inspection.facts(host.state_dir)["plans"]
    assert "is missing" in found["shop"]["why"]
    assert found["webshop"]["why"] == ""


def test_certificates_of_ssh(tmp_path: Path) -> None:
    keys = {name: tmp_path / name for name in ("ca", "short", "endless", "plain")}
    for key in keys.values():
        make_key(key)

    def sign(name: str, *validity: str) -> None:
        argv = ["ssh-keygen", "-q", "-s", str(keys["ca"]), "-I", name, "-n", "xdr", *validity, str(keys[name].with_suffix(".pub"))]
        subprocess.run(argv, check=True, capture_output=True, timeout=20, env={**os.environ, "TZ": "UTC"})

    sign("short", "-V", "20300102030405:20300203040506")
    sign("endless")
    (tmp_path / "broken-cert.pub").write_text("no certificate\n")
    found = {Path(one["path"]).name: one for one in certificates.beside([*map(str, keys.values()), str(tmp_path / "broken")])}
    assert set(found) == {"short-cert.pub", "endless-cert.pub", "broken-cert.pub"}
    begin, end = (calendar.timegm((2030, *rest)) for rest in ((1, 2, 3, 4, 5), (2, 3, 4, 5, 6)))
    assert (found["short-cert.pub"]["from"], found["short-cert.pub"]["until"]) == (begin, end)
    assert (found["endless-cert.pub"]["until"], found["endless-cert.pub"]["why"]) == (None, "")
    assert found["broken-cert.pub"]["why"]


def test_what_quota_prints() -> None:
    text = """Disk quotas for user xdr (uid 997):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
      /dev/vda1   90000*  80000  100000       0      12       0       0       0
      /dev/vdb1    1000       0       0       0       5      10      20       0
"""
    over, files = inspection.quotas_of(text)
    assert (over["file_system"], over["used_bytes"], over["limit_bytes"]) == ("/dev/vda1", 90000 << 10, 100000 << 10)
    assert (files["limit_bytes"], files["used_files"], files["limit_files"]) == (0, 5, 20)
    assert inspection.quotas_of("Disk quotas for user xdr (uid 997): none\n") == []
