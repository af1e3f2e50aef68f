# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The tracker that knows nothing: the volume is read whole. Always right, and what every other one falls back to."""

from __future__ import annotations

from .interface import Changed, Unknown


class Scan:
    name = "scan"
    snapshots = False

    def __init__(self, why: str) -> None:
        self._why = why

    def mark(self, mark: str) -> None:
        pass

    def changed(self, since: str) -> Changed:
        return Unknown(self._why)

    def reader(self) -> int | None:
        return None

    def keep(self, mark: str) -> None:
        pass

    def drop(self, mark: str) -> None:
        pass

    def forget(self) -> None:
        pass
