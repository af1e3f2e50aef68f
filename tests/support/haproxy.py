# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A real HAProxy for a test, with a runtime socket in a short temporary folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import free_port, listens, running, short_folder

HAPROXY = "/usr/sbin/haproxy"


@dataclass(frozen=True)
class RunningHAProxy:
    folder: Path
    port: int

    @property
    def socket(self) -> Path:
        return self.folder / "a.sock"

    @property
    def reader_socket(self) -> Path:
        """Of level user: it may look and not change."""
        return self.folder / "u.sock"


@contextlib.contextmanager
def haproxy(servers: Mapping[str, str], *, backend: str = "shop") -> Iterator[RunningHAProxy]:
    """``servers``: name → ``127.0.0.1:8001 check inter 100 …``."""
    with short_folder() as folder:
        proxy = RunningHAProxy(folder, free_port())
        config = folder / "haproxy.cfg"
        config.write_text(
            f"""
global
    stats socket {proxy.socket} mode 600 level admin
    stats socket {proxy.reader_socket} mode 600 level user
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
frontend in
    bind 127.0.0.1:{proxy.port}
    default_backend {backend}
backend {backend}
    option httpchk GET /health
"""
            + "".join(f"    server {name} {where}\n" for name, where in servers.items())
        )
        with running([HAPROXY, "-db", "-f", str(config)], log=folder / "out.log", ready=lambda: listens("127.0.0.1", proxy.port)):
            yield proxy
