# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Alembic's entry: runs on the connection that migration.py hands over, inside its transaction."""

from alembic import context

from portal.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
