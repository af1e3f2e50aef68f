# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A PostgreSQL server of a test's own: a fresh cluster on a free port and a Unix socket, run by an account that is not root."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.processes import free_port, wait_until

ACCOUNT = "postgres"  # Debian's package makes it; PostgreSQL refuses to run as root
PASSWORD = "not-to-be-shown"  # noqa: S105 - a test's


def programs() -> Path:
    """The folder of the newest server that Debian installed."""
    installed = list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not installed:
        pytest.skip("PostgreSQL is missing: apt-get install --no-install-recommends postgresql")
    return max((path.parent for path in installed), key=lambda path: float(path.parent.name))


def _as_account(*argv: str | Path) -> list[str]:
    words = [str(word) for word in argv]
    if os.geteuid():
        return words
    return ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--init-groups", "--", *words]


@dataclass
class Server:
    """Over the network it asks for the password, over its socket it does not."""

    folder: Path
    port: int = field(default_factory=free_port)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def database(self, template: str = "") -> str:
        """The URL of a new one, a copy of the template."""
        name = f"t{next(self._numbers)}"
        engine = sa.create_engine(f"postgresql+psycopg://xdr@/postgres?host={self.folder}&port={self.port}", isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        engine.dispose()
        return f"postgresql+psycopg://xdr:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def make(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (self.folder, secret):
                shutil.chown(path, ACCOUNT, ACCOUNT)
        auth = ("--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}")
        argv = _as_account(programs() / "initdb", "-D", self.folder / "data", *auth, "-E", "UTF8", "--no-sync", "-U", "xdr")
        subprocess.run(argv, check=True, capture_output=True, cwd="/", timeout=120, env=_environment())

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        options = (f"unix_socket_directories={self.folder}", "listen_addresses=127.0.0.1", f"port={self.port}", "fsync=off")
        words = [word for option in options for word in ("-c", option)]
        argv = _as_account(programs() / "postgres", "-D", self.folder / "data", *words)
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(argv, cwd="/", stdout=log, stderr=log, env=_environment())
        try:
            wait_until(lambda: self._answers() or process.poll() is not None, "PostgreSQL answers", 60)
            assert process.poll() is None, (self.folder / "log").read_text()
            yield
        finally:
            process.send_signal(signal.SIGQUIT)  # at once: nobody needs what is in it
            process.wait(30)

    def _answers(self) -> bool:
        asked = [str(programs() / "pg_isready"), "-q", "-h", str(self.folder), "-p", str(self.port)]
        return subprocess.run(asked, check=False, timeout=10).returncode == 0


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Gone at the end."""
    programs()
    folder = Path(tempfile.mkdtemp(prefix="xdr-pg-"))
    try:
        made = Server(folder)
        made.make()
        with made.running():
            yield made
    finally:
        shutil.rmtree(folder)


def _environment() -> dict[str, str]:
    user = ACCOUNT if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "HOME": "/", "USER": user}
