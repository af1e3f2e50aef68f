# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The target's end of a session: what the agent's verb ``receive`` does.

A session holds no lock while it waits for the source: the pair, the owner and the volumes' generations are checked again
under the plan's lock when a cycle is committed, so a session that stood still cannot do harm when it goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from .. import attempt
from ..errors import Refused, XdrError
from ..record import Record
from ..site import PlanOnHost, load_plan
from . import blocks, undo
from .apply import Incoming, commit_and_apply, disk_error, refuse_open, settle, spool_dir
from .blocks import DIGEST
from .incoming import receive_blocks
from .spool import Spool
from .state import VolumeFolder
from .wire import VERSION, Frame, Wire, broken

IDLE = 3600.0  # seconds without a frame from the source: it may be freezing and reading a large volume
MARGIN = 1 << 20  # bytes that stay free


def serve(state_dir: Path, stdin: BinaryIO, stdout: BinaryIO) -> int:
    """Take one session from the source. Returns the exit code: 0, or 1 after a failure that the source was told."""
    wire = Wire(stdin, stdout, peer="source", timeout=IDLE)
    try:
        hello = wire.receive("hello")
        _Session(Path(state_dir), wire, hello).run(verify=hello.flag("verify"))
    except XdrError as error:
        wire.report(error)
        return 1
    except OSError as error:
        wire.report(disk_error(error, str(error.filename or state_dir)))
        return 1
    return 0


@dataclass
class _Target:
    """A volume of this session, as it was found: size in bytes (None: there is none yet), digests when scanned."""

    folder: VolumeFolder
    generation: int
    size: int | None
    digests: bytes = b""

    @property
    def name(self) -> str:
        return self.folder.volume.name

    @property
    def path(self) -> Path:
        return self.folder.volume.path

    def check_size(self, size: int) -> None:
        """Raises XdrError for a source of another size, unless this volume may grow."""
        if self.size is not None and self.size != size and not self.folder.volume.grows:
            raise XdrError(
                f"volume {self.name} has {self.size} bytes here and {size} bytes at the source",
                where=str(self.path),
                todo="Make them the same size, or let the volume grow (grows: true)",
                code="size_differs",
            )


