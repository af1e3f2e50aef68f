# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A real sshd for a test, on a loopback address, with its own host key and one client key. Runs as root or not."""

from __future__ import annotations

import contextlib
import getpass
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import free_port, listens, running

SSHD = "/usr/sbin/sshd"


@dataclass(frozen=True)
class Sshd:
    """``key`` logs ``user`` in; ``known_hosts`` pins its host key."""

    folder: Path
    address: str
    port: int
    user: str

    @property
    def key(self) -> Path:
        return self.folder / "client_key"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def log(self) -> Path:
        return self.folder / "sshd.log"

    def peer(self) -> dict[str, object]:
        """Its entry in the ``peers`` of another host's site.json."""
        return {
            "address": self.address,
            "port": self.port,
            "user": self.user,
            "key": str(self.key),
            "known_hosts": str(self.known_hosts),
        }


def make_key(path: Path) -> str:
    """A new ed25519 key pair; its public line without the comment."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(argv, check=True, timeout=20, stdin=subprocess.DEVNULL, capture_output=True)
    return path.with_suffix(".pub").read_text().strip()


def known_hosts_line(address: str, port: int, public: str) -> str:
    return f"[{address}]:{port} {public}\n"


@contextlib.contextmanager
def sshd(folder: Path, *, address: str = "127.0.0.1", forced_command: str | None = None) -> Iterator[Sshd]:
    """``forced_command``: what the client key may run, with ``restrict``; None: anything."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Sshd(folder, address, free_port(address), getpass.getuser())
    host_key = make_key(folder / "host_key")
    client_key = make_key(server.key)
    limits = f'restrict,command="{forced_command}" ' if forced_command else ""
    (folder / "authorized_keys").write_text(f"{limits}{client_key}\n")
    server.known_hosts.write_text(known_hosts_line(address, server.port, host_key))
    config = folder / "sshd_config"
    config.write_text(
        f"""
ListenAddress {address}:{server.port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/sshd.pid
UsePAM no
Subsystem sftp internal-sftp
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
LogLevel VERBOSE
"""
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # privilege separation wants it
    with running([SSHD, "-D", "-e", "-f", str(config)], log=server.log, ready=lambda: listens(address, server.port)):
        yield server
