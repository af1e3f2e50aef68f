# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Trackers of changed extents, each in a file of its own (see interface.py)."""

from __future__ import annotations

from pathlib import Path

from ...errors import XdrError
from ...site import VolumeOnHost
from . import reflink
from .interface import Tracker
from .scan import Scan

KINDS = ("auto", "scan", "reflink", "qemu_bitmap")


def chosen(volume: VolumeOnHost) -> Tracker:
    """The plan's tracker for a volume; with auto the one that its storage can do.

    Raises XdrError where the plan asks for one that this host cannot have.
    """
    options = dict(volume.tracker or {})
    kind = options.pop("kind", "auto")
    if kind == "scan":
        return Scan("the plan asks for a scan")
    if kind in ("auto", "reflink"):
        return _reflink(volume, asked=kind == "reflink")
    if kind == "qemu_bitmap":
        from .qemu_bitmap import QemuBitmap

        given = {name: options.get(name) for name in ("socket", "nbd")}
        paths = {name: Path(path) if path else None for name, path in given.items()}
        return QemuBitmap(volume.path, Path(options["image"]), paths["socket"], options.get("node"), paths["nbd"])
    raise XdrError(
        f"there is no tracker {kind!r}", where=f"volume {volume.name}", todo=f"Use one of: {', '.join(KINDS)}", code="no_tracker"
    )


def _reflink(volume: VolumeOnHost, *, asked: bool) -> Tracker:
    why = reflink.available(volume.path)
    if not why:
        return reflink.Reflink(volume.path)
    if asked:
        todo = "Lay the volume on XFS or btrfs, or say tracker: auto in the plan"
        raise XdrError(f"the tracker reflink cannot be had: {why}", where=str(volume.path), todo=todo, code="no_tracker")
    return Scan(f"reflink: {why}")
