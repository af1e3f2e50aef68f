# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Drivers for what sends clients to a site. Static imports, so that Ansible sends the drivers along with a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import XdrError
from .dns_record import DNSRecord
from .haproxy import HAProxy
from .interface import NO_ANSWER as NO_ANSWER
from .interface import Director as Director
from .interface import Gate as Gate
from .interface import Occasion as Occasion
from .interface import Seen as Seen
from .interface import Switch as Switch

DRIVERS: dict[str, Callable[[Mapping[str, Any], Occasion], Director]] = {"haproxy": HAProxy, "dns": DNSRecord}


def driver(item: Mapping[str, Any], occasion: Occasion) -> Director:
    """The driver of a load balancer or DNS record of the plan; XdrError for a name that there is none of."""
    name = str(item.get("driver"))
    if name not in DRIVERS:
        raise XdrError(
            f"there is no traffic driver '{name}'",
            where=f"load balancer {item.get('name')}",
            todo=f"In the plan, set its driver to one of: {', '.join(sorted(DRIVERS))}",
        )
    return DRIVERS[name](item, occasion)
