# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Who holds a run: one worker, for as long as its lease is there."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .tables import runs
from .workers import LeaseLost


def lock(connection: Connection, run_id: str, by: str = "") -> str:
    """Who has the run, which stays so until the transaction has ended. Raises LeaseLost where it is not the worker who asks."""
    worker = str(connection.execute(sa.select(runs.c.worker).where(runs.c.id == run_id).with_for_update()).scalar_one())
    if by and worker != by:
        raise LeaseLost
    return worker
