# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The worker: durable runs, replication cycles and the look at plans and sites."""
