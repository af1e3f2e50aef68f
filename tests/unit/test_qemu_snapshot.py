# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Cycles of volumes that a running qemu process writes all the time: one point in time, or told why not; and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.qemu import daemon, qmp, room, snapshot, view
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.qemu.qmp import Qmp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import processes
from tests.support.delta_pair import Pair, content
from tests.support.dependent_writes import PAGE, Guest, Model
from tests.support.processes import short_folder, wait_until
from tests.support.qemu_instance import Instance, Tracker

SIZE = 64  # blocks
PAGES = SIZE * BLOCK // PAGE
NAMES = ("orders", "customers")


class Ground:
    """A pair of sites whose unit of two volumes is written by ``instances``; equal after a full compare."""

    def __init__(self, stack: ExitStack, *, processes: int = 1, layered: bool = True, quiesce: Any = None) -> None:
        volumes = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xdr-", dir=Path(__file__).parent)))
        self.pair = pair = Pair(volumes, *NAMES, grows=True, quiesce=quiesce)
        for name in NAMES:
            pair.write(pair.source, name, content([1 + number % 5 for number in range(SIZE)]))
        pair.ready()
        groups = [NAMES] if processes == 1 else [[name] for name in NAMES]
        self.instances = []
        for group in groups:
            paths = {name: pair.path(pair.source, name) for name in group}
            self.instances.append(Instance(stack.enter_context(short_folder()), paths, layered=layered))
            stack.callback(self.instances[-1].close)
        self.model = Model(7, self.source())
        self.sync(compare=True)

    def sync(self, kind: type[Tracker] | None = None, **options: Any) -> dict[str, dict[str, Any]]:
        trackers = {name: tracker for instance in self.instances for name, tracker in instance.trackers(kind).items()}
        return {result["volume"]: result for result in self.pair.sync(trackers=trackers, final=False, **options)}

    @contextmanager
    def busy(self) -> Iterator[None]:
        """A guest writes to both volumes; in the end the model is where it stopped."""
        uris = [instance.uri(name) for instance in self.instances for name in instance.volumes]
        guest = Guest(self.model.seed, PAGES, uris, self.model.number + 1)
        try:
            yield
        finally:
            last = guest.stop()
        self.model.play(last)
        assert self.source() == self.model.disks, "each write of the guest is in the volumes"

    def source(self) -> list[bytes]:
        return [self.pair.read(self.pair.source, name) for name in NAMES]

    def target(self) -> list[bytes]:
        return [self.pair.read(self.pair.target, name) for name in NAMES]

    def left(self) -> list[str]:
        return [each for instance in self.instances for each in instance.left()]


