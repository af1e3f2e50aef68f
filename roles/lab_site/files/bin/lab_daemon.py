#!/usr/bin/python3
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The lab's init: keeps the daemons of one site (sshd, supervisord, HAProxy) running, each found again by pid and start time.

up SITE…    starts those that do not run, renews those whose configuration has changed
kill SITE…  the site is lost, or thrown away: SIGKILL to all of it at once
list SITE…  the site's processes

SITE is the site's folder. It holds daemons/*.json, each a list, in this order: {"name", "argv" (stays in the foreground), "config" (path),
"ready": {"tcp": [address, port]} or {"unix": path}, "renew" (argv that makes a running one read its configuration; without it, it is
started anew)}. The site's address is that of its sshd. Prints {"changed": [text]} or {"processes": [[pid, command]]}.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from lab_processes import MARK, Process, end, look, of_site, started

STARTS_WITHIN = 10.0  # seconds


class LabError(Exception):
    """One sentence for the person who starts the lab."""


class Daemon:
    def __init__(self, site: Path, item: dict[str, Any]) -> None:
        self.site, self.item, self.name = site, item, str(item["name"])
        self.record_path = site / "run" / f"{self.name}.json"
        self.log_path = site / "log" / f"{self.name}.log"

    def record(self) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads(self.record_path.read_text(encoding="utf-8"))
            return document if document.keys() >= {"pid", "started", "digest"} else {}
        except (OSError, ValueError):
            return {}  # a torn or missing record: the daemon counts as not started

    def running(self) -> int:
        """Its pid, or 0."""
        record = self.record()
        return int(record["pid"]) if record and started(record["pid"]) == record["started"] else 0

    def digest(self) -> str:
        return hashlib.sha256(Path(self.item["config"]).read_bytes() + json.dumps(self.item["argv"]).encode()).hexdigest()

    def up(self) -> str:
        """What was done, or nothing."""
        if not self.running():
            self.start()
            return f"{self.name} started"
        if self.record()["digest"] == self.digest():
            return ""
        if self.item.get("renew"):
            subprocess.run(self.item["renew"], check=False, stdout=subprocess.DEVNULL, timeout=30)
            self.write_record(self.running())
        else:
            self.down()
            self.start()
        return f"{self.name} renewed"

    def start(self) -> None:
        self.record_path.unlink(missing_ok=True)  # one that is there again, but not alive, is a daemon that died
        if not os.fork():
            self._become()
        deadline = time.monotonic() + STARTS_WITHIN
        while not self.is_ready():
            if time.monotonic() > deadline or (self.record() and not self.running()):
                raise LabError(f"{self.name} did not start; its log {self.log_path} ends: {self.log_end()}")
            time.sleep(0.01)

    def _become(self) -> NoReturn:
        """The record is there before the daemon's first instruction, so that it is never lost from sight."""
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.closerange(3, 256)  # also the lock: it is for us, not for the daemon
        self.write_record(os.getpid())
        keep = {name: os.environ[name] for name in ("HOME", "LOGNAME", "USER") if name in os.environ}
        keep.update(PATH="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", LANG="C.UTF-8")
        keep[MARK] = str(self.site)
        os.chdir("/")
        try:
            os.execve(self.item["argv"][0], self.item["argv"], keep)  # noqa: S606 - an argv list, no shell
        finally:
            os._exit(127)

    def write_record(self, pid: int) -> None:
        fresh = self.record_path.with_suffix(".new")
        fresh.write_text(json.dumps({"pid": pid, "started": started(pid), "digest": self.digest()}), encoding="utf-8")
        fresh.replace(self.record_path)

    def is_ready(self) -> bool:
        ready = self.item["ready"]
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX if "unix" in ready else socket.AF_INET) as probe:
            probe.settimeout(1)
            probe.connect(ready["unix"] if "unix" in ready else tuple(ready["tcp"]))
            return bool(self.running())
        return False

    def down(self) -> str:
        found = look(self.running())
        left = end(end([found], signal.SIGTERM)) if found else []
        if left:
            raise LabError(f"{self.name}, process {left[0].pid}, does not end, not even by SIGKILL; look at what it waits for")
        self.record_path.unlink(missing_ok=True)
        return f"{self.name} ended" if found else ""

    def log_end(self) -> str:
        try:
            return " / ".join(self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-3:])
        except OSError:
            return "(no log)"


class SiteDaemons:
    """The site's folder may be half made or gone: then there is nothing to start, but still something to end."""

    def __init__(self, site: Path, address: str = "") -> None:
        self.site, self.address = site, address
        self.daemons: list[Daemon] = []
        for path in sorted((site / "daemons").glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                self.daemons += [Daemon(site, item) for item in json.loads(path.read_text(encoding="utf-8"))]
        if not address:
            self.address = next((daemon.item["ready"]["tcp"][0] for daemon in self.daemons if daemon.name == "sshd"), "")

    def up(self) -> list[str]:
        if not self.daemons:
            raise LabError(f"{self.site}/daemons has none; build the lab again")
        (self.site / "run").mkdir(exist_ok=True)
        return [what for daemon in self.daemons if (what := daemon.up())]

    def kill(self) -> list[str]:
        done = []
        for _ in range(10):  # one may have started another meanwhile
            found = self.list()
            done += [f"killed {one.command[:100]}" for one in found]
            if not found:
                return done
            end(found)
        raise LabError(f"{self.site}: these do not end: {', '.join(str(one.pid) for one in self.list())}")

    def list(self) -> list[Process]:
        return of_site(self.site, self.address)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["up", "kill", "list"])
    parser.add_argument("sites", type=Path, nargs="+", metavar="site")
    parser.add_argument("--address", default="", help="the site's address, where its files may be gone; of one site")
    options = parser.parse_args()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a daemon that dies at once is not to linger as a zombie
    sites = [SiteDaemons(site, options.address) for site in options.sites]
    try:
        if options.action == "list":
            print(json.dumps({"processes": [[one.pid, one.command] for site in sites for one in site.list()]}))
        else:
            print(json.dumps({"changed": [what for site in sites for what in getattr(site, options.action)()]}))
    except (LabError, OSError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
