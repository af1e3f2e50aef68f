# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Workers and when each was last seen."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

import sqlalchemy as sa

from ..processes import process
from .engine import Store
from .tables import workers as table

ONCE = "-once-"  # in the id of one that a command line has lent to its own run: it serves no other
BEAT = 2.0  # seconds between two heartbeats
DEAD_AFTER = 15.0  # seconds without one


@dataclass(frozen=True)
class Worker:
    id: str
    host: str
    pid: int
    version: str
    started_at: float
    seen_at: float

    @property
    def alive(self) -> bool:
        """By its heartbeat; on this machine its process must be there as well."""
        beating = time.time() - self.seen_at < DEAD_AFTER
        return beating and (self.host != socket.gethostname() or process(self.pid) is not None)

    @property
    def serves(self) -> bool:
        """Whether it executes whatever run is requested."""
        return ONCE not in self.id


def beat(store: Store, worker: Worker) -> None:
    """Tell that it lives now."""
    values = {**worker.__dict__, "seen_at": time.time()}
    with store.writing() as connection:
        if not connection.execute(table.update().where(table.c.id == worker.id).values(**values)).rowcount:
            connection.execute(table.insert().values(**values))


def left(store: Store, worker_id: str) -> None:
    """It has ended in good order."""
    with store.writing() as connection:
        connection.execute(table.delete().where(table.c.id == worker_id))


def known(store: Store) -> list[Worker]:
    with store.reading() as connection:
        return [Worker(**dict(row)) for row in connection.execute(sa.select(table).order_by(table.c.id)).mappings()]


def alive(store: Store) -> list[Worker]:
    return [worker for worker in known(store) if worker.alive]
