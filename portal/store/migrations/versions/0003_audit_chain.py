# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Each entry of the audit trail has a digest over itself and the digest before it; those that are there get theirs now."""

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

PARTS = ("at", "who", "origin", "action", "subject", "outcome", "detail")


def upgrade() -> None:
    op.add_column("audit", sa.Column("hash", sa.Text, nullable=False, server_default=""))
    connection = op.get_bind()
    sqlite = connection.dialect.name == "sqlite"
    what = "audit are only appended"
    op.execute("DROP TRIGGER audit_no_update" if sqlite else "ALTER TABLE audit DISABLE TRIGGER audit_kept")
    previous = ""
    rows = connection.execute(sa.text(f"SELECT id, {', '.join(PARTS)} FROM audit ORDER BY id")).mappings().all()  # noqa: S608
    for row in rows:
        told = json.dumps([previous, *(row[name] for name in PARTS)], ensure_ascii=False, separators=(",", ":"))
        previous = hashlib.sha256(told.encode()).hexdigest()
        connection.execute(sa.text("UPDATE audit SET hash = :hash WHERE id = :id"), {"hash": previous, "id": row["id"]})
    again = f"CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, '{what}'); END"
    op.execute(again if sqlite else "ALTER TABLE audit ENABLE TRIGGER audit_kept")
