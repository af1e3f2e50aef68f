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

windows = Table(
    "windows",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("plan", Text, nullable=False),
    Column("begin", Float, nullable=False),
    Column("end", Float, nullable=False),
    Column("zone", Text, nullable=False),  # in which it was asked for
    Column("at", Float, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
)
Index("windows_of_plan", windows.c.plan, windows.c.end)

# What became of an occurrence of a window, once; portal/occurrences.py makes its key.
outcomes = Table(
    "outcomes",
    metadata,
    Column("plan", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("begin", Float, nullable=False),
    Column("end", Float, nullable=False),
    Column("zone", Text, nullable=False),
    Column("outcome", Text, nullable=False),  # coming, then cancelled, started, skipped or missed
    Column("at", Float, nullable=False),
    Column("by", Text, nullable=False),
    Column("detail", Text, nullable=False),
)

invitations = Table(
    "invitations",
    metadata,
    Column("plan", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("name", Text, primary_key=True),  # of an owner or stakeholder
    Column("begin", Float, nullable=False),
    Column("end", Float, nullable=False),
    Column("zone", Text, nullable=False),
    Column("token", Text, nullable=False),  # SHA-256 of what the link holds; empty until it was sent
    Column("asked_at", Float, nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("answer", Text, nullable=False),  # "", approve, object
    Column("answered_at", Float),
    Column("answered_by", Text, nullable=False),
    Column("via", Text, nullable=False),  # link, page, command line
    Column("text", Text, nullable=False),
)
Index("invitations_by_token", invitations.c.token)

announcements = Table(
    "announcements",
    metadata,
    Column("plan", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("recipient", Text, primary_key=True),
    Column("at", Float, nullable=False),
    Column("worker", Text, nullable=False),
    Column("outcome", Text, nullable=False),  # sending, sent, failed, unknown
    Column("tries", Integer, nullable=False),
    Column("detail", Text, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("plan", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("hash", Text, nullable=False),  # of what was approved (PU/approval.py)
    Column("parts", JSON, nullable=False),  # what the hash is of
    Column("run", Text, ForeignKey("runs.id"), nullable=False),  # the preview
    Column("who", Text, nullable=False),
    Column("origin", Text, nullable=False),  # portal or command line: they have names of their own
    Column("at", Float, nullable=False),
    Column("note", Text, nullable=False),
)
Index("approvals_of_plan", approvals.c.plan, approvals.c.action)

answers = Table(
    "answers",
    metadata,
    Column("run", Text, ForeignKey("runs.id"), primary_key=True),
    Column("hook", Text, primary_key=True),  # the name of the pause
    Column("answer", Text, nullable=False),  # yes, no
    Column("reason", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("at", Float, nullable=False),
)

checks = Table(
    "checks",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("host", Text, nullable=False),
    Column("check", Text, nullable=False),
    Column("result", Text, nullable=False),  # ok, degraded, failed
    Column("evidence", Text, nullable=False),  # of the newest look
    Column("wanted", Text, nullable=False),
    Column("since", Float, nullable=False),  # the first look with this result
    Column("seen", Float, nullable=False),  # the newest one
)
Index("checks_of_host", checks.c.host, checks.c.check, checks.c.id)

links = Table(
    "links",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("at", Float, primary_key=True),
    Column("latency_ms", Float),  # null: the way did not connect, or it was not measured
    Column("bytes_per_s", Float),  # null: as above; it is measured less often
)
