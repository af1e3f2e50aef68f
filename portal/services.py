# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Worker and portal as processes of their own beside a lab: started, found again by pid and start time, ended."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json, write_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from . import PROJECT
from .processes import Process, carrying, end, process

ADDRESS, PORT = "127.0.0.1", 8300
STARTS_WITHIN = 30.0  # seconds
GRACE = 15.0  # seconds for an orderly end
MARK = "XDR_SERVICES"  # in the environment of both and of all that they start


class Services:
    """``var``: the environment's folder; their pids and logs are there."""

    def __init__(self, inventory: Path, var: Path) -> None:
        self.inventory, self.var = inventory, var

    @property
    def _record(self) -> Path:
        return self.var / "services.json"

    def start(self) -> str:
        """Start both; the portal's address. Raises XdrError when one does not come up."""
        port = _free_port()
        self._run("worker")
        self._run("portal", "--host", ADDRESS, "--port", str(port))
        address = f"http://{ADDRESS}:{port}"
        self._wait_for(address)
        return address

    def stop(self) -> None:
        """End those that an earlier start left, too, be it that it was killed before it could write down what it had started."""
        end(self._known().values(), GRACE)
        left = end(carrying(f"{MARK}={self.var}"), GRACE)
        if left:
            raise XdrError(f"process {min(left).pid} cannot be ended", where=str(self._record), todo="Look at what it waits for")
        self._record.unlink(missing_ok=True)

    def _known(self) -> dict[str, Process]:
        """Empty where nothing was started, or the record is torn."""
        with contextlib.suppress(XdrError, TypeError, AttributeError):
            return {name: Process(**one) for name, one in (read_json(self._record) or {}).items()}
        return {}

    def _run(self, name: str, *options: str) -> None:
        argv = [str(Path(sys.executable).parent / "xdr"), name, "--inventory", str(self.inventory), *options]
        with (self.var / f"{name}.log").open("wb") as log:
            child = subprocess.Popen(
                argv,
                cwd=PROJECT,
                env={**os.environ, MARK: str(self.var)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        found = process(child.pid)
        if found:
            write_json(self._record, {key: asdict(one) for key, one in {**self._known(), name: found}.items()})

    def _wait_for(self, address: str) -> None:
        deadline = time.monotonic() + STARTS_WITHIN
        while not _answers(address):
            dead = [name for name, one in self._known().items() if not one.alive]
            if dead or time.monotonic() > deadline:
                name = dead[0] if dead else "portal"
                said = " / ".join((self.var / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()[-3:])
                raise XdrError(f"the {name} did not start: {said}", where=address, todo=f"Read {self.var / name}.log")
            time.sleep(0.05)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/healthz", timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    """The usual one, else any."""
    for port in (PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise XdrError("no port is free", where=ADDRESS)
