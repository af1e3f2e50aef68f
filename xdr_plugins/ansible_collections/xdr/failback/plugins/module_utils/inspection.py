# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a diagnosis has to know of this host (module xdr_site, ``inspect``), told as it is found and judged on the controller."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import accelerators, certificates
from .delta import wire
from .delta.manifest import Manifest
from .delta.state import VolumeFolder
from .delta.trackers import chosen
from .delta.trackers.interface import Unknown
from .errors import XdrError
from .site import Site, VolumeOnHost, load_plan, load_site

_WITHIN = 10.0  # seconds
_FLOCK = re.compile(r"^\d+: +FLOCK +\S+ +\S+ +(-?\d+) +[0-9a-f]+:[0-9a-f]+:(\d+) ", re.MULTILINE)


def facts(state_dir: Path) -> dict[str, Any]:
    """``time`` (Unix seconds), ``python``, ``protocol`` of the delta sync, ``accelerators_missing``, ``rooms``, ``quota`` (None: this host
    has no such program), ``certificates``, ``known_hosts``, ``plans``; ``why`` where the host is not set up. Changes nothing.
    """
    accelerators.enable(state_dir)
    found: dict[str, Any] = {
        "time": time.time(),
        "python": platform.python_version(),
        "protocol": wire.VERSION,
        "accelerators_missing": accelerators.missing(),
        "quota": quota(),
        "rooms": [],
        "plans": {},
        "certificates": [],
        "known_hosts": [],
    }
    try:
        site = load_site(state_dir)
    except XdrError as error:
        return {**found, "why": error.sentence(), "rooms": [room(state_dir, "state folder")]}
    peers = list(site.peers.values())
    found["rooms"] = [room(state_dir, "state folder"), *(room(Path(root), "volume root") for root in site.volume_roots)]
    found["certificates"] = certificates.beside(peer.key for peer in peers)
    found["known_hosts"] = [_pinned(Path(path)) for path in sorted({peer.known_hosts for peer in peers})]
    found["plans"] = {path.parent.name: _plan(site, path.parent) for path in sorted((site.state_dir / "plans").glob("*/plan.json"))}
    return found


def room(path: Path, what: str) -> dict[str, Any]:
    """``{"path", "what", "free_bytes", "total_bytes", "free_inodes", "total_inodes", "device"}``; 0 inodes: made as needed."""
    there = next((folder for folder in (path, *path.parents) if folder.exists()), Path("/"))
    figures = os.statvfs(there)
    return {
        "path": str(path),
        "what": what,
        "free_bytes": figures.f_bavail * figures.f_frsize,
        "total_bytes": figures.f_blocks * figures.f_frsize,
        "free_inodes": figures.f_favail,
        "total_inodes": figures.f_files,
        "device": there.stat().st_dev,
    }


def quota() -> list[dict[str, Any]] | None:
    """``[{"file_system", "used_bytes", "limit_bytes", "used_files", "limit_files"}]`` of this account; a limit of 0 is none."""
    program = shutil.which("quota")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-w", "-p"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_WITHIN, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return quotas_of(done.stdout)


def quotas_of(text: str) -> list[dict[str, Any]]:
    """Of what ``quota -w -p`` prints: file system, KiB used, soft, hard, grace, files used, soft, hard, grace."""
    rows = [line.replace("*", " ").split() for line in text.splitlines() if line.startswith((" ", "\t"))]
    return [_quota(row) for row in rows if len(row) >= 8 and all(word.isdigit() for word in row[1:])]


def _quota(row: list[str]) -> dict[str, Any]:
    used, soft, hard, _, files, soft_files, hard_files = (int(word) for word in row[1:8])
    return {
        "file_system": row[0],
        "used_bytes": used << 10,
        "limit_bytes": (hard or soft) << 10,
        "used_files": files,
        "limit_files": hard_files or soft_files,
    }


def _pinned(path: Path) -> dict[str, Any]:
    """When host keys were pinned last."""
    try:
        return {"path": str(path), "at": path.stat().st_mtime}
    except OSError:
        return {"path": str(path), "at": None}


def _plan(site: Site, folder: Path) -> dict[str, Any]:
    """``{"site", "hash", "lock", "spool", "trackers", "why"}``"""
    try:
        plan = load_plan(site.state_dir, folder.name)
        tracked = [_tracker(VolumeFolder(site.state_dir, plan.plan, volume), volume) for volume in plan.volumes.values()]
        known = {"site": plan.site, "hash": plan.hash, "trackers": [one for one in tracked if one], "why": ""}
    except XdrError as error:
        known = {"site": "", "hash": "", "trackers": [], "why": error.sentence()}
    return {**known, "lock": lock(folder / "lock"), "spool": list(_spool(folder / "spool"))}


def _tracker(folder: VolumeFolder, volume: VolumeOnHost) -> dict[str, Any] | None:
    """``{"volume", "asked", "name", "valid", "why"}`` of a source; None of any other, and before its first cycle."""
    state = folder.load()
    if state.role != "source" or not state.confirmed:
        return None
    asked = str((volume.tracker or {}).get("kind", "auto"))
    try:
        tracker = chosen(volume)
        why = _lacks(folder, tracker)
    except XdrError as error:
        return {"volume": volume.name, "asked": asked, "name": asked, "valid": False, "why": error.sentence()}
    return {"volume": volume.name, "asked": asked, "name": tracker.name, "valid": not why, "why": why}


def _lacks(folder: VolumeFolder, tracker: Any) -> str:
    """Why the tracker cannot tell what has changed since the newest cycle; empty where it can."""
    own = Manifest.load(folder.manifest)
    if own is None:
        return "the digests of the newest cycle are not whole"
    with own:
        mark = own.header.mark
    changed = tracker.changed(mark) if mark or tracker.name == "scan" else Unknown("the newest cycle left no mark")
    return changed.why if isinstance(changed, Unknown) else ""


def lock(path: Path) -> dict[str, Any]:
    """``{"held", "pid", "command", "since"}`` of a lock file; ``since``: when that process began (Unix seconds): the lock is no older."""
    free: dict[str, Any] = {"held": False, "pid": None, "command": "", "since": None}
    try:
        inode = path.stat().st_ino
        found = [int(pid) for pid, number in _FLOCK.findall(Path("/proc/locks").read_text(encoding="ascii")) if int(number) == inode]
    except OSError:
        return free
    return {**free, "held": True, **_process(found[0])} if found else free


def _process(pid: int) -> dict[str, Any]:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        since = Path(f"/proc/{pid}").stat().st_mtime
    except OSError:
        return {"pid": pid if pid > 0 else None}
    names = [Path(word.decode(errors="replace")).name for word in words[:2] if word]
    return {"pid": pid, "command": " ".join(names)[:80], "since": since}  # no more of it: arguments may hold a secret


def _spool(folder: Path) -> Iterator[dict[str, Any]]:
    """``{"name", "bytes", "written", "held", "pid", "committed"}`` of what was received and not applied; ``held``: its receiver lives."""
    for path in sorted(folder.glob("cycle-*")):
        try:
            status = path.stat()
        except OSError:
            continue  # applied a moment ago
        if path.suffix == ".part":
            holder = lock(path)
            committed = path.with_suffix(".commit").exists()
            yield {
                "name": path.name,
                "bytes": status.st_size,
                "written": status.st_mtime,
                "held": holder["held"],
                "pid": holder["pid"],
                "committed": committed,
            }
