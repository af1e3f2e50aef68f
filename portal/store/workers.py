# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Workers. The row of each is its lease, which it renews: what it works on is nobody else's while the row is there.

Counted from the beginning of a worker's last renewal, by clocks that nobody sets:

    BEAT    the next renewal is due
    LET_GO  on a store that other machines use, it asks its playbooks to end (SIGTERM) and gives its runs up
    KILL    its guardian kills it, with all that it has launched, be it frozen or waiting
    LEASE   another worker may take its runs over

A renewal that is noticed counts from when it was noticed, so the others are later than this, never earlier.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..processes import process
from .engine import Store, clock
from .tables import workers as table

ONCE = "-once-"  # in the id of one that a command line has lent to its own run: it serves no other
BEAT = 2.0  # seconds
LET_GO = 8.0
KILL = 16.0
LEASE = 20.0


class LeaseLost(Exception):  # noqa: N818
    """Another worker has taken over: nothing of the run may be touched any more."""


@dataclass(frozen=True)
class Worker:
    """``silent``: for how many seconds it has not renewed its lease, by the database's clock."""

    id: str
    host: str
    pid: int
    version: str
    started_at: float = 0.0
    seen_at: float = 0.0
    silent: float = 0.0

    @property
    def serves(self) -> bool:
        """Whether it executes whatever run is requested."""
        return ONCE not in self.id


def enter(store: Store, worker: Worker) -> None:
    """Take a lease. An id is never used again."""
    with store.writing() as connection:
        now = clock(connection)
        own = {"id": worker.id, "host": worker.host, "pid": worker.pid, "version": worker.version}
        connection.execute(table.insert().values(**own, started_at=now, seen_at=now))


def beat(store: Store, worker_id: str) -> None:
    """Renew it. Raises LeaseLost."""
    with store.writing() as connection:
        if not connection.execute(table.update().where(table.c.id == worker_id).values(seen_at=clock(connection))).rowcount:
            raise LeaseLost


def left(store: Store, worker_id: str) -> None:
    """It has ended in good order."""
    with store.writing() as connection:
        connection.execute(table.delete().where(table.c.id == worker_id))


def remove(store: Store, worker: Worker) -> bool:
    """End the lease of a dead one, unless it has been renewed since it was looked at."""
    with store.writing() as connection:
        return bool(connection.execute(table.delete().where(table.c.id == worker.id, table.c.seen_at == worker.seen_at)).rowcount)


def there(connection: Connection, worker_id: str) -> bool:
    """Whether the lease is there, and stays so until the transaction has ended."""
    wanted = sa.select(table.c.id).where(table.c.id == worker_id).with_for_update(read=True)
    return connection.execute(wanted).first() is not None


def known(store: Store) -> list[Worker]:
    with store.reading() as connection:
        wanted = sa.select(table, (clock(connection) - table.c.seen_at).label("silent")).order_by(table.c.id)
        return [Worker(**dict(row)) for row in connection.execute(wanted).mappings()]


def get(store: Store, worker_id: str) -> Worker | None:
    return next((worker for worker in known(store) if worker.id == worker_id), None)


def alive(store: Store) -> list[Worker]:
    """Those that beat, for what may be wrong for a moment; where the store is a file, their processes must be there as well."""
    return [one for one in known(store) if one.silent < LET_GO and (store.shared or process(one.pid) is not None)]
