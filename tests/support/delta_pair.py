# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Two site hosts with the same volumes, and a delta sync between them over pipes."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from ansible_collections.xdr.failback.plugins.module_utils import attempt
from ansible_collections.xdr.failback.plugins.module_utils import record as records
from ansible_collections.xdr.failback.plugins.module_utils.delta import compare, identity, sender
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.delta.receiver import serve
from ansible_collections.xdr.failback.plugins.module_utils.delta.roles import Replication, steps
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.progress import Progress
from ansible_collections.xdr.failback.plugins.module_utils.site import load_plan
from ansible_collections.xdr.failback.plugins.module_utils.transfer import Job

from tests.support.site_host import SiteHost

PLAN = "webshop"
PAIR = (2, 1)
Content = list[int]  # a number for each block: 0 is zeros


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A new folder, in memory where the machine has that: an fsync costs nothing there."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="xdr-", dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


def content(blocks: Content, tail: int = 0) -> bytes:
    """Bytes of a volume: blocks that differ where their numbers do, and a short last block of ``tail`` bytes."""
    whole = b"".join(number.to_bytes(4, "big") * (BLOCK // 4) for number in blocks)
    return whole[: len(whole) - BLOCK + tail] if tail and blocks else whole


def write_sparse(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        for at in range(0, len(data), BLOCK):
            if data[at : at + BLOCK].strip(b"\0"):
                stream.seek(at)
                stream.write(data[at : at + BLOCK])
        stream.truncate(len(data))


class Pair:
    """The DR site owns the plan and is the source; the primary site is the target. Without ``unit`` each volume is one of its own."""

    def __init__(self, folder: Path, *volumes: str, grows: bool = False, unit: str = "database", quiesce: Any = None) -> None:
        self.volumes = list(volumes)
        self.source, self.target = (SiteHost(folder / name / "state", plan=PLAN, site=name) for name in ("dr", "primary"))
        for host, epoch_owner in ((self.source, "accepted"), (self.target, "superseded")):
            (host.state_dir.parent / "volumes").mkdir(parents=True)
            host.write_site(volume_roots=[str(host.state_dir.parent / "volumes")])
            host.write_plan(volumes={name: self._volume(host, name, grows, unit, quiesce) for name in volumes})
            history = [{"epoch": 2, "owner": "dr", "how": "attested", "attempt": [2, 1], "at": 1.0, "by": "a", "text": "b"}]
            host.write_record(epoch=2, owner="dr", standing=epoch_owner, attempt=PAIR, history=history)

    def _volume(self, host: SiteHost, name: str, grows: bool, unit: str, quiesce: Any) -> dict[str, Any]:
        own = {"path": str(self.path(host, name)), "driver": "delta", "grows": grows, "resource": name, "group": "database"}
        return {**own, "quiesce": quiesce if host is self.source else None, "unit": unit or name, "peer": "other"}

    def path(self, host: SiteHost, name: str) -> Path:
        return host.state_dir.parent / "volumes" / f"{name}.img"

    def write(self, host: SiteHost, name: str, data: bytes) -> None:
        write_sparse(self.path(host, name), data)

    def read(self, host: SiteHost, name: str) -> bytes:
        return self.path(host, name).read_bytes()

    def both(self, host: SiteHost) -> list[bytes | None]:
        return [self.read(host, name) if self.path(host, name).exists() else None for name in self.volumes]

    def replication(self, host: SiteHost, name: str) -> Replication:
        return Replication(host.state_dir, load_plan(host.state_dir, PLAN), name)

    def turn(self, host: SiteHost, state: str, point: str = "") -> bool:
        """As xdr_replication does; whether something changed."""
        with attempt.held(host.state_dir, PLAN, PAIR) as holding:
            todo = {}
            for name in self.volumes:
                here = self.replication(host, name)
                here.check(state, holding.record)
                todo[name] = steps(here.situation(), state, point)
            for name in self.volumes:
                self.replication(host, name).apply(todo[name])
        return any(todo.values())

    def ready(self, point: str = "") -> Pair:
        self.turn(self.source, "source")
        self.turn(self.target, "target", point)
        return self

    @contextmanager
    def job(self, pair: tuple[int, int] = PAIR, **options: Any) -> Iterator[Job]:
        """In memory nobody can tell that a volume was not written meanwhile, so there it is said to be at rest."""
        state_dir = self.source.state_dir
        options = {"final": bool(identity.believed(state_dir / "site.json") or identity.file_system(state_dir) == "tmpfs"), **options}
        with attempt.tracked(state_dir, PLAN, pair) as holding:
            yield Job(load_plan(state_dir, PLAN), state_dir, pair, holding.locked, Progress(state_dir, "", "h"), **options)

    def send(
        self, reader: BinaryIO, writer: BinaryIO, *, verify: bool = False, work: Any = None, names: list[str] | None = None, **options: Any
    ) -> Any:
        results: list[dict[str, Any]] = []
        work = work or (compare.verify if verify else sender.synchronise)
        with self.job(**options) as job:
            volumes = [job.plan.volumes[name] for name in names or self.volumes]
            work(job, volumes, reader, writer, "other", results)
        return results

    def sync(self, **options: Any) -> list[dict[str, Any]]:
        """A cycle, the receiver in a thread."""
        return self.through(lambda down: down, lambda up: up, **options)

    def through(self, down: Callable[[BinaryIO], BinaryIO], up: Callable[[BinaryIO], BinaryIO], **options: Any) -> list[dict[str, Any]]:
        """A cycle whose streams (source → target, target → source) go through something."""
        (down_in, down_out), (up_in, up_out) = pipe(), pipe()
        far_in, near_in = down(down_in), up(up_in)

        def receive() -> None:
            try:
                serve(self.target.state_dir, far_in, up_out)
            finally:
                up_out.close()
                far_in.close()

        receiver = threading.Thread(target=receive)
        receiver.start()
        try:
            found: list[dict[str, Any]] = self.send(near_in, down_out, **options)
            return found
        finally:
            down_out.close()
            receiver.join(30)
            near_in.close()
            assert not receiver.is_alive()


def gone_on(folder: Path, old: dict[str, bytes], new: dict[str, bytes]) -> Pair:
    """One unit of two volumes, in the old state at both ends, a recovery point open, the source gone on to the new state."""
    pair = Pair(folder, "orders", "customers", grows=True)
    for name, data in old.items():
        pair.write(pair.source, name, data)
    pair.ready()
    pair.sync()
    pair.turn(pair.target, "target", "before-reverse")
    for name, data in new.items():
        pair.write(pair.source, name, data)
    return pair


def pipe() -> tuple[BinaryIO, BinaryIO]:
    reader, writer = os.pipe()
    return os.fdopen(reader, "rb", 0), os.fdopen(writer, "wb", 0)


def cut_after(nbytes: int) -> Callable[[BinaryIO], BinaryIO]:
    """A stream that ends after so many bytes, for both of its ends."""

    def through(source: BinaryIO) -> BinaryIO:
        reader, writer = pipe()

        def copy() -> None:
            left = nbytes
            with source, writer:
                while left and (chunk := source.read(min(left, 4096))):
                    writer.write(chunk)
                    left -= len(chunk)

        threading.Thread(target=copy, daemon=True).start()
        return reader

    return through


DURABLE = {"pwrite", "pwritev", "fsync", "ftruncate", "replace", "unlink", "rmdir", "mkdir"}


def in_killed_child(work: Callable[[], object], call: int, *, started: Callable[[], object] = lambda: None) -> bool:
    """Do the work in a child that is killed before its ``call``-th system call that matters. Whether it got to its end.

    ``started`` runs here once the child is on its way: threads are begun after the fork.
    """
    child = os.fork()
    if not child:
        calls = itertools.count(1)  # over all threads

        def watch(frame: FrameType, event: str, function: Any) -> None:
            if event == "c_call" and function.__name__ in DURABLE and next(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)

        code = 1
        try:
            threading.setprofile(watch)
            sys.setprofile(watch)
            work()
            code = 0
        finally:
            os._exit(code)
    started()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the work failed by itself"
    return not os.WIFSIGNALED(status)


def receive_in_killed_child(pair: Pair, kill_at: int) -> bool:
    """The receiver in a child that is killed at a call; whether it came to its end."""
    (down_in, down_out), (up_in, up_out) = pipe(), pipe()
    with down_in, down_out, up_in, up_out:

        def child() -> None:
            down_out.close()
            up_in.close()
            assert serve(pair.target.state_dir, down_in, up_out) == 0

        failed = threading.Event()

        def send() -> None:
            try:
                pair.send(up_in, down_out)
            except XdrError:
                failed.set()

        sender = threading.Thread(target=send)
        ended = in_killed_child(child, kill_at, started=lambda: (down_in.close(), up_out.close(), sender.start()))
        sender.join(30)
        assert not sender.is_alive()
        assert ended or failed.is_set() or kill_at > 1
    return ended


def own(host: SiteHost, owner: str, epoch: int) -> None:
    """The plan moves on: ``owner`` accepts ``epoch``."""
    entry = {"epoch": epoch, "owner": owner, "how": "handover", "attempt": [2, 1], "at": 1.0, "by": "", "text": ""}
    standing = "accepted" if owner == host.site else "superseded"
    record = host.record
    host.write_record(epoch=epoch, owner=owner, standing=standing, attempt=record.attempt, history=[*record.history, entry])
    assert records.load(host.state_dir, PLAN).epoch == epoch
