# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""All that the bench knows of the delta engine: its modes, how a cycle is begun, and what it leaves at both ends.

A mode that the engine learns costs: the sentence in ``lacks`` removed, and in ``Session.run`` what the job is told.
"""

from __future__ import annotations

import contextlib
import re
import select
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from ansible_collections.xdr.failback.plugins.module_utils import attempt, channel
from ansible_collections.xdr.failback.plugins.module_utils.delta import sender
from ansible_collections.xdr.failback.plugins.module_utils.delta.apply import spool_dir
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import Range
from ansible_collections.xdr.failback.plugins.module_utils.delta.roles import Replication, steps
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.interface import Changed
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.scan import Scan
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.progress import Progress
from ansible_collections.xdr.failback.plugins.module_utils.site import Peer, load_plan, load_site
from ansible_collections.xdr.failback.plugins.module_utils.transfer import Job

POINT = "before-bench"
CLOSING = 10.0  # seconds for the channel to end


@dataclass(frozen=True)
class Mode:
    """How a cycle comes by what changed.

    ``earlier``: the mode of a real cycle between equal volumes, before they change: it leaves digests and marks at both ends.
    ``told``: the job is given the ranges of blocks that changed, for the bench knows what it wrote.
    ``options``: fields of the Job. ``lacks``: why this engine has no such mode; empty when it has.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    earlier: str = ""
    told: bool = False
    lacks: str = ""


MODES = {
    "scan": Mode({"final": True, "rescan": True}),
    "manifest": Mode({"final": True}, earlier="scan"),
    "tracker": Mode({"final": True}, earlier="scan", told=True),
}


class Told(Scan):
    """A tracker that was told what changed: the bench wrote it. So nothing is measured of a real one."""

    name = "told"

    def __init__(self, changed: list[Range]) -> None:
        super().__init__("")
        self._changed = changed

    def changed(self, since: str) -> Changed:
        return self._changed


def lacks(mode: str) -> str:
    """Why the mode cannot be measured, empty when it can."""
    return MODES[mode].lacks


# -- around a cycle ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A site host as the engine sees it."""

    state_dir: Path
    plan: str
    pair: tuple[int, int]


def renew(source: Place, target: Place, volumes: list[str]) -> None:
    """As before any cycle: roles set, nothing known of earlier ones, an empty recovery point at the target."""
    for place, role, point in ((source, "source", ""), (target, "target", POINT)):
        plan = load_plan(place.state_dir, place.plan)
        spool = spool_dir(place.state_dir, place.plan)
        shutil.rmtree(spool, ignore_errors=True)
        shutil.rmtree(spool.with_name("volumes"), ignore_errors=True)
        with attempt.held(place.state_dir, place.plan, place.pair):
            for name in volumes:
                here = Replication(place.state_dir, plan, name)
                here.apply(steps(here.situation(), role, point))


def ssh(peer: Peer) -> tuple[list[str], str]:
    """The channel's own ssh command up to the host, and the host (``user@address``): others shall use the very same options."""
    argv = channel.argv(peer, "version")
    return argv[:-2], argv[-2]


# -- a cycle, in the sender's process ------------------------------------------------------------------------------


class Session:
    """A channel to the receiver of the volumes' peer, open until ``close``."""

    def __init__(self, place: Place, volumes: list[str]) -> None:
        self.place, self.plan = place, load_plan(place.state_dir, place.plan)
        self.volumes = [self.plan.volumes[name] for name in volumes]
        self.peer = load_site(place.state_dir).peers[self.volumes[0].peer]
        self.process = channel.open_channel(self.peer, "receive")
        select.select(
            [cast(BinaryIO, self.process.stdout)], [], [], CLOSING
        )  # the far end greets once it is there; a kept channel has got so far

    def run(self, mode: Mode, changed: Mapping[str, list[Range]]) -> None:
        """One cycle. ``changed``: ranges of 64 KiB blocks by volume, when the mode is told them."""
        reader, writer = cast(BinaryIO, self.process.stdout), cast(BinaryIO, self.process.stdin)  # pipes were asked for
        with self._job(mode, changed if mode.told else {}) as job:
            sender.synchronise(job, self.volumes, reader, writer, self.peer.name, [])

    @contextlib.contextmanager
    def _job(self, mode: Mode, changed: Mapping[str, list[Range]]) -> Iterator[Job]:
        place, trackers = self.place, {name: Told(ranges) for name, ranges in changed.items()}
        with attempt.tracked(place.state_dir, place.plan, place.pair) as holding:
            quiet = Progress(place.state_dir, "", "")
            yield Job(self.plan, place.state_dir, place.pair, holding.locked, quiet, trackers=trackers, **mode.options)

    def wire_bytes(self) -> int:
        """What ssh has carried so far, both directions; see ``carried``."""
        return carried(self.process.pid)

    def close(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(CLOSING)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


def carried(ssh_pid: int) -> int:
    """Bytes through an ssh client, from the kernel's count of what it read and wrote: each byte passes twice, at the pipe and at
    the socket. So ssh's own framing (0.1 %) and what it reads at its start are in it, and no engine counts for itself.
    """
    try:
        text = Path(f"/proc/{ssh_pid}/io").read_text()
    except OSError as error:
        raise XdrError(f"the bytes on the wire cannot be counted ({error.strerror})", where=f"/proc/{ssh_pid}/io") from error
    return sum(int(number) for number in re.findall(r"^[rw]char: (\d+)$", text, re.MULTILINE)) // 2
