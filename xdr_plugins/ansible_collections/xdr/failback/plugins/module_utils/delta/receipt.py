# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The receiving of a cycle: the digests of the copies go to the source, its blocks come into the spool, and are committed."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from .. import parallel
from ..durable import Steps, Wait, together
from ..errors import XdrError
from . import apply, blocks, hashes, identity, manifest, packing, pages, spool, undo
from .apply import Incoming, commit_and_apply, spool_dir
from .beside import Beside
from .blocks import BLOCK, Content, Range
from .inbox import Route
from .keeping import Keeping
from .manifest import Header
from .overlay import Overlay
from .spool import Spool
from .target import Target
from .wire import Frame, broken

if TYPE_CHECKING:
    from .receiver import _Session

MARGIN = 1 << 20  # bytes that stay free
WAITERS = 8  # volumes that are looked at at the same time


class Receipt:
    """One session's cycle. ``steps``: what is done with each kind of frame."""

    def __init__(self, session: _Session) -> None:
        self._session, self._wire = session, session.wire
        self._folder = spool_dir(session.state_dir, session.plan.plan)
        self._digest = hashes.function(session.digest)
        self._incoming: list[Incoming] = []
        self._scanner: threading.Thread | None = None
        self._keepings: dict[int, Keeping] = {}
        self._keeper = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keep")
        self._spool = self._resumed() or self._fresh()
        self.steps: dict[str, Route] = {
            "begin": self._begin,
            "blocks": self._blocks,
            "pages": self._pages,
            "patches": self._patches,
            "zeros": self._zeros,
            "unit": self._unit,
            "commit": self._commit,
        }

    # -- the spool --------------------------------------------------------------------------------------------------

    def _named(self) -> list[dict[str, object]]:
        return [{"name": target.name, "generation": target.generation} for target in self._session.targets]

    def _fresh(self) -> Spool:
        return Spool.create(self._folder, self._session.digest, self._named())

    def _resumed(self) -> Spool | None:
        """The newest spool of a session that was cut off, if it is about these volumes as they are; others of them are removed."""
        found = None
        for path in spool.abandoned(self._folder):
            one = spool.resume(path)
            if one is None:
                continue
            if found is None and self._session.work == "sync" and self._fits(one):
                found = one
                continue
            if self._is_outdated(one):
                one.discard_uncommitted()
            one.close()
        if found:
            for position, target in enumerate(self._session.targets):
                came = Overlay(target.folder.path, (entry for entry in found.entries() if entry.volume == position))
                target.resumed = came if came.stop else None
        return found

    def _fits(self, one: Spool) -> bool:
        return one.volumes == self._named() and one.digest == self._session.digest and not one.empty

    def _is_outdated(self, one: Spool) -> bool:
        """Whether a volume of it is one of this session's: what came for it is no use any more."""
        mine = {target.name for target in self._session.targets}
        return self._session.work == "sync" and any(volume["name"] in mine for volume in one.volumes)

    def close(self, *, keep: bool) -> None:
        """``keep`` what came, for a session that goes on."""
        if self._scanner:
            self._scanner.join()
        for keeping in self._keepings.values():
            keeping.close()
        self._keeper.shutdown()
        for target in self._session.targets:
            if target.resumed:
                target.resumed.close()
        if not keep or self._spool.empty:
            self._spool.discard_uncommitted()
        self._spool.close()

    # -- what is there ----------------------------------------------------------------------------------------------

    def send_copies(self) -> None:
        """What is kept of each copy; the digests that the source needs follow while its blocks come already."""
        session = self._session
        rescan = session.hello.flag("rescan")
        with self._wire.working():
            states = [item.text("state") for item in session.hello.items("volumes")]
            both = zip(session.targets, states)
            parallel.each(lambda each: each[0].compare_states(each[1], session.digest, rescan=rescan), both, most=WAITERS)
        self._wire.send("copies", volumes=[_told(target) for target in session.targets])
        if session.work == "sync":
            self._scanner = threading.Thread(target=self._stream, daemon=True)
            self._scanner.start()

    def _stream(self) -> None:
        session = self._session
        try:
            for position, target in enumerate(session.targets):
                if target.streamed:
                    with contextlib.closing(target.digests(session.digest, session.workers)) as found:
                        for first, digests in found:
                            self._wire.send("digests", digests, volume=position, first=first)
                target.told.set()
        except XdrError as error:
            session.inbox.fail(error)
        except OSError as error:
            session.inbox.fail(apply.disk_error(error, str(target.path)))
        finally:
            for target in session.targets:
                target.told.set()

    # -- what comes -------------------------------------------------------------------------------------------------

    def _begin(self, frame: Frame) -> None:
        target, size = self._session.named(frame), frame.number("size")
        target.check_size(size)
        if not target.path.parent.is_dir():
            todo = "Make it or mount it, then run the cycle again"
            raise XdrError("the folder of the volume is missing", where=str(target.path.parent), todo=todo)
        self._check_space(target, frame.number("expected"))
        target.begin()
        target.new_size = size
        self._begin_keeping(frame.number("volume"), target)

    def _begin_keeping(self, position: int, target: Target) -> None:
        if target.size is None or position in self._keepings:
            return
        states = self._session.hello.number("recovery_points")
        keeping = Keeping(target.folder, target.size, epoch=target.epoch, states=states, worker=self._keeper, identity=target.identity)
        self._keepings[position] = keeping
        if target.resumed:
            before = self._spool
            keeping.take(entry.run for entry in before.entries() if entry.volume == position)

    def _add(self, position: int, data: Sequence[tuple[Range, Content, Content]], zeros: Sequence[Range] = ()) -> None:
        self._spool.add(position, data, zeros)
        if position in self._keepings:
            self._keepings[position].take([*(run for run, _, _ in data), *zeros])

    def _check_space(self, target: Target, expected: int) -> None:
        """Raises XdrError where the spool of what is expected, and a new volume, cannot fit."""
        for folder, needed in ((self._folder, expected), (target.path.parent, expected if target.size is None else 0)):
            space = os.statvfs(folder)
            free = space.f_bavail * space.f_frsize
            if needed and free < needed + MARGIN:
                what = f"{free} bytes are free and {needed + MARGIN} bytes are needed"
                todo = "Free space there and run the cycle again; no volume was changed"
                raise XdrError(f"the disk is full: {what}", where=str(folder), todo=todo, code="disk_full")

    def _blocks(self, frame: Frame) -> None:
        target = self._session.named(frame)
        data = []
        for run, content in packing.unpacked(frame, target.new_size, self._session.compression):
            digests = spool.digests_of(content, self._digest, run[1])
            target.lineage.data(run, digests)
            data.append((run, digests, content))
        self._add(frame.number("volume"), data)

    def _pages(self, frame: Frame) -> None:
        """Which pages some blocks of the copy have."""
        target = self._session.named(frame)
        asked = frame.ranges((target.size or 0) // BLOCK)
        if sum(number for _, number in asked) > pages.MAX_BLOCKS:
            raise broken("too many pages at once", self._wire.peer)
        with target.opened() as fd:
            self._wire.send("pages", *pages.of_copy(fd, asked, self._digest), volume=frame.number("volume"))

    def _patches(self, frame: Frame) -> None:
        target = self._session.named(frame)
        data = []
        with target.opened() as fd:
            for run, content in pages.patched(frame, fd, min(target.size or 0, target.new_size) // BLOCK):
                digests = self._digest(content)
                target.lineage.data(run, digests)
                data.append((run, digests, content))
        self._add(frame.number("volume"), data)

    def _zeros(self, frame: Frame) -> None:
        target = self._session.named(frame)
        ranges = frame.ranges(blocks.count(target.new_size))
        for run in ranges:
            target.lineage.zeros(run)
        self._add(frame.number("volume"), [], ranges)

    def _unit(self, frame: Frame) -> None:
        """A unit is complete, if what came makes the source's volumes."""
        items = frame.items("volumes")
        targets = [self._session.named(item) for item in items]
        names = {target.folder.volume.unit for target in targets}
        if len({target.name for target in targets}) != len(items) or len(names) != 1:
            raise XdrError(
                "the volumes of this cycle are no unit here", where=self._session.plan.host, todo="Register the plan again on both sites"
            )
        cycle = frame.number("cycle")
        for target, item in zip(targets, items):
            if target.new_size != item.number("size") or target.lineage.state(target.new_size, cycle) != item.text("state"):
                raise XdrError("what arrived does not make the source's volumes", todo="Run the cycle again", code="not_equal")
            self._incoming.append(
                Incoming(
                    position=item.number("volume"),
                    folder=target.folder,
                    size=target.new_size,
                    state=item.text("state"),
                    cycle=cycle,
                    read_started=frame.seconds("read_started"),
                    consistent=frame.flag("consistent"),
                    how=frame.text("how"),
                    span=self._spool.span(item.number("volume")),
                    keeping=self._keepings.get(item.number("volume")),
                )
            )

    # -- what is kept -----------------------------------------------------------------------------------------------

    def _commit(self, frame: Frame) -> None:
        session, received, incoming = self._session, self._spool, self._incoming
        targets = [session.targets[each.position] for each in incoming]
        if not incoming:
            raise broken("a commit of nothing", self._wire.peer)
        for target in targets:
            target.told.wait()  # a scan of it is kept before the cycle changes it
        fresh = [target.size is None for target in targets]
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._wire.working())
            for keeping in self._keepings.values():  # before the lock: others need not wait for it
                keeping.finish()
            record = stack.enter_context(session.locked())
            session.check_unchanged(targets, record)
            points = session.hello.number("recovery_points")
            done = commit_and_apply(received, incoming, {"pair": list(session.pair)}, record.epoch, points, self._carry_over)
            self._wire.send("applied", cycle=incoming[0].cycle, applied_at=incoming[0].folder.load().applied_at)
            with Beside(lambda: spool.finish(done)):
                together(self._keeping_digests(received, *each) for each in zip(incoming, targets, fresh))
            if points and not session.hello.flag("final"):  # a downtime does not wait for this
                for each in incoming:
                    undo.rotate(each.folder.undo, points)
        received.close()
        for each in incoming:
            if each.keeping:
                each.keeping.close()
                del self._keepings[each.position]
        self._incoming = []

    def _carry_over(self) -> None:
        """A new spool, with what has come for volumes that are not complete yet."""
        done = {each.position: each for each in self._incoming}
        for position, each in done.items():
            target = self._session.targets[position]
            target.generation, target.size, target.identity = each.before.generation + 1, each.size, None
        before, self._spool = self._spool, self._fresh()
        for entry in before.entries() if before.holds_others(done) else ():
            if entry.volume not in done and entry.nbytes:
                content = os.pread(before.fd, entry.nbytes, entry.at)
                self._spool.add(entry.volume, [(entry.run, entry.digests, content)])
            elif entry.volume not in done:
                self._spool.add(entry.volume, [], [entry.run])

    def _keeping_digests(self, received: Spool, incoming: Incoming, target: Target, fresh: bool) -> Steps[None]:
        """So that the next cycle need not read the volume; the source has been told already, for this may fail without harm."""
        path, digest = incoming.folder.manifest, self._session.digest
        found = apply.changes(received.entries, incoming)
        with contextlib.ExitStack() as files:
            fd = os.open(incoming.path, os.O_RDONLY | os.O_CLOEXEC)
            files.callback(os.close, fd)
            written: list[Wait] = [(os.fsync, fd)]

            def header() -> Header:
                return Header(digest, incoming.size, incoming.cycle, incoming.state, "", identity.look_after_sync(fd), target.epoch)

            if fresh:
                draft = manifest.Draft(path)
                for first, digests in found:
                    draft.put(first, digests)
                yield written
                yield from draft.publishing(header())
            elif not (yield from manifest.updating(path, digest, header, found, written)):
                incoming.folder.forget_content()


def _told(target: Target) -> dict[str, object]:
    return {
        "name": target.name,
        "exists": target.size is not None,
        "size": target.size or 0,
        "blocks": target.digests_due if target.streamed else 0,
        "cycle": target.cycle,
        "state": target.state,
        "base": target.base,
        "streamed": target.streamed,
        "kept": target.kept,
        "patchable": target.size is not None and target.resumed is None,
        "why": target.why,
        "uncompared": target.folder.load().compared is None,
    }
