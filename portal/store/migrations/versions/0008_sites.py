# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What was found of each host, since when, and how fast the ways between the sites are, so that a page can show a history."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "checks",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("host", "check", "result", "evidence", "wanted")),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("since", "seen")),
    )
    op.create_index("checks_of_host", "checks", ["host", "check", "id"])
    op.create_table(
        "links",
        sa.Column("origin", sa.Text, primary_key=True),
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("at", sa.Float, primary_key=True),
        sa.Column("latency_ms", sa.Float),
        sa.Column("bytes_per_s", sa.Float),
    )
