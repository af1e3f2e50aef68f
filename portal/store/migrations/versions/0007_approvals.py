# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Who has approved which preview."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("parts", sa.JSON, nullable=False),
        sa.Column("run", sa.Text, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_index("approvals_of_plan", "approvals", ["plan", "action"])
    what = "approvals are only appended"
    if op.get_bind().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER approvals_no_{change.lower()} BEFORE {change} ON approvals BEGIN SELECT RAISE(ABORT, '{what}'); END"
            )
        return
    op.execute(f"CREATE FUNCTION approvals_kept() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION '{what}'; END$$")
    op.execute("CREATE TRIGGER approvals_kept BEFORE UPDATE OR DELETE ON approvals FOR EACH ROW EXECUTE FUNCTION approvals_kept()")
