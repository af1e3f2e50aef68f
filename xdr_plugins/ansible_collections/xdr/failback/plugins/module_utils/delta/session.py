# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The source's end of a channel: what both ends agree on, and what the target says of its copies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from ..errors import XdrError
from ..site import VolumeOnHost
from ..transfer import Job
from . import blocks, hashes, packing
from .blocks import Range
from .inbox import Answers, Digests, Inbox
from .manifest import Manifest
from .pages import Probe
from .reading import Copy
from .state import VolumeFolder
from .wire import VERSION, Frame, Wire, broken, packed

_UNTOLD = 1 << 58  # blocks; how many digests come is said in the answer before them
SILENCE = 120.0  # seconds without a frame from the target; it sends one every 5 s while it works


class Session:
    """``digest`` and ``compression`` are the names that both ends have."""

    def __init__(self, job: Job, volumes: list[VolumeOnHost], wire: Wire, digest: str, compression: str) -> None:
        self.job, self.volumes, self.wire, self.digest, self.compression = job, volumes, wire, digest, compression
        self.inbox = Inbox(wire, {"digests": self._put, "pages": self._put_pages})
        self._digests: dict[int, Digests] = {}
        self.probe = Probe()
        self._pages = [Answers(lambda: self.inbox) for _ in volumes]

    def folder(self, volume: VolumeOnHost) -> VolumeFolder:
        return VolumeFolder(self.job.state_dir, self.job.plan.plan, volume)

    def position(self, volume: VolumeOnHost) -> int:
        return self.volumes.index(volume)

    def expect_copies(self) -> None:
        """Before the hello: the target's answer and its digests may come before anybody asks for them here."""
        for position in range(len(self.volumes)):
            self._expect(position, _UNTOLD)

    def copies(self) -> dict[str, Copy]:
        """What the target has of each volume; the digests that it sends follow by themselves."""
        items = self.inbox.receive("copies").items("volumes")
        if [item.text("name") for item in items] != [volume.name for volume in self.volumes]:
            raise XdrError("the target answered for other volumes", where=self.wire.peer, code="protocol")
        for position, item in enumerate(items):
            self._digests[position].expect(item.number("blocks") if item.flag("streamed") else 0)
        return {item.text("name"): _copy(item, self._digests[position]) for position, item in enumerate(items)}

    def ask(self, kind: str, volume: VolumeOnHost, total: int, *payload: bytes, **fields: Any) -> Digests:
        """Ask for the digests of ``total`` blocks, which come one after the other."""
        digests = self._expect(self.position(volume), total)
        self.wire.send(kind, *payload, volume=self.position(volume), **fields)
        return digests

    def ask_pages(self, position: int, of: list[Range]) -> int:
        """Ask for the digests of the pages of some blocks, return the bytes that this took. See ``pages``."""
        self._pages[position].expect()
        return self.wire.send("pages", packed(of), volume=position)

    def pages(self, position: int) -> Frame:
        """The answer to the oldest question that has none yet."""
        return self._pages[position].next()

    def _expect(self, position: int, total: int) -> Digests:
        if position in self._digests:
            self._digests[position].close()
        digests = Digests(self.folder(self.volumes[position]).path, total, lambda: self.inbox)
        self._digests[position] = digests
        return digests

    def _put(self, frame: Frame) -> None:
        position = frame.number("volume")
        if position not in self._digests:
            raise broken("digests of a volume that is not in this session", self.wire.peer)
        self._digests[position].put(frame)

    def _put_pages(self, frame: Frame) -> None:
        position = frame.number("volume")
        if position >= len(self._pages):
            raise broken("pages of a volume that is not in this session", self.wire.peer)
        self._pages[position].put(frame)

    def close(self) -> None:
        for digests in self._digests.values():
            digests.close()


def _copy(item: Frame, digests: Digests) -> Copy:
    size = item.number("size") if item.flag("exists") else None
    return Copy(
        size=size,
        cycle=item.number("cycle"),
        state=item.text("state"),
        base=item.text("base"),
        agreed=not item.flag("streamed") and item.flag("exists"),
        kept=item.flag("kept"),
        why=item.text("why"),
        digests=digests,
        patchable=item.flag("patchable"),
        uncompared=item.flag("uncompared"),
    )


@contextmanager
def opened(job: Job, volumes: list[VolumeOnHost], reader: BinaryIO, writer: BinaryIO, peer: str, *, work: str) -> Iterator[Session]:
    """A session for ``work`` (sync, verify or preview) over a channel to the peer's agent."""
    wire = Wire(reader, writer, peer=peer, timeout=SILENCE)
    with contextlib.closing(wire):
        greeting = wire.receive("greeting")
        if greeting.number("version") != VERSION:
            todo = "Install the same agent on both hosts (role site_agent)"
            raise XdrError(f"the target speaks protocol {greeting.number('version')}, this host {VERSION}", todo=todo, code="protocol")
        digest = hashes.agreed(greeting.texts("hashes"))
        session = Session(job, volumes, wire, digest, packing.agreed(job.compression, greeting.texts("compressions")))
        with contextlib.closing(session), session.inbox:
            if work != "verify":  # which asks for the digests that it wants
                session.expect_copies()
            wire.send("hello", **_hello(session, work))
            yield session
            wire.send("end")
            session.inbox.receive("bye")


def _hello(session: Session, work: str) -> dict[str, Any]:
    job = session.job
    epoch, attempt = job.pair
    options = {"work": work, "final": job.final, "rescan": job.rescan, "recovery_points": job.recovery_points}
    agreed = {"version": VERSION, "hash": session.digest, "compression": session.compression}
    volumes = [_announced(session, volume) for volume in session.volumes]
    return {**agreed, **options, "plan": job.plan.plan, "run_id": job.run_id, "epoch": epoch, "attempt": attempt, "volumes": volumes}


def _announced(session: Session, volume: VolumeOnHost) -> dict[str, Any]:
    size = blocks.size_at(volume.path)
    if size is None:
        todo = "See that the plan's path is right and the volume is mounted"
        raise XdrError(f"volume {volume.name} is missing", where=str(volume.path), todo=todo, code="no_volume")
    own = Manifest.load(session.folder(volume).manifest)
    state = ""
    if own:
        state = own.header.state if own.header.hash == session.digest else ""
        own.close()
    return {"name": volume.name, "size": size, "state": state}
