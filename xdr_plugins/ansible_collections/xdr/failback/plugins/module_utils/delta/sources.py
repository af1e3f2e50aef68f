# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a volume must be in order to be read for a cycle or a proof."""

from __future__ import annotations

from .. import openfiles
from ..errors import Refused
from ..site import VolumeOnHost
from ..transfer import Job
from .state import VolumeFolder, VolumeState


def folder_of(job: Job, volume: VolumeOnHost) -> VolumeFolder:
    return VolumeFolder(job.state_dir, job.plan.plan, volume)


def source_state(folder: VolumeFolder) -> VolumeState:
    """The volume's state; the direction may have been turned round while a cycle was under way."""
    state = folder.load()
    if state.role != "source":
        todo = "Make it a source first (xdr_replication state=source)"
        raise Refused(f"volume {folder.volume.name} has the role {state.role} here", where=str(folder.path), todo=todo, code="wrong_role")
    return state


def check_sources(job: Job, volumes: list[VolumeOnHost]) -> None:
    """Both of the following."""
    check_roles(job, volumes)
    check_at_rest(job, volumes)


def check_roles(job: Job, volumes: list[VolumeOnHost]) -> None:
    """Raises Refused where one is no source."""
    for volume in volumes:
        source_state(folder_of(job, volume))


def check_at_rest(job: Job, volumes: list[VolumeOnHost]) -> None:
    """Raises Refused where, for a final delta, a process holds one open."""
    found = openfiles.holders([volume.path for volume in volumes]) if job.final else []
    if found:
        what = f"process {found[0].pid} ({found[0].command}) still holds the volume open"
        raise Refused(what, where=str(found[0].path), todo="Stop it: a final delta is read from volumes at rest", code="volume_in_use")
