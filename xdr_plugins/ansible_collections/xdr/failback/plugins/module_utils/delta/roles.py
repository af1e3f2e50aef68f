# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The role of a volume in its replication, and its recovery points: what is, what is to be, and the steps between."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .. import record as records
from ..errors import Refused, XdrError
from ..record import Record, last_owned
from ..running import alive
from ..site import PlanOnHost
from . import blocks, spool, trackers, undo
from .apply import pending, refuse_open, restore, settle, spool_dir
from .state import VolumeFolder, VolumeState

Step = tuple[str, str]  # settle, open, role, restore, forget; and the name it is about


@dataclass(frozen=True)
class Situation:
    """``points``: recovery points, oldest first; ``current``: those opened since this site last owned the plan, for only they
    hold what the site wrote then. ``pending``: a committed cycle or a restore waits to be finished. ``at_point``: the newest
    point, when no block was overwritten since it was opened. ``leftover``: an interrupted cycle is to be discarded.
    ``consistent``: the newest applied cycle is one point in time.
    """

    role: str
    points: tuple[str, ...] = ()
    current: tuple[str, ...] = ()
    pending: bool = False
    at_point: str = ""
    leftover: bool = False
    consistent: bool = True


def steps(now: Situation, state: str, point: str = "") -> list[Step]:
    """What brings a volume to ``state`` (source, target, promoted, restored, forgotten); nothing when it is there."""
    first = [("settle", "")] if now.pending or now.leftover else []
    if state == "source":
        return [] if now.role == "source" else [*first, ("role", "source")]
    if state == "target":
        # the point first: once it is a target, a cycle may overwrite blocks
        opened = [("open", point)] if point and not _any(now.current, point) else []
        turned = [("role", "target")] if now.role != "target" else []
        return [*first, *opened, *turned] if opened or turned else []
    if point and state != "forgotten" and point not in now.points:
        known = ", ".join(now.points) or "none"
        raise XdrError(f"there is no recovery point {point!r}", todo=f"Known are: {known}", code="no_recovery_point")
    if state == "promoted":
        if now.role == "none":
            return first
        back = [("restore", point)] if point else [("consistent", "")] if now.role == "target" and not now.consistent else []
        return [*first, *back, ("role", "none")]
    if state == "restored":
        return first if now.at_point == point and not now.pending else [*first, ("restore", point)]
    return [*first, *(("forget", name) for name in now.points if _is_one_of(name, point))] if _any(now.points, point) else []


def _is_one_of(name: str, point: str) -> bool:
    """A point's name stands for the numbered ones as well that were opened when the name was taken."""
    return re.fullmatch(re.escape(point) + r"(-[0-9]+)?", name) is not None


def _any(points: tuple[str, ...], point: str) -> bool:
    return any(_is_one_of(name, point) for name in points)


