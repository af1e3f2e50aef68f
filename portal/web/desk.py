# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What all requests share: the store, the inventory, and what is kept in memory for both."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from ..store import Store
from .course import Courses
from .environment import Inventory
from .glances import Glances
from .hub import Hub
from .limits import Limits


@dataclass
class Desk:
    store: Store
    inventory: Inventory
    hub: Hub
    courses: Courses = field(default_factory=Courses)
    glances: Glances = field(default_factory=Glances)
    limits: Limits = field(default_factory=Limits)


def desk(request: HTTPConnection) -> Desk:
    found = request.app.state.desk
    assert isinstance(found, Desk)  # noqa: S101 - create_app puts it there
    return found
