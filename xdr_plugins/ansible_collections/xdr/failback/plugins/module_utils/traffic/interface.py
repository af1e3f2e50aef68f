# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a driver for traffic offers. A new kind of balancer is one file with these three functions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

Gate = Callable[[], contextlib.AbstractContextManager[object]]
"""A context in which a driver sends its commands, and nothing else: the caller holds the plan's lock there and has checked its attempt."""


@dataclass(frozen=True)
class Switch:
    """One command: bring a server from one state to another; states are ``ready``, ``drain`` and ``maint``."""

    server: str
    before: str
    after: str


class Balancer(Protocol):
    """All raise XdrError, NotReached where the balancer does not answer."""

    def side(self) -> str:
        """Where clients are sent now: ``primary``, ``dr``, ``both``, ``none``, or ``partly`` (not all servers of one side)."""
        ...

    def plan(self, to: str) -> list[Switch]:
        """What is to be changed so that clients reach the side ``to`` and no other; changes nothing."""
        ...

    def switch(self, switches: Sequence[Switch], to: str, deadline: float, gate: Gate = contextlib.nullcontext) -> bool:
        """Do it and return when requests are answered by that side, within ``deadline`` seconds. True: verified through the balancer;
        False: the plan says no way to verify it, only the balancer's own word was taken."""
        ...
