# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The plans of the environment, compiled once and read again when one of its files has changed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .. import plan_view, sites

if TYPE_CHECKING:
    from ansible_collections.xdr.failback.plugins.plugin_utils.environment import Environment

Plan = Mapping[str, Any]


class Inventory:
    """An environment with mistakes in its files keeps its last good plans, and ``error`` says what is wrong with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.error = ""
        self._lock = threading.Lock()
        self._stamp: object = None
        self._read: Environment | None = None

    def _current(self) -> Environment | None:
        with self._lock:
            stamp = self._stamped()
            if stamp != self._stamp:
                self._stamp = stamp
                self._load()
            return self._read

    def _stamped(self) -> object:
        files = [*self.folder.glob("*.y*ml"), *self.folder.glob("plans/*.y*ml")]
        return {path: (found.st_mtime_ns, found.st_size) for path in files if (found := path.stat())}

    def _load(self) -> None:
        try:
            self._read, self.error = plan_view.environment(self.folder), ""
        except XdrError as error:
            self.error = error.sentence()

    @property
    def plans(self) -> dict[str, Plan]:
        found = self._current()
        return dict(found.plans) if found else {}

    def listed(self) -> dict[str, Any]:
        """The sites, as portal/sites.py lists them."""
        found = self._current()
        return sites.listed(found) if found else {"sites": [], "witness": "", "warnings": []}
