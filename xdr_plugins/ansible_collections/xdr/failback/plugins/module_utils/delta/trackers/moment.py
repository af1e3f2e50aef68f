# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Marks of several volumes: at one moment where their trackers can do that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from ...errors import XdrError
from .interface import Joint, Tracker


def mark_all(trackers: Iterable[Tracker], mark: str) -> int:
    """How many moments it were: those that were marked together share one. Raises XdrError with none marked."""
    marked: list[Tracker] = []
    groups = _together(trackers)
    try:
        for first, *others in groups:
            marked += [first, *others]
            if isinstance(first, Joint):
                first.mark_with(others, mark)
            else:
                first.mark(mark)
    except XdrError:
        for tracker in marked:
            with contextlib.suppress(XdrError):
                tracker.drop(mark)
        raise
    return len(groups)


def _together(trackers: Iterable[Tracker]) -> list[list[Tracker]]:
    groups: dict[str, list[Tracker]] = {}
    for number, tracker in enumerate(trackers):
        process = tracker.process if isinstance(tracker, Joint) else ""
        groups.setdefault(process or f"alone {number}", []).append(tracker)
    return list(groups.values())