class _Session:
    def __init__(self, state_dir: Path, wire: Wire, hello: Frame) -> None:
        self.state_dir, self.wire = state_dir, wire
        if hello.number("version") != VERSION:
            todo = "Install the same agent on both hosts (role site_agent)"
            raise XdrError(f"the source speaks protocol {hello.number('version')}, this host {VERSION}", todo=todo, code="protocol")
        self.plan: PlanOnHost = load_plan(state_dir, hello.text("plan"))
        self.pair = (hello.number("epoch"), hello.number("attempt"))
        self.run_id = hello.text("run_id")
        with self._locked():
            with wire.working():
                settle(state_dir, self.plan)
            self.targets = {item.text("name"): self._target(item.text("name")) for item in hello.items("volumes")}
        refuse_open([target.path for target in self.targets.values()])
        for item in hello.items("volumes"):
            self.targets[item.text("name")].check_size(item.number("size"))

    @contextmanager
    def _locked(self) -> Iterator[Record]:
        """The plan's lock, for the newest attempt only, at a site that does not own the plan."""
        with attempt.held(self.state_dir, self.plan.plan, self.pair, run_id=self.run_id) as holding:
            if holding.record.owns:
                raise Refused(
                    f"site {holding.record.site} owns plan {self.plan.plan} (epoch {holding.record.epoch})",
                    where=self.plan.host,
                    todo="Nothing ever syncs over a live volume; look at which site owns the plan",
                    code="wrong_owner",
                )
            yield holding.record

    def _target(self, name: str) -> _Target:
        volume = self.plan.volumes.get(name)
        if volume is None or volume.driver != "delta":
            what = "is not registered here" if volume is None else f"has the driver {volume.driver} here, not delta"
            raise Refused(
                f"volume {name} {what}", where=self.plan.host, todo="Register the plan again on both sites", code="unknown_volume"
            )
        folder = VolumeFolder(self.state_dir, self.plan.plan, volume)
        state = folder.load()
        if state.role != "target":
            todo = "Make it a target first (xdr_replication state=target)"
            raise Refused(f"volume {name} has the role {state.role} here", where=self.plan.host, todo=todo, code="wrong_role")
        return _Target(folder, state.generation, blocks.size_at(volume.path))

    def run(self, *, verify: bool) -> None:
        if verify:
            self.wire.send("ready")
        else:
            self._send_copies()
        steps = {"unit": self._unit, "compare": self._compare, "compared": self._compared, "extents": self._extents}
        while True:
            frame = self.wire.receive(*steps, "end")
            if frame.kind == "end":
                self.wire.send("bye")
                return
            steps[frame.kind](frame)

    def _send_copies(self) -> None:
        targets = list(self.targets.values())
        with ThreadPoolExecutor(max_workers=2) as pool, self.wire.working():
            for target, digests in zip(targets, pool.map(lambda target: _read_back(target, dropped=False), targets)):
                target.digests = digests
                cycle = target.folder.load().cycle
                self.wire.send("copy", volume=target.name, exists=target.size is not None, size=target.size or 0, cycle=cycle)
                self.wire.send_long("digests", digests)

    def _named(self, frame: Frame) -> _Target:
        name = frame.text("volume")
        if name not in self.targets:
            raise broken(f"volume {name!r} was not announced", self.wire.peer)
        return self.targets[name]

    # -- a cycle of one unit --------------------------------------------------------------------------------------

    def _unit(self, frame: Frame) -> None:
        items = frame.items("volumes")
        unit = [self.targets.get(item.text("name")) for item in items]
        targets = [target for target in unit if target is not None]
        names = {target.folder.volume.unit for target in targets}
        if len(targets) != len(items) or len({target.name for target in targets}) != len(items) or len(names) != 1:
            raise XdrError("the volumes of this cycle are no unit here", where=self.plan.host, todo="Register the plan again on both sites")
        sizes = [item.number("size") for item in items]
        for target, size in zip(targets, sizes):
            target.check_size(size)
        self._check_space(targets, [item.number("data_bytes") for item in items])
        received = Spool(spool_dir(self.state_dir, self.plan.plan), names.pop())
        try:
            after = receive_blocks(self.wire, received, [target.digests for target in targets], sizes)
            received.sync()
            record = {"cycle": frame.number("cycle"), "read_started": frame.seconds("read_started"), "pair": list(self.pair)}
            with self.wire.working(), self._locked():
                self._check_unchanged(targets)
                incoming = [Incoming(target.folder, size, target.digests) for target, size in zip(targets, sizes)]
                commit_and_apply(received, incoming, record, self.state_dir, self.plan)
                for target, size, digests in zip(targets, sizes, after):
                    state = target.folder.load()
                    target.generation, target.size, target.digests = state.generation, size, bytes(digests)
                    applied_at = state.applied_at
        except BaseException:
            received.discard_uncommitted()
            raise
        finally:
            received.close()
        self.wire.send("applied", cycle=record["cycle"], applied_at=applied_at)

    def _check_space(self, targets: list[_Target], data_bytes: list[int]) -> None:
        """Raises XdrError when the spool, the undo log or a new volume cannot fit."""
        state = self.state_dir
        needs = [(state, sum(data_bytes))]
        needs += [(state, number) for target, number in zip(targets, data_bytes) if undo.points(target.folder.undo)]
        needs += [(target.path.parent, number) for target, number in zip(targets, data_bytes) if target.size is None]
        by_device: dict[int, int] = {}
        for folder, number in needs:
            if not folder.is_dir():
                raise XdrError(
                    "the folder of the volume is missing", where=str(folder), todo="Make it or mount it, then run the cycle again"
                )
            device = folder.stat().st_dev
            by_device[device] = by_device.get(device, MARGIN) + number
            space = os.statvfs(folder)
            free = space.f_bavail * space.f_frsize
            if free < by_device[device]:
                what = f"{free} bytes are free and {by_device[device]} bytes are needed"
                todo = "Free space there and run the cycle again; no volume was changed"
                raise XdrError(f"the disk is full: {what}", where=str(folder), todo=todo, code="disk_full")

    def _check_unchanged(self, targets: list[_Target]) -> None:
        for target in targets:
            fresh = self._target(target.name)
            if (fresh.generation, fresh.size) != (target.generation, target.size):
                raise Refused(
                    f"volume {target.name} was changed since this cycle began",
                    where=self.plan.host,
                    todo="Run the cycle again",
                    code="overtaken",
                )

    # -- proofs ---------------------------------------------------------------------------------------------------

    def _compare(self, frame: Frame) -> None:
        target = self._named(frame)
        with self.wire.working():
            digests = _read_back(target, dropped=True)
        self.wire.send("whole", blocks=len(digests) // DIGEST)
        self.wire.send_long("digests", digests)

    def _compared(self, frame: Frame) -> None:
        target = self._named(frame)
        with self._locked():
            self._check_unchanged([target])
            result = {"cycle": frame.number("cycle"), "at": frame.seconds("at"), "blocks": frame.number("blocks")}
            target.folder.save(replace(target.folder.load(), compared=result))
        self.wire.send("noted")

    def _extents(self, frame: Frame) -> None:
        target = self._named(frame)
        size = blocks.size_at(target.path)
        if size is None:
            raise XdrError(f"volume {target.name} is missing", where=str(target.path), todo="Run a cycle first", code="no_volume")
        wanted = [(0, blocks.count(size))] if frame.flag("all") else frame.ranges(blocks.count(max(size, frame.number("size"))))
        state = target.folder.load()
        compared = (state.compared or {}).get("cycle", 0)
        self.wire.send("extents", size=size, cycle=state.cycle, compared=compared)
        if size == frame.number("size"):
            fd = os.open(target.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                with self.wire.working():
                    blocks.drop_cache(fd)
                    digests = bytes(blocks.scan(fd, size)) if frame.flag("all") else blocks.digests_of(fd, size, wanted)
            finally:
                os.close(fd)
            self.wire.send_long("digests", digests)


def _read_back(target: _Target, *, dropped: bool) -> bytes:
    """Digests of the volume as it is on disk (``dropped``) or as it reads."""
    if target.size is None:
        return b""
    fd = os.open(target.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if dropped:
            blocks.drop_cache(fd)
        return bytes(blocks.scan(fd, target.size))
    finally:
        os.close(fd)