@pytest.fixture(autouse=True)
def patient() -> Iterator[None]:
    """A machine that is busy with other things makes no snapshot fail here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "PATIENCE", 200)
        patch.setattr(qmp, "ANSWERS_WITHIN", 200.0)
        yield


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def ground(stack: ExitStack) -> Ground:
    return Ground(stack)


def verdicts(results: dict[str, dict[str, Any]]) -> set[tuple[bool, str]]:
    return {(result["crash_consistent"], result["how"]) for result in results.values()}


# one point in time


def test_each_cycle_of_a_busy_unit_is_a_state_that_was(ground: Ground) -> None:
    with ground.busy():
        for _ in range(4):
            results = ground.sync()
            assert verdicts(results) == {(True, "snapshot (qemu_bitmap)")}
            assert {result["method"] for result in results.values()} == {"tracked"}
            assert ground.model.is_at(ground.target())
            assert ground.left() == []
    assert verdicts(ground.sync()) == {(True, "snapshot (qemu_bitmap)")}
    assert ground.target() == ground.source()


class Overwritten(Tracker):
    """What is read is the moment of the mark: between that and the reading, the guest writes the whole volume anew."""

    def reader(self) -> int | None:
        fd = super().reader()
        self.instance.guest(self.disk, "write -P 77 0 3M", "discard 3M 512k", "write -z 3584k 512k")
        return fd


@pytest.mark.parametrize("compare", [False, True])
def test_what_is_written_after_the_mark_is_of_the_next_cycle(ground: Ground, compare: bool) -> None:
    for name in NAMES:
        ground.instances[0].guest(name, "write -P 5 100k 300k", "discard 1M 128k")
    before = ground.source()
    assert verdicts(ground.sync(Overwritten, compare=compare)) == {(True, "snapshot (qemu_bitmap)")}
    assert ground.target() == before
    results = ground.sync()
    assert ground.target() == ground.source() != before
    assert results["orders"]["method"] == "tracked"


def test_hooks_let_go_before_a_snapshot_is_read(stack: ExitStack) -> None:
    hooks = {"before": [["true"]], "after": [["touch", "{volume}.free"]]}
    ground = Ground(stack, quiesce=hooks)
    before = ground.source()
    free = [Path(f"{ground.pair.path(ground.pair.source, name)}.free") for name in NAMES]
    for path in free:
        path.unlink()

    class Read(Tracker):
        def release(self) -> None:
            assert all(path.exists() for path in free)
            super().release()

    assert verdicts(ground.sync(Read)) == {(True, "quiesced")}
    assert ground.target() == before


def test_hooks_that_let_go_are_no_proof_for_a_snapshot_that_was_lost(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "limit", lambda *_: room.LEAST)
    ground = Ground(stack, quiesce={"before": [["true"]], "after": [["true"]]})
    [(consistent, how)] = verdicts(ground.sync(Overwritten, compare=True))
    assert not consistent
    assert "orders, customers was written while it was read (no snapshot: it was lost" in how
    monkeypatch.setattr(room, "limit", lambda *_: 0)
    assert verdicts(ground.sync()) == {(True, "quiesced")}, "without a snapshot they are read while they are held"
    assert ground.target() == ground.source()


# no point in time


def test_without_a_raw_node_above_the_image_it_is_told(stack: ExitStack) -> None:
    ground = Ground(stack, layered=False)
    with ground.busy():
        [(consistent, how)] = verdicts(ground.sync())
    assert not consistent
    assert "was written while it was read (no snapshot: no raw node lies between the instance and its image" in how
    [(consistent, how)] = verdicts(ground.sync())
    assert consistent
    assert ground.target() == ground.source()


def test_two_processes_have_no_moment_in_common(stack: ExitStack) -> None:
    ground = Ground(stack, processes=2)
    with ground.busy():
        [(consistent, how)] = verdicts(ground.sync())
        assert not consistent
        assert "written while the snapshots were made, one after the other" in how
    settle(ground)
    assert verdicts(ground.sync()) == {(True, "snapshot (qemu_bitmap)")}, "nobody wrote from the first to the last"
    assert ground.target() == ground.source()
    assert ground.left() == []


def settle(ground: Ground) -> None:
    paths = [ground.pair.path(ground.pair.source, name) for name in NAMES]
    wait_until(lambda: all(time.time() - path.stat().st_ctime > 0.1 for path in paths), "the last write is past")


def test_a_snapshot_whose_room_is_full_is_lost_and_the_guest_never_knows(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "limit", lambda *_: room.LEAST)
    ground.instances[0].guest("customers", "write -P 5 100k 3M")
    [(consistent, how)] = verdicts(ground.sync(Overwritten))
    assert not consistent
    assert "no snapshot: it was lost while it was read" in how
    assert ground.left() == []
    monkeypatch.undo()
    ground.sync()
    assert ground.target() == ground.source()


def test_a_busy_unit_whose_rooms_are_small_ends_as_it_says(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the room is enough is a matter of luck here."""
    monkeypatch.setattr(room, "limit", lambda *_: room.LEAST)
    with ground.busy():
        for _ in range(3):
            [(consistent, _)] = verdicts(ground.sync(compare=True))
            assert not consistent or ground.model.is_at(ground.target())
            assert ground.left() == []
    ground.sync()
    assert ground.target() == ground.source()


