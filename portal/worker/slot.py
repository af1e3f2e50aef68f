# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A worker's slot: a locked file of its machine. The kernel opens the lock when its process dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from ..store import Store, workers
from ..store.workers import ONCE, Worker


@dataclass
class Slot:
    """``id`` names the worker: it is the same again after a restart, so that its runs are known as its own."""

    id: str
    fd: int

    def release(self) -> None:
        os.close(self.fd)


def take(var: Path, *, once: bool = False) -> Slot:
    """The first free one; ``once``: of those that command lines lend to a single run."""
    for number in itertools.count(1):
        name = f"{ONCE.strip('-')}-{number}" if once else str(number)
        fd = _locked(_file(var, name))
        if fd is not None:
            return Slot(f"{socket.gethostname()}-{name}", fd)
    raise AssertionError("the numbers do not end")


def dead(store: Store, var: Path, worker_id: str) -> bool:
    """Whether the worker does not live any more: of this machine by its lock, of another by its heartbeat."""
    own = f"{socket.gethostname()}-"
    if worker_id.startswith(own):
        return _free(_file(var, worker_id.removeprefix(own)))
    return worker_id not in {worker.id for worker in workers.alive(store)}


def serving(store: Store, var: Path) -> list[Worker]:
    """The workers that execute whatever is requested, and live."""
    return [worker for worker in workers.known(store) if worker.serves and worker.alive and not dead(store, var, worker.id)]


def _file(var: Path, name: str) -> Path:
    return var / "worker" / f"{name}.lock"


def _free(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        fd = _locked(path, make=False)
        if fd is None:
            return False
        os.close(fd)
    return True


def _locked(path: Path, *, make: bool = True) -> int | None:
    if make:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
