# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Trackers of changed extents, each in a file of its own (see interface.py)."""
