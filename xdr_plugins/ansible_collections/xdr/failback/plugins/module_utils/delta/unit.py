# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The volumes of a cycle that share one point in time: brought to rest together, read, and told whether it was one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import quiesce
from ..errors import XdrError
from ..site import PlanOnHost, VolumeOnHost
from . import blocks
from .reading import Reading, mark_all
from .trackers.interface import Joint
from .trackers.stillness import Stillness


class Unit:
    """``consistent`` and ``how`` are known once everything is read."""

    def __init__(self, readings: list[Reading], *, at_rest: bool, members: list[quiesce.Member]) -> None:
        self.readings, self._at_rest, self._members = readings, at_rest, members
        self.read_started = 0.0
        self.held = False  # the volumes stand still only inside ``frozen``: they have no snapshots
        self._moved = ""  # why several snapshots are not one point in time

    @contextlib.contextmanager
    def frozen(self, *, whole: bool) -> Iterator[None]:
        """Marks set and methods chosen. With hooks and without snapshots the volumes must be read before this ends.

        Raises XdrError when a hook fails: what was read is then dropped.
        """
        if self._members and not self._snapshots():  # nobody's services wait for the far end's scan
            for reading in self.readings:
                reading.copy.digests.wait()
        with quiesce.frozen(self._members):
            self._begin(whole)
            yield
            if self.held:
                self._check_sizes()

    def _begin(self, whole: bool) -> None:
        self.read_started = time.time()
        still = Stillness([reading.volume.path for reading in self._open_ones()])
        if mark_all(self.readings) > 1:
            moved = still.broken()
            self._moved = f"{moved}, one after the other" if moved else ""
        for reading in self.readings:
            reading.begin(whole=whole)
        self.held = bool(self._members) and not self._snapshots()

    def _snapshots(self) -> bool:
        return all(reading.tracker.snapshots for reading in self.readings)

    def _open_ones(self) -> list[Reading]:
        """The volumes that no hook holds."""
        held = {member.name for member in self._members}
        return [reading for reading in self.readings if reading.volume.name not in held]

    def _check_sizes(self) -> None:
        for reading in self.readings:
            if not reading.tracker.snapshots and blocks.size_at(reading.volume.path) != reading.size:
                what = f"volume {reading.volume.name} changed its size while it was read"
                raise XdrError(what, where=str(reading.volume.path), todo="Give it a quiesce hook")

    def verdict(self) -> tuple[bool, str]:
        """Whether what was read is one point in time, and how that is known. Raises XdrError for a size that changed."""
        for reading in self.readings:
            reading.release()
        if not self.held:
            self._check_sizes()
        if self._at_rest:
            return True, "at rest"
        lost = not self.held and not self._snapshots()  # then hooks had let go before the end
        if not self._open_ones() and not lost:
            return True, "quiesced"
        if self._snapshots():
            return not self._moved, self._moved or f"snapshot ({self.readings[0].tracker.name})"
        busy = [reading.volume.name for reading in (self.readings if lost else self._open_ones()) if not reading.is_quiet()]
        if not busy:
            return True, "nobody wrote meanwhile"
        return False, f"{', '.join(busy)} was written while it was read{self._no_snapshot()}"

    def _no_snapshot(self) -> str:
        """Words that say why, where a tracker could have made one."""
        trackers = [reading.tracker for reading in self.readings if not reading.tracker.snapshots]
        why = sorted({tracker.why for tracker in trackers if isinstance(tracker, Joint) and tracker.why})
        return f" (no snapshot: {'; '.join(why)})" if why else ""


def members(plan: PlanOnHost, state_dir: Path, volumes: list[VolumeOnHost]) -> list[quiesce.Member]:
    """The hooks of the volumes; ``{volume}``, ``{state_dir}`` and ``{site_dir}`` (the state's parent) are replaced in their words."""
    found = []
    for volume in volumes:
        if not volume.quiesce:
            continue
        values = {"{volume}": str(volume.path), "{state_dir}": str(state_dir), "{site_dir}": str(Path(state_dir).parent)}
        environment = {
            "XDR_PLAN_NAME": plan.plan,
            "XDR_SITE": plan.site,
            "XDR_GROUP_NAME": volume.group,
            "XDR_RESOURCE_IDS": volume.resource,
        }
        before = [_filled(hook, values) for hook in volume.quiesce.get("before") or []]
        after = [_filled(hook, values) for hook in volume.quiesce.get("after") or []]
        found.append(quiesce.Member(volume.name, before, after, environment))
    return found


def _filled(hook: list[Any], values: dict[str, str]) -> list[str]:
    words = [str(word) for word in hook]
    for placeholder, value in values.items():
        words = [word.replace(placeholder, value) for word in words]
    return words
