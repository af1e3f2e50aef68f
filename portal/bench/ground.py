# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Where it is measured: two site hosts in folders of this machine, and an sshd of their own between them.

All of it lies in one folder below ``var/bench``, which is gone at the end.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils import record as records
from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json, write_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.site import Peer, plan_dir
from ansible_collections.xdr.failback.plugins.plugin_utils import agent_archive

from .. import processes
from .started import output, started
from .volumes import Volume

PLAN = "bench"
PAIR = (2, 1)  # epoch, attempt
SSHD = "/usr/sbin/sshd"
READY_TIMEOUT = 15.0  # seconds


@dataclass(frozen=True)
class End:
    """One site host. ``site``: dr owns the plan and is the source, primary is the target."""

    folder: Path
    site: str

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    def volume(self, name: str) -> Path:
        return self.folder / "volumes" / f"{name}.img"

    @property
    def agent(self) -> Path:
        return self.state_dir / "agent" / "xdr-site-agent.pyz"


@dataclass(frozen=True)
class Ground:
    """``agent``: how the source reaches the target's agent, and nothing else there. ``login``: the same way in for any command."""

    folder: Path
    source: End
    target: End
    agent: Peer
    login: Peer
    sshd: int

    def register(self, volumes: tuple[Volume, ...]) -> None:
        """Both ends serve these volumes from now on, each at its own point in time."""
        for end in (self.source, self.target):
            common: dict[str, Any] = {"driver": "delta", "grows": False, "group": "bench", "quiesce": None, "peer": "target"}
            document = {"plan": PLAN, "hash": "bench", "site": end.site, "host": end.folder.name, "witness": "", "record_host": True}
            places = {one.name: {**common, "path": str(end.volume(one.name)), "resource": one.name, "unit": one.name} for one in volumes}
            write_json(plan_dir(end.state_dir, PLAN) / "plan.json", {**document, "volumes": places, "instances": {}})
            records.save(end.state_dir, _record(end))

    def clear(self) -> None:
        """Remove all volumes."""
        for end in (self.source, self.target):
            for path in end.volume("any").parent.iterdir():
                path.unlink()


def _record(end: End) -> records.Record:
    """The DR site took over in epoch 2."""
    epoch, attempt = PAIR
    taken = {"epoch": epoch, "owner": "dr", "how": "attested", "attempt": [epoch, attempt], "at": 1.0, "by": "bench", "text": "bench"}
    standing = "accepted" if end.site == "dr" else "superseded"
    return records.Record(PLAN, end.site, end.folder.name, epoch, "dr", standing, attempt=PAIR, history=[taken])


@contextlib.contextmanager
def ground(root: Path) -> Iterator[Ground]:
    """Build it below ``root``; at the end nothing of it is left, no process and no file."""
    folder = Path(tempfile.mkdtemp(prefix="ground-", dir=root.resolve()))
    try:
        source, target = End(folder / "source", "dr"), End(folder / "target", "primary")
        for end in (source, target):
            end.volume("any").parent.mkdir(parents=True)
        target.agent.parent.mkdir(parents=True)
        target.agent.write_bytes(agent_archive.build().content)
        with _sshd(folder / "sshd", target) as (process, peer):
            agent, login = (replace(peer, name="target", key=str(folder / "sshd" / key)) for key in ("agent_key", "login_key"))
            _write_site(source, {"target": agent})
            _write_site(target, {})
            yield Ground(folder, source, target, agent, login, process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clear_leftovers(root: Path) -> None:
    """What a bench left that was killed; the caller knows that none is running."""
    for folder in root.glob("ground-*"):
        left = read_json(folder / "sshd" / "process.json") or {"pid": 0, "started": 0}
        if processes.process(left["pid"]) == processes.Process(left["pid"], left["started"]):
            processes.end(processes.tree(left["pid"]), 2.0)
        shutil.rmtree(folder)


def _write_site(end: End, peers: dict[str, Peer]) -> None:
    fields = ("address", "port", "user", "key", "known_hosts")
    known = {name: {each: getattr(peer, each) for each in fields} for name, peer in peers.items()}
    document = {"host": end.folder.name, "state_dir": str(end.state_dir), "volume_roots": [str(end.volume("any").parent)]}
    write_json(end.state_dir / "site.json", {**document, "boot_without_witness": "wait", "peers": known, "supervisor_socket": ""})


# -- sshd --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _sshd(folder: Path, target: End) -> Iterator[tuple[int, Peer]]:
    """Pid of a running sshd and the way in; ``agent_key`` may run the target's agent only, ``login_key`` anything.

    Both ends use the Python that runs the bench, so both have the same accelerators.
    """
    folder.mkdir()
    address, port = _free_place()
    host_key, agent_key, login_key = (_make_key(folder / name) for name in ("host_key", "agent_key", "login_key"))
    forced = shlex.join([sys.executable, str(target.agent), "ssh", "--state-dir", str(target.state_dir)])
    (folder / "authorized_keys").write_text(f'restrict,command="{forced}" {agent_key}\nrestrict {login_key}\n')
    (folder / "known_hosts").write_text(f"[{address}]:{port} {host_key}\n")
    (folder / "sshd_config").write_text(_config(folder, address, port))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # privilege separation wants it
    with (folder / "sshd.log").open("wb") as log:
        argv = [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
        with started(argv, stdout=log, stderr=log) as process:
            mark = processes.process(process.pid)
            write_json(folder / "process.json", {"pid": process.pid, "started": mark.started if mark else 0})
            try:
                _wait_for(address, port, folder / "sshd.log")
                yield process.pid, Peer("target", address, port, getpass.getuser(), "", str(folder / "known_hosts"))
            finally:  # its sessions would go on without it
                processes.end(processes.tree(process.pid), 2.0)


def _config(folder: Path, address: str, port: int) -> str:
    options = {
        "ListenAddress": f"{address}:{port}",
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "MaxStartups": "100",
    }
    return "".join(f"{name} {value}\n" for name, value in options.items())


def _make_key(path: Path) -> str:
    """A new key pair; its public line."""
    output(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], timeout=30)
    return path.with_suffix(".pub").read_text().strip()


def _free_place() -> tuple[str, int]:
    """A loopback address that others hardly use, and a port that is free there."""
    address = f"127.79.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
    with socket.socket() as probe:
        probe.bind((address, 0))
        return address, probe.getsockname()[1]


def _wait_for(address: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while True:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((address, port)) == 0:
                return
        if time.monotonic() > deadline:
            said = log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise XdrError(f"sshd did not start: {said or 'no reason was given'}", where=f"{address}:{port}", todo="Try it again")
        time.sleep(0.02)
