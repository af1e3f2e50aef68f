# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What people write into the report of an incident; only appended to."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from . import audit
from .engine import Store
from .tables import notes as table

LONGEST = 4000  # characters


@dataclass(frozen=True)
class Note:
    """``incident`` is the id of its first run; ``item``: what it ticks of the checklist (portal/checklist.py), else empty."""

    id: int
    incident: str
    at: float
    who: str
    item: str
    text: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def add(store: Store, incident: str, plan: str, text: str, *, by: str, origin: str, item: str = "") -> None:
    """With its audit entry. Raises XdrError, code usage, for a note that is empty or too long."""
    text = text.strip()
    if not text or len(text) > LONGEST:
        raise XdrError(f"a note has 1 to {LONGEST} characters, this has {len(text)}", todo="Write it, or split it", code="usage")
    with store.writing() as connection:
        connection.execute(table.insert().values(incident=incident, at=time.time(), who=by, item=item, text=text))
        audit.write(connection, by, origin, f"tick {item}" if item else "note", f"incident {incident} of plan {plan}", text)


def of(store: Store, incident: str) -> list[Note]:
    """The oldest first."""
    wanted = sa.select(table).where(table.c.incident == incident).order_by(table.c.id)
    with store.reading() as connection:
        return [Note(**dict(row)) for row in connection.execute(wanted).mappings()]
