# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Follows a run's progress file on the site hosts, over paramiko, while the run lasts."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any

import paramiko
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .hosts import Host

EVERY = 0.5  # seconds between two looks at a file
RETRY = 2.0  # seconds until a lost or refused connection is tried again
TIMEOUT = 5.0
CHUNK = 256 * 1024

Line = Callable[[str, dict[str, Any]], None]

# A site that is down is no news here: the run itself tells.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


def connect(host: Host, timeout: float = TIMEOUT) -> paramiko.SSHClient:
    """A connection to the host, whose key must be the pinned one; no agent, no other key of this account."""
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        client.load_host_keys(host.known_hosts)
        client.connect(
            host.address,
            port=host.port,
            username=host.user or None,
            key_filename=host.key or None,
            look_for_keys=False,
            allow_agent=False,
            timeout=timeout,
            banner_timeout=timeout,
            auth_timeout=timeout,
        )
    except BaseException:
        client.close()
        raise
    return client


class Tail:
    """One host's file: every complete line, once, in order, across lost connections."""

    def __init__(self, host: Host, run_id: str, on_line: Line) -> None:
        self._host, self._on_line = host, on_line
        self._path = str(PurePosixPath(host.state_dir) / "runs" / f"{run_id}.jsonl")
        self._offset = 0
        self._rest = b""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"tail-{host.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Ask it to read what is there once more and stop."""
        self._ending.set()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _follow(self) -> None:
        while True:
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException), connect(self._host) as client:
                self._read_on(client)
                return
            if self._ending.wait(RETRY):
                return

    def _read_on(self, client: paramiko.SSHClient) -> None:
        with client.open_sftp() as files:
            channel = files.get_channel()
            if channel:
                channel.settimeout(TIMEOUT)
            last = False
            while not last:
                last = self._ending.wait(EVERY)
                with contextlib.suppress(FileNotFoundError):  # no module has written yet
                    self._read(files)

    def _read(self, files: paramiko.SFTPClient) -> None:
        with files.open(self._path, "rb") as stream:
            stream.seek(self._offset)
            while chunk := stream.read(CHUNK):
                self._offset += len(chunk)
                self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    self._on_line(self._host.name, entry)


class Tails:
    """All hosts of a run, as a context manager; leaving it reads the last lines and ends the threads.

    ``hosts`` is called in a thread of its own: asking Ansible for them must not delay the run.
    """

    def __init__(self, hosts: Callable[[], Iterable[Host]], run_id: str, on_line: Line) -> None:
        self._hosts, self._run_id, self._on_line = hosts, run_id, on_line
        self._tails: list[Tail] = []
        self._starter = threading.Thread(target=self._start, name="tails", daemon=True)

    def _start(self) -> None:
        with contextlib.suppress(XdrError):  # an inventory that cannot be read: ansible-playbook says so
            self._tails = [Tail(host, self._run_id, self._on_line) for host in self._hosts() if host.state_dir]
        for tail in self._tails:
            tail.start()

    def __enter__(self) -> Tails:
        self._starter.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._starter.join(TIMEOUT)
        for tail in self._tails:
            tail.end()
        for tail in self._tails:
            tail.join(TIMEOUT)
