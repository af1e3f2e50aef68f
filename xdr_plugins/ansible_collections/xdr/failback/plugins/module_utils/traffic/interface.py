# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a driver for traffic offers. A new kind of balancer is one file with these four functions."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

Gate = Callable[[], contextlib.AbstractContextManager[object]]
"""A context in which a driver sends its commands, and nothing else: the caller holds the plan's lock there and has checked its attempt."""

NO_ANSWER = "no answer"  # what Seen.said is of one that is out of reach, where that is allowed
OTHER = {"primary": "dr", "dr": "primary"}


@dataclass(frozen=True)
class Occasion:
    """What a driver is asked for: the module's ``state``. ``folder`` is the plan's on this host; ``must_answer`` False:
    what is out of reach and is not needed for the switch is told, and stops nothing."""

    state: str
    folder: Path
    run: str = ""
    must_answer: bool = True


@dataclass(frozen=True)
class Switch:
    """One command: bring a server from one state to another (``ready``, ``drain``, ``maint``), or a DNS record from what it says."""

    server: str
    before: str
    after: str


@dataclass(frozen=True)
class Seen:
    """A piece of evidence: whom was asked, what the answer was, and when (Unix seconds)."""

    by: str
    said: str
    at: float = field(default_factory=time.time)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "at": round(self.at, 3)}


class Director(Protocol):
    """What sends clients to a site: a balancer or a DNS record. All raise XdrError, NotReached where it does not answer."""

    def side(self) -> str:
        """Where clients are sent now: ``primary``, ``dr``, ``both``, ``none``, or ``partly`` (not all servers of one side)."""
        ...

    def check(self) -> str:
        """Raises XdrError where it would not let itself be switched; changes nothing. A sentence that a person should read, or none."""
        ...

    def plan(self, to: str) -> list[Switch]:
        """What is to be changed so that clients reach the side ``to`` and no other; changes nothing."""
        ...

    def switch(self, switches: Sequence[Switch], to: str, deadline: float, gate: Gate = contextlib.nullcontext) -> list[Seen]:
        """Do it and return when requests are answered by that side, within ``deadline`` seconds: by whom that was seen. None:
        the plan says no way to see it, only the balancer's own word was taken."""
        ...
