# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a driver for instances offers. A new kind of instance is one file with these three functions."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Protocol

Item = Mapping[str, Any]

Gate = Callable[[], contextlib.AbstractContextManager[object]]
"""A context in which a driver sends its request, and nothing else: the caller holds the plan's lock there, for it must not be
overtaken by a newer attempt between its check and the request. A driver waits for the outcome outside of it."""


@dataclass(frozen=True)
class Outcome:
    """What became of an instance.

    ``state``: STOPPED, STARTING (also: the start guard still waits), RUNNING, STOPPING, BACKOFF, FATAL, EXITED, UNKNOWN,
    or ORPHANED: a process of it runs, but no longer under its supervisor. EXITED: it ended by itself, which systemd calls STOPPED.
    ``pid``: of the running process, else 0. ``why``: a remark for a person, else empty.
    """

    state: str
    pid: int = 0
    changed: bool = False
    seconds: float = 0.0
    why: str = ""


class InstanceDriver(Protocol):
    """``item`` has ``name`` (the resource), ``plan``, ``timeout`` (seconds) and the driver's own options. All raise XdrError."""

    def start(self, item: Item, gate: Gate = contextlib.nullcontext) -> Outcome:
        """Return when the instance itself runs (not its start guard); an instance that runs already is left alone."""
        ...

    def stop(self, item: Item, gate: Gate = contextlib.nullcontext) -> Outcome:
        """Return when no process of the instance is left; what is stopped already is left alone. Nothing is killed beyond
        what the supervisor itself is configured to do; a process that it has left behind gets SIGTERM."""
        ...

    def status(self, item: Item) -> Outcome:
        """Look, change nothing."""
        ...


def timeout_of(item: Item, option: str) -> float:
    """In seconds: what the call says, else what the plan says (``option``: ``start_timeout`` or ``stop_timeout``)."""
    return float(item.get("timeout") or item.get(option) or 60.0)
