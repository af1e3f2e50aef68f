# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The target's end of a session: what the agent's verb ``receive`` does.

A session holds no lock while it waits for the source: the pair, the owner and the volumes' generations are checked again
under the plan's lock when a cycle is committed, so a session that stood still cannot do harm when it goes on.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from .. import accelerators, attempt
from ..errors import NotReached, Refused, XdrError
from ..record import Record, last_owned
from ..site import PlanOnHost, Site, lies_in_roots, load_plan, load_site
from . import blocks, hashes, packing, scanning
from .apply import disk_error, refuse_open, settle
from .inbox import Inbox, Route
from .proofs import Proofs
from .receipt import Receipt
from .state import VolumeFolder
from .target import Target
from .wire import VERSION, Frame, Wire, broken

IDLE = 3600.0  # seconds without a frame from the source: it may be freezing and reading a large volume


def serve(state_dir: Path, stdin: BinaryIO, stdout: BinaryIO) -> int:
    """Take one session from the source. Returns the exit code: 0, or 1 after a failure that the source was told."""
    accelerators.enable(state_dir)
    wire = Wire(stdin, stdout, peer="source", timeout=IDLE)
    with contextlib.closing(wire):
        try:
            wire.send("greeting", version=VERSION, hashes=hashes.available(), compressions=packing.available())
            with Inbox(wire) as inbox, scanning.pool() as workers:
                _Session(Path(state_dir), wire, inbox, workers).run()
        except XdrError as error:
            wire.report(error)
            return 1
        except OSError as error:
            wire.report(disk_error(error, str(error.filename or state_dir)))
            return 1
        return 0


class _Session:
    def __init__(self, state_dir: Path, wire: Wire, inbox: Inbox, workers: ThreadPoolExecutor) -> None:
        self.state_dir, self.wire, self.inbox, self.workers = state_dir, wire, inbox, workers
        hello = inbox.receive("hello")
        if hello.number("version") != VERSION:
            todo = "Install the same agent on both hosts (role site_agent)"
            raise XdrError(f"the source speaks protocol {hello.number('version')}, this host {VERSION}", todo=todo, code="protocol")
        self.site: Site = load_site(state_dir)
        self.plan: PlanOnHost = load_plan(state_dir, hello.text("plan"))
        self.pair = (hello.number("epoch"), hello.number("attempt"))
        self.run_id = hello.text("run_id")
        self.digest, self.compression = hello.text("hash"), hello.text("compression")
        hashes.function(self.digest)
        self.work, self.hello = hello.text("work"), hello
        with self.locked() as record, wire.working():
            settle(state_dir, self.plan, discard=False)
            self.targets = [self.target(item.text("name"), record) for item in hello.items("volumes")]
        if len({target.name for target in self.targets}) != len(self.targets):
            raise broken("a volume was announced twice", wire.peer)
        for target, item in zip(self.targets, hello.items("volumes")):
            target.check_size(item.number("size"))
        self._looking = threading.Thread(target=self._look, daemon=True)

    @contextmanager
    def locked(self) -> Iterator[Record]:
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

    def target(self, name: str, record: Record) -> Target:
        volume = self.plan.volumes.get(name)
        if volume is None or volume.driver != "delta":
            what = "is not registered here" if volume is None else f"has the driver {volume.driver} here, not delta"
            raise Refused(
                f"volume {name} {what}", where=self.plan.host, todo="Register the plan again on both sites", code="unknown_volume"
            )
        if not lies_in_roots(self.site, volume.path):  # it was when it was registered; a link may have been turned since
            where, todo = str(volume.path), "Correct its path, or xdr_volume_roots, and register the plan again"
            raise Refused(f"volume {name} lies outside the volume roots", where=where, todo=todo, code="outside_roots")
        folder = VolumeFolder(self.state_dir, self.plan.plan, volume)
        state = folder.load()
        if state.role != "target":
            todo = "Make it a target first (xdr_replication state=target)"
            raise Refused(f"volume {name} has the role {state.role} here", where=self.plan.host, todo=todo, code="wrong_role")
        return Target(folder, state.generation, blocks.size_at(volume.path), state.cycle, last_owned(record))

    def _look(self) -> None:
        """For processes that hold a volume open, beside the first frames: it takes as long as to receive some MiB."""
        try:
            refuse_open([target.path for target in self.targets], but=os.getpid())
        except XdrError as error:
            self.inbox.fail(error)
        except OSError as error:
            self.inbox.fail(disk_error(error, "/proc"))

    def run(self) -> None:
        self._looking.start()
        try:
            self._run()
        finally:
            self._looking.join()

    def _run(self) -> None:
        proofs = Proofs(self.wire, self.targets, self.digest, self.workers)
        steps: dict[str, Route] = {"compare": proofs.compare, "compared": self._compared, "extents": proofs.extents}
        if self.work == "verify":
            self.wire.send("ready")
            self._serve(steps)
            return
        receipt = Receipt(self)
        try:
            receipt.send_copies()
            self._serve({**steps, **receipt.steps} if self.work == "sync" else {})
        except (NotReached, OSError):
            receipt.close(keep=True)
            raise
        except BaseException as error:
            receipt.close(keep=isinstance(error, XdrError) and error.code in ("disk_full", "volume_in_use"))
            raise
        receipt.close(keep=False)

    def _serve(self, steps: dict[str, Route]) -> None:
        while True:
            frame = self.inbox.receive(*steps, "end")
            if frame.kind == "end":
                self._looking.join()
                self.inbox.check_heard(time.monotonic())
                self.wire.send("bye")
                return
            steps[frame.kind](frame)

    def named(self, frame: Frame) -> Target:
        """The volume that a frame is about."""
        position = frame.number("volume")
        if position >= len(self.targets):
            raise broken("a volume that was not announced", self.wire.peer)
        return self.targets[position]

    def check_unchanged(self, targets: list[Target], record: Record) -> None:
        """Under the lock. Raises Refused for a volume that another session has changed."""
        for target in targets:
            fresh = self.target(target.name, record)
            if (fresh.generation, fresh.size) != (target.generation, target.size):
                raise Refused(
                    f"volume {target.name} was changed since this cycle began",
                    where=self.plan.host,
                    todo="Run the cycle again",
                    code="overtaken",
                )

    def _compared(self, frame: Frame) -> None:
        target = self.named(frame)
        with self.locked() as record:
            self.check_unchanged([target], record)
            result = {"cycle": frame.number("cycle"), "at": frame.seconds("at"), "blocks": frame.number("blocks")}
            target.folder.save(replace(target.folder.load(), compared=result))
        self.wire.send("noted")
