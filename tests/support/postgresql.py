# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A PostgreSQL server of a test's own: a fresh cluster on a Unix socket, run by an account that is not root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import wait_until

ACCOUNT = "postgres"  # Debian's package makes it; PostgreSQL refuses to run as root


def programs() -> Path:
    """The folder of the newest server that Debian installed."""
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))


def _as_account(*argv: str | Path) -> list[str]:
    words = [str(word) for word in argv]
    if os.geteuid():
        return words
    return ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--init-groups", "--", *words]


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The URL of an empty database; the server is gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="xdr-pg-"))
    user = ACCOUNT if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        shutil.chown(folder, ACCOUNT, ACCOUNT)
    data = folder / "data"
    try:
        made = _as_account(programs() / "initdb", "-D", data, "-A", "trust", "-E", "UTF8", "--no-sync", "-U", "xdr")
        subprocess.run(made, check=True, capture_output=True, cwd="/", timeout=120, env=_environment(user))
        options = ["-c", f"unix_socket_directories={folder}", "-c", "listen_addresses=", "-c", "fsync=off"]
        argv = _as_account(programs() / "postgres", "-D", data, *options)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(argv, cwd="/", stdout=log, stderr=log, env=_environment(user))
        try:
            wait_until(lambda: (folder / ".s.PGSQL.5432").exists() and _answers(folder), "PostgreSQL answers", 60)
            yield f"postgresql+psycopg://xdr@/postgres?host={folder}"
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(folder)


def _environment(user: str) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "HOME": "/", "USER": user}


def _answers(folder: Path) -> bool:
    asked = [programs() / "pg_isready", "-q", "-h", folder]
    return subprocess.run([str(word) for word in asked], check=False, timeout=10).returncode == 0
