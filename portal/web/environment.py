# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The plans of the environment, compiled once and read again when one of its files has changed."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.environment import Kept

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
        self._kept = Kept()
        self._read: Environment | None = None

    @property
    def kept(self) -> Kept:
        """Of the plans' files: who checks a change of one has not to read them all."""
        return self._kept.copy()

    def read(self) -> None:
        """Before anybody asks: the first time takes long where there are many plans.

        What was read stays: of 500 plans it is a million objects, through which each full collection would go (0.3 s of a page's time).
        """
        self._current()
        gc.collect()
        gc.freeze()

    def _current(self) -> Environment | None:
        """While another thread reads a change, what was before it."""
        if self._lock.acquire(blocking=self._stamp is None):
            try:
                stamp = self._stamped()
                if stamp != self._stamp:
                    self._load()
                    self._stamp = stamp
            finally:
                self._lock.release()
        return self._read

    def _stamped(self) -> object:
        return [_stamps(self.folder), _stamps(self.folder / "plans")]

    def _load(self) -> None:
        try:
            self._read, self.error = plan_view.environment(self.folder, self._kept), ""
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


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Of each YAML file in the folder, which may be gone."""
    found = {}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((".yml", ".yaml")):
                stat = entry.stat()
                found[entry.name] = (stat.st_mtime_ns, stat.st_size)
    return found
