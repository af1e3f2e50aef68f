# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Maintenance windows that were added by hand, and what became of each occurrence of any window."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from . import audit
from .engine import Store
from .tables import outcomes, windows

COMING = "coming"  # a worker knows of it: should none be there when it opens, that is noticed later
CANCELLED, STARTED, SKIPPED, MISSED = "cancelled", "started", "skipped", "missed"


@dataclass(frozen=True)
class OneOff:
    """Times are Unix seconds; ``zone``: in which it was asked for."""

    id: int
    plan: str
    begin: float
    end: float
    zone: str
    at: float
    by: str
    reason: str


@dataclass(frozen=True)
class Outcome:
    """``key`` is the occurrence's (portal/occurrences.py); ``outcome``: coming, then once cancelled, started, skipped or missed."""

    plan: str
    key: str
    begin: float
    end: float
    zone: str
    outcome: str
    at: float
    by: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def add(store: Store, plan: str, begin: float, end: float, zone: str, *, reason: str, by: str, origin: str, told: str) -> OneOff:
    """With its audit entry; ``told``: the times in words."""
    values = {"plan": plan, "begin": begin, "end": end, "zone": zone, "at": time.time(), "by": by, "reason": reason}
    with store.writing() as connection:
        [number] = connection.execute(windows.insert().values(**values)).inserted_primary_key or [0]
        audit.write(connection, by, origin, "window add", f"plan {plan}", f"{told}: {reason}")
    return OneOff(id=int(number), **values)  # type: ignore[arg-type]


def one_offs(store: Store, plans: Collection[str], since: float) -> list[OneOff]:
    """Those that end later than that, in order."""
    wanted = sa.select(windows).where(windows.c.plan.in_(plans), windows.c.end > since).order_by(windows.c.begin)
    with store.reading() as connection:
        return [OneOff(**dict(row)) for row in connection.execute(wanted).mappings()]


def known(store: Store, plans: Collection[str], since: float) -> list[Outcome]:
    """What became of occurrences that end later than that."""
    wanted = sa.select(outcomes).where(outcomes.c.plan.in_(plans), outcomes.c.end > since)
    with store.reading() as connection:
        return [Outcome(**dict(row)) for row in connection.execute(wanted).mappings()]


def expect(store: Store, wanted: Outcome) -> None:
    """Write down that it is coming; what is known of it already stays."""
    with contextlib.suppress(IntegrityError), store.writing() as connection:
        connection.execute(outcomes.insert().values(**{**wanted.to_json(), "outcome": COMING}))


def settle(connection: Connection, wanted: Outcome) -> None:
    """Write down what became of it, once. Raises XdrError, wrong_state, where that is known already."""
    same = (outcomes.c.plan == wanted.plan, outcomes.c.key == wanted.key)
    if connection.execute(outcomes.update().where(*same, outcomes.c.outcome == COMING).values(**wanted.to_json())).rowcount:
        return
    before = connection.execute(sa.select(outcomes).where(*same)).mappings().first()
    if before:
        raise _settled(wanted, Outcome(**dict(before)))
    try:
        with connection.begin_nested():
            connection.execute(outcomes.insert().values(**wanted.to_json()))
    except IntegrityError as error:  # two workers at once, on PostgreSQL
        raise _settled(wanted, None) from error


def beginning(wanted: Outcome, limit: float) -> Callable[[Connection], None]:
    """``settle`` in the transaction that requests the run, and not after ``limit``, however long this process was frozen before."""

    def settle_in_time(connection: Connection) -> None:
        if time.time() > limit:
            raise XdrError("the window has opened too long ago", where=f"window {wanted.key} of plan {wanted.plan}", code="gate_refused")
        settle(connection, wanted)

    return settle_in_time


def _settled(wanted: Outcome, before: Outcome | None) -> XdrError:
    what = f"it was {before.outcome} by {before.by} already ({before.detail})" if before else "somebody else was faster"
    return XdrError(what, where=f"window {wanted.key} of plan {wanted.plan}", todo="xdr window list shows it", code="wrong_state")


def note(store: Store, wanted: Outcome, *, origin: str) -> None:
    """``settle`` by itself, with its audit entry. Raises XdrError, wrong_state, which leaves one, too."""
    action, subject = f"window {wanted.outcome}", f"window {wanted.key} of plan {wanted.plan}"
    try:
        with store.writing() as connection:
            settle(connection, wanted)
            audit.write(connection, wanted.by, origin, action, subject, wanted.detail)
    except XdrError as error:
        audit.add(store, wanted.by, origin, action, subject, error.sentence(), outcome="refused")
        raise
