# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a tracker of changed extents is to a cycle of the delta sync."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Union, runtime_checkable

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


@runtime_checkable
class Joint(Tracker, Protocol):
    """A tracker that can be marked at one moment with those of other volumes; it knows only then whether it has a snapshot.

    ``snapshots`` and ``why`` are of the newest mark, and are asked anew: a snapshot may be lost while it is read.
    """

    process: str  # trackers for which this is equal, and not empty, can be marked together
    why: str  # why there is no snapshot, as words to follow "no snapshot: "

    def mark_with(self, others: Iterable[Tracker], mark: str) -> None:
        """``mark`` for all of them. Where all have snapshots then, these are of one moment."""

    def lose(self, why: str) -> None:
        """The snapshot could not be read to its end: from here on there is none."""

    def release(self) -> None:
        """All that a cycle needs of the snapshot was read; ``snapshots`` stays as it is."""
