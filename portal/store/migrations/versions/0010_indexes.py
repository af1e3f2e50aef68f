# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Indexes for what every page asks: a store has years of runs, and most of them are cycles that no page lists."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    unended, asked_for, scheduled = (sa.text(each) for each in ("status <> 'ended'", "origin <> 'schedule'", "origin = 'schedule'"))
    op.create_index("runs_unended", "runs", ["requested_at"], sqlite_where=unended, postgresql_where=unended)
    op.create_index("runs_asked_for", "runs", ["requested_at"], sqlite_where=asked_for, postgresql_where=asked_for)
    op.create_index("runs_of_plan_asked_for", "runs", ["plan", "requested_at"], sqlite_where=asked_for, postgresql_where=asked_for)
    op.create_index("runs_of_plan_scheduled", "runs", ["plan", "requested_at"], sqlite_where=scheduled, postgresql_where=scheduled)
    op.create_index("runs_of_plan_by_action", "runs", ["plan", "action", "requested_at"])
    op.create_index("runs_by_end", "runs", ["ended_at"])
    op.create_index("observations_seen", "observations", ["subject", "at", "error"])
