# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Real servers for tests: free ports, waiting for a condition, ending what was started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as sock:
        sock.bind((address, 0))
        port: int = sock.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


def listens(address: str, port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex((address, port)) == 0


def listens_unix(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(1)
        return sock.connect_ex(str(path)) == 0


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A new folder with a short name: the path of a unix socket has less than 108 characters."""
    folder = Path(tempfile.mkdtemp(prefix="xdr-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(
    argv: list[str], *, log: Path, ready: Callable[[], bool], env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a session of its own, from ready to ended; its output goes to ``log``."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True, env={**os.environ, **(env or {})}
        )
    try:
        wait_until(lambda: ready() or process.poll() is not None, f"{argv[0]} is ready", 15)
        assert process.poll() is None, f"{argv[0]} ended at once: {log.read_text(errors='replace')}"
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes], seconds: float = 5.0) -> None:
    """SIGTERM, then SIGKILL to what is left of its session's first process group."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(seconds)
