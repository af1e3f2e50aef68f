# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Hosts in network namespaces of their own, where that is allowed."""

from __future__ import annotations

import functools
import os

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal.faults.network import Network
from tests.support.filesystems import may_mount
from tests.support.labs import named


@functools.cache
def may_separate() -> bool:
    """Tried: root may be one in a container, and the kernel or the tools may lack what it takes."""
    if os.geteuid() or not may_mount():
        return False
    network = Network(named("may"), ("one",))
    try:
        network.make()
        network.slow("controller", "one", 1000)
    except XdrError:
        return False
    finally:
        network.remove()
    return True
