# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The store: what portal, worker and command line share. One file for each kind of row; SQLAlchemy Core, SQLite or PostgreSQL."""

from .engine import Store as Store
