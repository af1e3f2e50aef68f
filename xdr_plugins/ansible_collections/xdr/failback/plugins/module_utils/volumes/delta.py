# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The volume driver ``delta``: any file or block device, by comparing the digests of its blocks."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Any, Callable

from .. import channel
from ..delta import blocks, lag, sender, undo
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
        return {
            "volume": name,
            "role": state.role,
            "lag_bytes": bytes_behind,
            "lag_age_s": age,
            "cycle": state.cycle,
            "read_started": state.read_started,
            "applied_at": state.applied_at,
            "compared": state.compared,
            "size": blocks.size_at(here.folder.volume.path),
            "pending": here.situation().pending,
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
        self._with_peers(sender.verify, job, volumes, results)

    def _with_peers(self, work: Work, job: Job, volumes: list[VolumeOnHost], results: Results) -> None:
        """One channel to each peer, for all its volumes."""
        peers = load_site(self._state_dir).peers
        for name in sorted({volume.peer for volume in volumes}):
            if name not in peers:
                todo = "Apply the role site_agent to this host again"
                raise XdrError(f"host {name} is no known peer", where=str(self._state_dir / "site.json"), todo=todo)
            _over_channel(work, job, [volume for volume in volumes if volume.peer == name], peers[name], results)


def _over_channel(work: Work, job: Job, volumes: list[VolumeOnHost], peer: Peer, results: Results) -> None:
    process = channel.open_channel(peer, "receive")
    if process.stdin is None or process.stdout is None:  # pipes were asked for
        raise AssertionError
    try:
        work(job, volumes, process.stdout, process.stdin, peer.name, results)
    except NotReached as error:
        raise _reason(process, peer, error) from error
    except OSError as error:
        raise disk_error(error, str(job.state_dir)) from error
    finally:
        _end(process)


def _reason(process: subprocess.Popen[bytes], peer: Peer, error: NotReached) -> XdrError:
    """ssh knows better than the broken pipe why there is no channel."""
    try:
        _, errors = process.communicate(timeout=5)
    except (subprocess.TimeoutExpired, ValueError, OSError):
        return error
    return channel.failure(peer, process.returncode, errors.decode(errors="replace")) if process.returncode else error


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if process.stdin:
            process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
