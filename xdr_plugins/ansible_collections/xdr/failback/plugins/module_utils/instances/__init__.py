# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Drivers for instances. Static imports, so that Ansible sends the drivers along with a module."""

from __future__ import annotations

from typing import Callable

from ..errors import XdrError
from ..site import Site
from .interface import Gate as Gate
from .interface import InstanceDriver as InstanceDriver
from .interface import Item as Item
from .interface import Outcome as Outcome
from .supervisor import Supervisor
from .systemd import Systemd

DRIVERS: dict[str, Callable[[Site], InstanceDriver]] = {"supervisor": Supervisor, "systemd": Systemd}


def driver(name: str, site: Site) -> InstanceDriver:
    """The driver of this name on this site; XdrError for a name that there is none of."""
    if name not in DRIVERS:
        raise XdrError(
            f"there is no instance driver '{name}'",
            where=site.host,
            todo=f"In the plan, set instance.driver to one of: {', '.join(sorted(DRIVERS))}",
        )
    return DRIVERS[name](site)
