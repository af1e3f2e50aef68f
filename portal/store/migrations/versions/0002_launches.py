# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What came of a run's launches: a worker of another machine, which has not their folders, takes the same course."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("runs", sa.Column("launches", sa.JSON))
