# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Who has approved which preview; only appended to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from . import audit
from .engine import Store
from .tables import approvals as table

COMMAND_LINE, PORTAL = "command line", "portal"


def person(who: str, origin: str) -> str:
    """``alice (portal)``: users of the portal and accounts of the machine are two lists of names. ``origin``: as in the audit trail."""
    return f"{who} ({PORTAL if origin.startswith(PORTAL) else origin})"


def same(one: str, other: str) -> bool:
    """Whether two names are one person's: the same name in both lists is, else one person could be two."""
    return one.strip().casefold() == other.strip().casefold()


@dataclass(frozen=True)
class Approval:
    """``parts``: what the hash is of (PU/approval.py); ``run``: the check run whose preview was approved."""

    id: int
    plan: str
    action: str
    hash: str
    parts: Mapping[str, Any]
    run: str
    who: str
    origin: str
    at: float
    note: str

    @property
    def by(self) -> str:
        return person(self.who, self.origin)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "by": self.by}


def add(store: Store, plan: str, action: str, bound: Mapping[str, Any], run: str, *, who: str, origin: str, note: str = "") -> Approval:
    """With its audit entry. ``bound``: the ``approval`` of the preview, with its hash and parts."""
    values = {"plan": plan, "action": action, "hash": bound["hash"], "parts": bound["parts"], "run": run, "who": who, "note": note}
    values |= {"origin": origin, "at": time.time()}
    with store.writing() as connection:
        made = connection.execute(table.insert().values(**values)).inserted_primary_key
        detail = f"preview {run}, {bound['hash'][:12]}" + (f": {note}" if note else "")
        audit.write(connection, who, origin, f"approve {action}", f"plan {plan}", detail)
    return Approval(id=made[0] if made else 0, **values)


def of_plan(store: Store, plan: str, *, action: str = "", since: float = 0.0, until: float | None = None) -> list[Approval]:
    """The newest first. ``since``, ``until``: Unix seconds."""
    wanted = sa.select(table).where(table.c.plan == plan, table.c.at >= since).order_by(table.c.id.desc())
    if action:
        wanted = wanted.where(table.c.action == action)
    if until is not None:
        wanted = wanted.where(table.c.at <= until)
    with store.reading() as connection:
        return [Approval(**dict(row)) for row in connection.execute(wanted).mappings()]
