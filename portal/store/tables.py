# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The tables. A change here needs a migration (migrations/versions); a test compares the two."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, Table, Text, text

VERSION = "0010"  # the newest migration; a test holds it against the folder
metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("plan", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("check", Boolean, nullable=False),
    Column("exclusive", Boolean, nullable=False),  # no other exclusive run of the plan beside it
    Column("status", Text, nullable=False),  # queued, running, ended
    Column("origin", Text, nullable=False),  # portal, command line, schedule, adopted
    Column("arguments", JSON, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("requested_at", Float, nullable=False),
    Column("handed_at", Float),  # to the queue
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("attempts", Integer, nullable=False),  # how often its playbook was launched
    Column("worker", Text, nullable=False),  # who holds it: nobody else may, while that worker's lease is there
    Column("message", Text, nullable=False),  # "", stop, rollback, deadline
    Column("message_by", Text, nullable=False),
    Column("exit_code", Integer),
    Column("code", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("result", JSON),  # RunResult.to_json()
    Column("launches", JSON),  # what came of its launches but the last, null for one that nobody could tell
)
Index("runs_by_time", runs.c.requested_at)
Index("runs_of_plan", runs.c.plan, runs.c.status)
# A store has years of runs, and most of them are cycles that no page lists. The queries say these words as they are here, without
# parameters: a database takes a partial index only where it sees that the words are the same (tests/unit/test_indexes.py).
UNENDED, ASKED_FOR, SCHEDULED = text("runs.status <> 'ended'"), text("runs.origin <> 'schedule'"), text("runs.origin = 'schedule'")


def _partial(name: str, words: str, *columns: Column[Any]) -> None:
    Index(name, *columns, sqlite_where=text(words), postgresql_where=text(words))


_partial("runs_unended", "status <> 'ended'", runs.c.requested_at)
_partial("runs_asked_for", "origin <> 'schedule'", runs.c.requested_at)
_partial("runs_of_plan_asked_for", "origin <> 'schedule'", runs.c.plan, runs.c.requested_at)
_partial("runs_of_plan_scheduled", "origin = 'schedule'", runs.c.plan, runs.c.requested_at)
Index("runs_of_plan_by_action", runs.c.plan, runs.c.action, runs.c.requested_at)
Index("runs_by_end", runs.c.ended_at)
# Two clicks at once, on two machines: the second insert fails.
Index(
    "one_exclusive_run",
    runs.c.plan,
    unique=True,
    sqlite_where=text("exclusive AND status <> 'ended'"),
    postgresql_where=text("exclusive AND status <> 'ended'"),
)

events = Table(
    "events",
    metadata,
    Column("run_id", Text, ForeignKey("runs.id"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", JSON, nullable=False),
)

observations = Table(
    "observations",
    metadata,
    Column("subject", Text, primary_key=True),  # plan/<name>, sites
    Column("at", Float, nullable=False),
    Column("document", JSON),
    Column("error", Text, nullable=False),
)
# A page looks at when each of all plans was seen, and reads only the documents that it does not know yet.
Index("observations_seen", observations.c.subject, observations.c.at, observations.c.error)

users = Table(
    "users",
    metadata,
    Column("name", Text, primary_key=True),
    Column("password", Text, nullable=False),  # argon2id, with salt and parameters
    Column("role", Text, nullable=False),
    Column("created_at", Float, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token", Text, primary_key=True),  # SHA-256 of what the browser holds
    Column("user", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("csrf", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("who", Text, nullable=False),
    Column("origin", Text, nullable=False),  # portal, command line, schedule; of a request its address
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("outcome", Text, nullable=False),  # done, refused
    Column("detail", Text, nullable=False),
    Column("hash", Text, nullable=False, server_default=""),  # store/audit.py
)
Index("audit_by_time", audit.c.at)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),  # by the database's clock, as started_at
)

lags = Table(
    "lags",
    metadata,
    Column("plan", Text, primary_key=True),
    Column("at", Float, primary_key=True),
    Column("bytes", Float),  # null: it was not known
    Column("age", Float),  # seconds
)

notes = Table(
    "notes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("incident", Text, ForeignKey("runs.id"), nullable=False),  # its first run
    Column("at", Float, nullable=False),
    Column("who", Text, nullable=False),
    Column("item", Text, nullable=False),  # of the checklist, which the note ticks; else empty
    Column("text", Text, nullable=False),
)
Index("notes_of_incident", notes.c.incident)
