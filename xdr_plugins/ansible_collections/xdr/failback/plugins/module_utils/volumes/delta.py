# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The volume driver ``delta``: any file or block device, by comparing the digests of its blocks."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Callable, Protocol

from .. import accelerators, channel, kept_channel
from ..delta import blocks, compare, lag, preview, rates, sender, trackers, undo
from ..delta.apply import disk_error
from ..delta.roles import Replication, Step, steps
from ..errors import NotReached, XdrError
from ..record import Record
from ..site import Peer, PlanOnHost, VolumeOnHost, load_site
from ..transfer import Job

Results = list[dict[str, Any]]
Work = Callable[..., None]


class DeltaDriver:
    """See VolumeDriver for the methods."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def status(self, plan: PlanOnHost, name: str, *, with_lag: bool) -> dict[str, Any]:
        here = Replication(self._state_dir, plan, name)
        state = here.state
        bytes_behind, age = lag.lag(here.folder, state) if with_lag else ("unknown", "unknown")
        size = blocks.size_at(here.folder.volume.path)
        return {
            "volume": name,
            "role": state.role,
            "lag_bytes": bytes_behind,
            "lag_age_s": age,
            "cycle": state.cycle,
            "read_started": state.read_started,
            "applied_at": state.applied_at,
            "compared": state.compared,
            "compare_seconds": 0.0 if state.compared else rates.load(self._state_dir, plan.plan).to_compare(size or 0),
            "size": size,
            "pending": here.situation().pending,
            "crash_consistent": state.consistent,
            "how": state.how,
            "recovery_points": [point.describe() for point in undo.points(here.folder.undo)],
        }

    def steps(self, plan: PlanOnHost, name: str, state: str, point: str, record: Record) -> list[Step]:
        here = Replication(self._state_dir, plan, name)
        here.check(state, record)
        return steps(here.situation(), state, point)

    def apply(self, plan: PlanOnHost, name: str, todo: list[Step]) -> None:
        here = Replication(self._state_dir, plan, name)
        try:
            here.apply(todo)
        except OSError as error:
            raise disk_error(error, str(here.folder.path)) from error

    def exact(self, plan: PlanOnHost, name: str, point: str) -> bool | None:
        return Replication(self._state_dir, plan, name).exact(point)

    def synchronise(self, job: Job, volumes: list[VolumeOnHost], results: Results) -> None:
        self._with_peers(sender.synchronise, job, volumes, results)

    def verify(self, job: Job, volumes: list[VolumeOnHost], results: Results) -> None:
        self._with_peers(compare.verify, job, volumes, results)

    def preview(self, job: Job, volumes: list[VolumeOnHost], results: Results) -> None:
        self._with_peers(preview.preview, job, volumes, results)

    def open_channels(self, job: Job, volumes: list[VolumeOnHost]) -> None:
        for peer, _ in self._by_peer(volumes):
            kept_channel.keep(job.state_dir, job.plan.plan, peer)

    def seconds(self, plan: PlanOnHost, volumes: list[VolumeOnHost], nbytes: int) -> float:
        tracked = [volume for volume in volumes if trackers.chosen(volume).name != "scan"]
        read = sum(blocks.size_at(volume.path) or 0 for volume in volumes if volume not in tracked)
        return rates.load(self._state_dir, plan.plan).seconds(read + nbytes, nbytes)

    def _with_peers(self, work: Work, job: Job, volumes: list[VolumeOnHost], results: Results) -> None:
        """One channel to each peer, for all its volumes."""
        accelerators.enable(self._state_dir)
        for peer, mine in self._by_peer(volumes):
            _over_channel(work, job, mine, peer, results)

    def _by_peer(self, volumes: list[VolumeOnHost]) -> Iterator[tuple[Peer, list[VolumeOnHost]]]:
        peers = load_site(self._state_dir).peers
        for name in sorted({volume.peer for volume in volumes}):
            if name not in peers:
                todo = "Apply the role site_agent to this host again"
                raise XdrError(f"host {name} is no known peer", where=str(self._state_dir / "site.json"), todo=todo)
            yield peers[name], [volume for volume in volumes if volume.peer == name]


def _over_channel(work: Work, job: Job, volumes: list[VolumeOnHost], peer: Peer, results: Results) -> None:
    """Over the channel that is kept for this peer, else over a new one."""
    kept = kept_channel.take(job.state_dir, job.plan.plan, peer)
    line: Line = kept or _Fresh(channel.open_channel(peer, "receive"))
    ended = False
    try:
        work(job, volumes, line.stdout, line.stdin, peer.name, results)
    except NotReached as error:
        ended = True
        code, said = line.end()  # ssh knows better than the broken pipe why there is no channel
        raise (channel.failure(peer, code, said) if code else error) from error
    except OSError as error:
        raise disk_error(error, str(job.state_dir)) from error
    finally:
        if not ended:
            line.end()


class Line(Protocol):
    """Both directions of a channel. ``end`` closes it and gives ssh's exit code and what it said."""

    stdin: BinaryIO
    stdout: BinaryIO

    def end(self) -> tuple[int, str]: ...


class _Fresh:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:  # pipes were asked for
            raise AssertionError
        self._process, self._errors = process, process.stderr
        self.stdin: BinaryIO = process.stdin  # type: ignore[assignment]
        self.stdout: BinaryIO = process.stdout  # type: ignore[assignment]

    def end(self) -> tuple[int, str]:
        with contextlib.suppress(OSError):
            self.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return 0, ""
        finally:
            self.stdout.close()
        with self._errors:
            return self._process.returncode, self._errors.read().decode(errors="replace")
