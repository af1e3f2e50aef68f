# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The replication_lag of each plan at each look, so that pages can show it over time."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "lags",
        sa.Column("plan", sa.Text, primary_key=True),
        sa.Column("at", sa.Float, primary_key=True),
        sa.Column("bytes", sa.Float),
        sa.Column("age", sa.Float),
    )
