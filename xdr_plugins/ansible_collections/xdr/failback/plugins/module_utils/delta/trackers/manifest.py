# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether the digests that a host keeps of a volume still are its digests: nobody else wrote to it since."""

from __future__ import annotations

import os
from pathlib import Path

from .. import identity
from ..manifest import Manifest
from .interface import Unknown


def kept(manifest: Path, volume: Path, digest: str, epoch: int) -> Manifest | Unknown:
    """The manifest, to be closed by the caller, if it is of the volume as it is now.

    ``digest``: the algorithm that is wanted; ``epoch``: the newest in which this site owned the plan, for its instances write then.
    """
    found = Manifest.load(manifest)
    if found is None:
        return Unknown("no digests of it are kept here")
    why = _why_not(found, volume, digest, epoch)
    if why:
        found.close()
        return Unknown(why)
    return found


def _why_not(found: Manifest, volume: Path, digest: str, epoch: int) -> str:
    header = found.header
    if header.hash != digest:
        return f"the digests that are kept are {header.hash}, the ends agreed on {digest}"
    if header.identity is None:
        return "somebody wrote to it while its digests were made"
    if header.epoch != epoch:
        return f"the site has owned the plan since the digests were made (epoch {epoch})"
    return identity.believed(volume) or written(volume, header.identity)


def written(volume: Path, then: identity.Identity) -> str:
    """Who wrote to the volume since, as far as its times tell; an empty text for nobody."""
    fd = os.open(volume, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)  # what a process writes by a mapping shows in the times only after its pages were clean
        now = identity.look(fd)
    finally:
        os.close(fd)
    if now == then:
        return ""
    if now[:2] != then[:2]:
        return "another file has taken its place"
    when = identity.moment(max(now[3:]))
    return f"it was written at {when}" if now[2] == then[2] else f"it was written at {when}, and has another size"
