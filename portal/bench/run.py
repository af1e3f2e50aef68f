# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Takes the measurements: each from the same state (target old, source changed), the ways of one scene in turn, medians in the end."""

from __future__ import annotations

import json
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .. import PROJECT
from . import engine, peer, volumes
from .ground import PAIR, PLAN, End, Ground
from .limits import Limits
from .memory import Peak
from .rows import PEER, Taken
from .scenes import Scene
from .sender import Order
from .started import failure, started
from .volumes import NEW, OLD
from .work import Least, least, work

LOOK = 0.05  # seconds between two looks at memory
TIMEOUT = 3600.0  # seconds for one cycle
SLACK = 1 << 20  # bytes that a copy may take on disk beyond the source, besides 2 %

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Once:
    """One measurement; peaks in bytes."""

    seconds: float
    wire_bytes: int
    peak_source: int = 0
    peak_target: int = 0
    lost_holes: int = 0


class Bench:
    def __init__(self, ground: Ground, limits: Limits, tell: Tell) -> None:
        self.ground, self.limits, self._tell = ground, limits, tell
        self._base: list[object] = []

    def scene(self, scene: Scene, those: list[str], repeat: int) -> dict[str, Taken]:
        """Medians by who, rsync or a mode; they take turns. Raises XdrError when a target does not end up equal."""
        self._lay(scene)
        found: dict[str, list[Once]] = {who: [] for who in those}
        for number in range(repeat):
            for who in those:
                found[who].append(once := self._once(scene, who))
                self._tell(f"{scene.name} {who} {number + 1}/{repeat}: {once.seconds:.3f} s, {once.wire_bytes} bytes on the wire")
        self._patch(scene, "old", self.ground.source, self.ground.target)
        return {who: self._taken(scene, who, several) for who, several in found.items()}

    def _taken(self, scene: Scene, who: str, several: list[Once]) -> Taken:
        return Taken(
            statistics.median(once.seconds for once in several),
            round(statistics.median(once.wire_bytes for once in several)),
            max(once.peak_source for once in several),
            max(once.peak_target for once in several),
            None if who == PEER else self._least(scene, who),
            max(once.lost_holes for once in several),
            scene.changed_bytes,
        )

    def _least(self, scene: Scene, mode: str) -> Least:
        amounts = {"used": scene.used_bytes, "changed": scene.changed_bytes, "piece": scene.piece}
        return least(work(mode, **amounts, cold=scene.cold, first=scene.first), self.limits)

    # -- the state before a measurement --------------------------------------------------------------------------

    def _lay(self, scene: Scene) -> None:
        """Volumes in their old version at both ends, and the contents of both versions where they change."""
        ground = self.ground
        if scene.base != self._base:
            self._tell(f"{scene.name}: making {scene.used_bytes >> 20} MiB of volumes")
            self._base = []
            ground.clear()
            for volume in scene.volumes:
                volumes.lay(ground.source.volume(volume.name), volume)
                if not scene.first:
                    volumes.copy(ground.source.volume(volume.name), ground.target.volume(volume.name))
            ground.register(scene.volumes)
            self._base = scene.base
        for volume in scene.volumes:
            for version, name in ((OLD, "old"), (NEW, "new")):
                volumes.write_patch(ground.folder / f"{volume.name}.{name}", volume, version)

    def _patch(self, scene: Scene, version: str, *ends: End) -> None:
        for volume in scene.volumes if not scene.first else ():
            for end in ends:
                volumes.apply_patch(self.ground.folder / f"{volume.name}.{version}", volume, end.volume(volume.name))

    def _restore(self, scene: Scene) -> None:
        """Both ends have the old version; at a first copy the target has none."""
        self._patch(scene, "old", self.ground.source, self.ground.target)
        for volume in scene.volumes if scene.first else ():
            self.ground.target.volume(volume.name).unlink(missing_ok=True)

    def _change(self, scene: Scene) -> None:
        """The source has the new version, all of it is on disk, and the cache is as the scene wants it."""
        self._patch(scene, "new", self.ground.source)
        for volume in scene.volumes:
            for end in (self.ground.source, self.ground.target):
                if end.volume(volume.name).exists():
                    volumes.settle(end.volume(volume.name), cold=scene.cold)

    # -- one measurement -----------------------------------------------------------------------------------------

    def _once(self, scene: Scene, who: str) -> Once:
        self._restore(scene)
        if who == PEER:
            self._change(scene)
            once = self._rsync(scene)
        else:
            self._renew(scene)
            if engine.MODES[who].earlier:
                self._send(scene, engine.MODES[who].earlier)
            self._change(scene)
            once = self._send(scene, who)
        return Once(once.seconds, once.wire_bytes, once.peak_source, once.peak_target, self._compare(scene, who))

    def _rsync(self, scene: Scene) -> Once:
        seconds, nbytes = 0.0, 0
        for volume in scene.volumes:
            paths = (end.volume(volume.name) for end in (self.ground.source, self.ground.target))
            took, carried = peer.run(self.ground.login, *paths, first=scene.first)
            seconds, nbytes = seconds + took, nbytes + carried
        return Once(seconds, nbytes)

    def _renew(self, scene: Scene) -> None:
        source, target = (engine.Place(end.state_dir, PLAN, PAIR) for end in (self.ground.source, self.ground.target))
        engine.renew(source, target, [volume.name for volume in scene.volumes])

    def _send(self, scene: Scene, mode: str) -> Once:
        """One cycle by a sender in a process of its own, the memory of both ends looked at."""
        names = [volume.name for volume in scene.volumes]
        changed = {volume.name: volumes.blocks_of(volume.changed) for volume in scene.volumes} if engine.MODES[mode].told else {}
        order = Order(str(self.ground.source.state_dir), PLAN, PAIR, names, mode, changed)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": PROJECT}
        with started([sys.executable, "-m", f"{__package__}.sender"], **pipes) as process:
            peaks = Peak(process.pid), Peak(self.ground.sshd)
            _ask(process, order.to_line(), peaks)
            answer = _ask(process, b"go\n", peaks)
            nbytes = max(answer["wire_bytes"] - self.limits.idle_bytes, 0)
            return Once(answer["seconds"], nbytes, peaks[0].nbytes, peaks[1].nbytes)

    def _compare(self, scene: Scene, who: str) -> int:
        """Bytes that the targets of a first copy take on disk beyond the source. Raises XdrError for a target that is not equal."""
        lost = 0
        for volume in scene.volumes:
            source, target = (end.volume(volume.name) for end in (self.ground.source, self.ground.target))
            if not volumes.equal(source, target):
                what = f"after {who} the target is not equal to the source"
                raise XdrError(what, where=f"{scene.name}, volume {volume.name}", todo="This is a defect: report it", code="not_equal")
            more = volumes.allocated(target) - volumes.allocated(source) if scene.first else 0
            lost += more if more > volumes.allocated(source) // 50 + SLACK else 0
        return lost


def _ask(process: subprocess.Popen[bytes], line: bytes, peaks: tuple[Peak, ...]) -> dict[str, Any]:
    """The sender's answer; memory is looked at while it is waited for."""
    if process.stdin is None or process.stdout is None or process.stderr is None:  # pipes were asked for
        raise AssertionError
    process.stdin.write(line)
    deadline = time.monotonic() + TIMEOUT
    while not select.select([process.stdout], [], [], LOOK)[0]:
        for peak in peaks:
            peak.look()
        if time.monotonic() > deadline:
            raise XdrError(f"a cycle did not end within {TIMEOUT:g} s", where="the sender", todo="Look at the machine's load")
    for peak in peaks:
        peak.look()
    answer = process.stdout.readline()
    if not answer:
        raise failure("the sender", process.wait(), process.stderr.read())
    return dict(json.loads(answer))
