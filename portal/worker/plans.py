# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The environment's plans as they are now: read again when a file of the inventory has changed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .. import plan_view

EVERY = 2.0  # seconds between two looks at the files

log = logging.getLogger("xdr.worker")


class Plans:
    """Several threads may ask."""

    def __init__(self, inventory: Path) -> None:
        self._inventory = inventory
        self._lock = threading.Lock()
        self._next = 0.0
        self._files: list[tuple[str, int, int]] | None = None
        self._plans: dict[str, Mapping[str, Any]] = {}

    def known(self) -> dict[str, Mapping[str, Any]]:
        """By name; none while a file is invalid, which is told in the log."""
        with self._lock:
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + EVERY
                files = self._stamps()
                if files != self._files:
                    self._files = files
                    self._plans = self._read()
            return self._plans

    def _stamps(self) -> list[tuple[str, int, int]]:
        try:
            return sorted((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in self._inventory.rglob("*.y*ml"))
        except OSError:  # a file that is being replaced: looked at again in a moment
            return []

    def _read(self) -> dict[str, Mapping[str, Any]]:
        try:
            return dict(plan_view.all_plans(self._inventory))
        except XdrError as error:
            log.warning("the plans cannot be read: %s", error.sentence())
            return {}
