# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What people answered to the pauses of a run; the worker that has the run hands it on to the playbook."""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from . import audit, events
from .engine import Store
from .tables import answers as table
from .tables import runs

YES, NO = "yes", "no"
LONGEST = 500  # characters of a reason


@dataclass(frozen=True)
class Answer:
    """``hook`` is the pause's name; each is answered once in a run."""

    run: str
    hook: str
    answer: str
    reason: str
    who: str
    at: float

    @property
    def told(self) -> str:
        return f"{self.who} answered {self.answer} to {self.hook}: {self.reason}"


def give(store: Store, run_id: str, hook: str, answer: str, reason: str, *, by: str, origin: str) -> Answer:
    """With its audit entry, and an event of the run, in one transaction.

    Raises XdrError: usage (no such answer, no reason), wrong_state (the run has ended, or it is answered). A refusal leaves an entry, too.
    """
    given = Answer(run_id, hook, answer, " ".join(reason.split()), by, time.time())
    try:
        _check(given)
        with store.writing() as connection:
            row = connection.execute(sa.select(runs.c.status).where(runs.c.id == run_id).with_for_update()).first()
            if row is None or row.status == "ended":
                raise XdrError(f"run {run_id} has ended, it asks nothing any more", code="wrong_state")
            if connection.execute(sa.select(table.c.who).where(table.c.run == run_id, table.c.hook == hook)).first():
                raise XdrError(f"{hook} of run {run_id} is answered already", code="wrong_state")
            connection.execute(table.insert().values(**given.__dict__))
            events.add(connection, run_id, [{"kind": "message", "at": round(given.at, 3), "level": "warning", "text": given.told}])
            audit.write(connection, by, origin, f"answer {answer}", f"pause {hook} of run {run_id}", given.reason)
    except XdrError as error:
        audit.add(store, by, origin, f"answer {answer}"[:64], f"pause {hook} of run {run_id}", error.sentence(), outcome="refused")
        raise
    return given


def _check(given: Answer) -> None:
    if given.answer not in (YES, NO):
        raise XdrError(f"expected yes or no, found {given.answer!r}", code="usage")
    if not given.reason or len(given.reason) > LONGEST:
        raise XdrError(f"an answer needs a reason of 1 to {LONGEST} characters: it is kept for good", code="usage")


def of(store: Store, run_id: str) -> list[Answer]:
    """The oldest first."""
    wanted = sa.select(table).where(table.c.run == run_id).order_by(table.c.at)
    with store.reading() as connection:
        return [Answer(**dict(row)) for row in connection.execute(wanted).mappings()]
