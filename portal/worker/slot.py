# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A worker's slot: a locked file of its machine, named by its id. The kernel opens the lock when its process dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json

from ..processes import Process, myself
from ..store import Store, workers
from ..store.workers import ONCE, Worker


class Standing(Enum):
    """How a worker stands, as its machine alone can tell for certain."""

    LIVES = "its process is there"
    DEAD = "its process is gone"
    ELSEWHERE = "it is none of this machine"


@dataclass
class Slot:
    """``id`` names the worker, which is one process: it is never used again."""

    id: str
    file: Path
    fd: int

    def release(self) -> None:
        self.file.unlink(missing_ok=True)
        os.close(self.fd)


def take(var: Path, *, once: bool = False) -> Slot:
    """``once``: one that a command line lends to a single run."""
    worker_id = f"{socket.gethostname()}{ONCE if once else '-'}{secrets.token_hex(4)}"
    file = _file(var, worker_id)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.write(fd, json.dumps(asdict(myself())).encode())
    return Slot(worker_id, file, fd)


def standing(var: Path, worker_id: str) -> Standing:
    try:
        fd = os.open(_file(var, worker_id), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Standing.ELSEWHERE
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Standing.LIVES
    finally:
        os.close(fd)
    return Standing.DEAD


def holder(var: Path, worker_id: str) -> Process | None:
    """The process of a worker of this machine."""
    document = read_json(_file(var, worker_id))
    return Process(**document) if document else None


def forget(var: Path, worker_id: str) -> None:
    """Remove what a dead worker of this machine left."""
    _file(var, worker_id).unlink(missing_ok=True)


def tidy(var: Path, known: set[str]) -> None:
    """Remove what workers left whose lease others have ended while this machine was away."""
    for file in (var / "worker").glob("*.lock"):
        if file.stem not in known and standing(var, file.stem) is Standing.DEAD:
            with contextlib.suppress(FileNotFoundError):
                file.unlink()


def serving(store: Store, var: Path) -> list[Worker]:
    """The workers that execute whatever is requested, and live."""
    return [one for one in workers.alive(store) if one.serves and standing(var, one.id) is not Standing.DEAD]


def _file(var: Path, worker_id: str) -> Path:
    return var / "worker" / f"{worker_id}.lock"