class Replication:
    """One volume's replication on this host."""

    def __init__(self, state_dir: Path, plan: PlanOnHost, name: str) -> None:
        self.state_dir, self.plan = Path(state_dir), plan
        self.folder = VolumeFolder(state_dir, plan.plan, plan.volumes[name])

    @property
    def state(self) -> VolumeState:
        return self.folder.load()

    def situation(self) -> Situation:
        chain = undo.points(self.folder.undo)
        newest = chain[-1] if chain else None
        there = newest and not newest.log_bytes and newest.size == (blocks.size_at(self.folder.volume.path) or 0)
        leftover = bool(spool.leftovers(spool_dir(self.state_dir, self.plan.plan)))
        waits = pending(self.state_dir, self.plan, self.folder.volume.name)
        since = last_owned(records.load(self.state_dir, self.plan.plan))
        current = tuple(point.name for point in chain if point.epoch >= since)
        consistent = self.state.consistent and not waits  # of a cycle that waits it is told once it is applied
        names, at_point = tuple(point.name for point in chain), newest.name if newest and there else ""
        return Situation(self.state.role, names, current, waits, at_point, leftover, consistent)

    def check(self, wanted: str, record: Record) -> None:
        """Raises Refused or XdrError where ``wanted`` must not be, whatever the steps to it are."""
        if wanted in ("target", "restored") and record.owns:
            self._refuse_live(wanted, record)
        if wanted == "promoted" and self.state.role == "target":
            self._check_promotable()

    def _refuse_live(self, wanted: str, record: Record) -> None:
        running = alive(self.state_dir, self.plan.plan, self.plan.instances)
        if wanted == "restored" and not running:
            return  # nothing runs; a volume held open is refused by the restore itself
        what = (
            f"instance {running[0].name} runs here" if wanted == "restored" else f"site {record.site} owns the plan (epoch {record.epoch})"
        )
        todo = "Stop it first" if wanted == "restored" else "Only the site that does not own the plan receives"
        raise Refused(
            f"volume {self.folder.volume.name} cannot become {wanted}: {what}", where=self.plan.host, todo=todo, code="wrong_owner"
        )

    def _check_promotable(self) -> None:
        volume, now = self.folder.volume, self.situation()
        if not now.pending and blocks.size_at(volume.path) is None:
            raise XdrError(f"volume {volume.name} is missing", where=str(volume.path), todo="There is nothing to promote", code="no_volume")
        if not now.pending and not self.state.cycle and not now.points:
            what = f"volume {volume.name} has never received a complete cycle"
            raise XdrError(what, where=str(volume.path), todo="Replicate to it first, or restore it from a backup", code="no_cycle")
        if not now.pending and not self.state.consistent:
            self._consistent_point()

    def _consistent_point(self) -> str:
        """The newest state of a cycle that is kept; for a target whose newest cycle is no point in time."""
        found = [point.name for point in undo.points(self.folder.undo) if point.name.startswith(undo.CYCLE)]
        if not found:
            volume, how = self.folder.volume, self.state.how
            todo = "Give the volume a quiesce hook or a storage with snapshots; until then only a copy of it at rest can be promoted"
            raise XdrError(
                f"the newest cycle of volume {volume.name} is no point in time ({how}), and no earlier state is kept",
                where=str(volume.path),
                todo=todo,
                code="not_consistent",
            )
        return found[-1]

    def exact(self, point: str) -> bool | None:
        """Whether restoring ``point`` gives the very volume of its opening; None where that is not known."""
        if blocks.size_at(self.folder.volume.path) is None:
            return False
        fd = os.open(self.folder.volume.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return undo.is_exact(fd, self.folder.undo, point)
        finally:
            os.close(fd)

    def apply(self, todo: list[Step]) -> None:
        """Take the steps, in order; the caller holds the plan's lock."""
        actions = {"settle": self._settle, "open": self._open, "role": self._role, "restore": self._restore, "forget": self._forget}
        actions["consistent"] = self._make_consistent
        for action, name in todo:
            actions[action](name)

    def _settle(self, _: str) -> None:
        settle(self.state_dir, self.plan)

    def _open(self, name: str) -> None:
        state, size = self.state, blocks.size_at(self.folder.volume.path)
        epoch = records.load(self.state_dir, self.plan.plan).epoch
        undo.open_point(self.folder.undo, name, size=size or 0, cycle=state.cycle, read_started=state.read_started, epoch=epoch)

    def _make_consistent(self, _: str) -> None:
        if not self.state.consistent:
            self._restore(self._consistent_point())

    def _role(self, role: str) -> None:
        """A tracker's marks end with the direction, and so do the states of cycles: they are no longer kept whole."""
        if role != "source":
            trackers.chosen(self.folder.volume).forget()
        if role != "target":
            for point in undo.points(self.folder.undo):
                if point.name.startswith(undo.CYCLE):
                    undo.forget(self.folder.undo, point.name)
        self.folder.save(self.state.turned(role))

    def _restore(self, name: str) -> None:
        refuse_open([self.folder.volume.path])
        if blocks.size_at(self.folder.volume.path) is None:
            volume = self.folder.volume
            raise XdrError(
                f"volume {volume.name} is missing", where=str(volume.path), todo="Only changed blocks are kept, not all", code="no_volume"
            )
        self.folder.mark_restoring(name)
        restore(self.folder)

    def _forget(self, name: str) -> None:
        undo.forget(self.folder.undo, name)
