# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a tracker of changed extents is to a cycle of the delta sync."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Union

from ..blocks import Range


@dataclass(frozen=True)
class Unknown:
    """The tracker cannot tell; ``why`` is a sentence for people: the cycle scans the volume instead."""

    why: str


Changed = Union[list[Range], Unknown]


class Tracker(Protocol):
    """Where the list of changed extents of one volume at the source comes from.

    A mark is a named point in time of the volume. A cycle sets a mark, asks what changed since the mark of the cycle that
    the target has applied, reads that, and in the end keeps its own mark (it was applied) or drops it. A tracker may name
    blocks that did not change; it must never miss one that did. Marks survive the process: the next cycle is another one.
    A mark is a file name of letters, digits and hyphens. Every method may raise XdrError for what an operator must mend.
    """

    name: str
    snapshots: bool  # whether ``reader`` gives the volume as it was at the newest mark

    def mark(self, mark: str) -> None:
        """From here on, what is written belongs to the time after ``mark``."""

    def changed(self, since: str) -> Changed:
        """Sorted ranges of 64 KiB blocks, within the volume's present size, that may differ between ``since`` and the newest mark,
        and for a tracker without snapshots also what was written after that mark up to now; Unknown where ``since`` is not a
        whole mark any more. A volume that has grown: the new blocks count as changed.
        """

    def reader(self) -> int | None:
        """A new file descriptor for reading the volume as it was at the newest mark, to be closed by the caller; None
        where the storage has no snapshots: then the volume itself is read.
        """

    def keep(self, mark: str) -> None:
        """The cycle of ``mark`` was applied: forget all other marks, those of abandoned cycles too."""

    def drop(self, mark: str) -> None:
        """The cycle of ``mark`` was abandoned: as if it had not been set."""

    def forget(self) -> None:
        """The volume is no source any more: nothing of the tracker stays behind."""