def no_room(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(room, "limit", lambda *_: room.LEAST - 512)
    return "too little free space"


def no_daemon(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(daemon, "PROGRAM", "no-such-program")
    return "no-such-program"


def no_fuse(monkeypatch: pytest.MonkeyPatch) -> str:
    argv = view._argv
    monkeypatch.setattr(view, "_argv", lambda *of: [word.replace('"type": "fuse"', '"type": "none"') for word in argv(*of)])
    return "none"


def too_old(monkeypatch: pytest.MonkeyPatch) -> str:
    execute = Qmp.execute

    def old(self: Qmp, command: str, arguments: dict[str, Any] | None = None) -> Any:
        if (arguments or {}).get("driver") in ("copy-before-write", "snapshot-access"):
            arguments = {**(arguments or {}), "driver": "unheard-of"}
        return execute(self, command, arguments)

    monkeypatch.setattr(Qmp, "execute", old)
    return "unheard-of"


@pytest.mark.parametrize("lacking", [no_room, no_daemon, no_fuse, too_old])
def test_what_stands_in_the_way_is_told_and_the_cycle_goes_on(ground: Ground, monkeypatch: pytest.MonkeyPatch, lacking: Any) -> None:
    why = lacking(monkeypatch)
    with ground.busy():
        [(consistent, how)] = verdicts(ground.sync())
        assert not consistent
        assert why in how
        assert ground.left() == []
    [(consistent, _)] = verdicts(ground.sync())
    assert consistent, "nobody wrote meanwhile"
    assert ground.target() == ground.source()


class Stopped(Tracker):
    """The instance ends between mark and reading."""

    def reader(self) -> int | None:
        fd = super().reader()
        if self.disk == "customers":
            self.instance.stop()
        return fd


def test_an_instance_that_stops_keeps_its_marks_and_the_cycle_goes_on(ground: Ground) -> None:
    for name in NAMES:
        ground.instances[0].guest(name, "write -P 5 100k 300k")
    [(consistent, _)] = verdicts(ground.sync(Stopped))
    assert consistent, "nobody wrote meanwhile"
    assert ground.target() == ground.source()
    ground.instances[0].start()
    for name in NAMES:
        ground.instances[0].guest(name, "write -P 6 100k 300k")
    results = ground.sync()
    assert {result["method"] for result in results.values()} == {"tracked"}
    assert ground.target() == ground.source()
    assert ground.left() == []


# killed


class Killed(Tracker):
    def reader(self) -> int | None:
        super().reader()
        if self.disk == "customers":
            os.kill(os.getpid(), signal.SIGKILL)
        return None


def test_what_a_killed_agent_left_in_the_instance_is_removed_by_the_next_cycle(ground: Ground) -> None:
    with ground.busy():
        killed(ground, lambda: ground.sync(Killed))
        assert any("filter" in name for name in ground.left())
        assert verdicts(ground.sync()) == {(True, "snapshot (qemu_bitmap)")}
        assert ground.model.is_at(ground.target())
        assert ground.left() == []
        killed(ground, lambda: ground.sync(Killed))
    ground.pair.turn(ground.pair.source, "promoted")
    for tracker in ground.instances[0].trackers().values():
        tracker.forget()
    assert ground.left() == []


@pytest.mark.parametrize("end", ["alive", "dead"])
@pytest.mark.root("tmpfs")
def test_a_mount_that_was_left_is_removed(ground: Ground, stack: ExitStack, end: str) -> None:
    """Ours are killed between the moment that it is mounted and the moment that it is taken out of the tree again."""
    image = ground.instances[0].images["orders"]
    place = view.place_of(image)
    place.touch()
    node = {"driver": "null-co", "node-name": "view", "size": BLOCK}
    export = {"type": "fuse", "id": "view", "node-name": "view", "mountpoint": str(place)}
    left = subprocess.Popen(["qemu-storage-daemon", "--blockdev", json.dumps(node), "--export", json.dumps(export)], start_new_session=True)
    stack.callback(processes.end, left)
    wait_until(lambda: place.stat().st_dev != place.parent.stat().st_dev, "it is mounted")
    if end == "dead":
        left.kill()
        left.wait()
    assert verdicts(ground.sync()) == {(True, "snapshot (qemu_bitmap)")}
    assert ground.left() == []


@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(command=st.integers(1, 150))
def test_an_agent_that_is_killed_at_any_command(ground: Ground, command: int) -> None:
    with ground.busy():
        killed(ground, lambda: _dying_at(ground, command))
        assert verdicts(ground.sync()) == {(True, "snapshot (qemu_bitmap)")}
        assert ground.model.is_at(ground.target())
        assert ground.left() == []


def _dying_at(ground: Ground, command: int) -> None:
    execute, left = Qmp.execute, [command]

    def counted(self: Qmp, *arguments: Any) -> Any:
        left[0] -= 1
        answer = execute(self, *arguments)
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    Qmp.execute = counted  # type: ignore[method-assign]
    ground.sync()


def killed(ground: Ground, work: Any) -> None:
    """In a child, which is killed, or ends by itself."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert all(instance.process.poll() is None for instance in ground.instances)
