# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""rsync, the peer that a delta sync is measured against: over the same ssh, with the same durability."""

from __future__ import annotations

import os
import re
import shlex
import time
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.site import Peer

from . import engine
from .started import output

TIMEOUT = 3600.0  # seconds
UPDATE = ("--inplace", "--no-whole-file", "--fsync", "--ignore-times")
FIRST_COPY = ("--sparse", "--fsync")


def argv(peer: Peer, options: tuple[str, ...], source: Path, target: Path) -> list[str]:
    ssh, host = engine.ssh(peer)
    return ["rsync", *options, "--stats", "--no-human-readable", "-e", shlex.join(ssh), str(source), f"{host}:{target}"]


def run(peer: Peer, source: Path, target: Path, *, first: bool) -> tuple[float, int]:
    """Seconds from its start to its end, and the bytes on the wire."""
    command = argv(peer, FIRST_COPY if first else UPDATE, source, target)
    began = time.monotonic()
    said = output(command, timeout=TIMEOUT, env={**os.environ, "LC_ALL": "C"})
    return time.monotonic() - began, wire_bytes(said)


def wire_bytes(stats: str) -> int:
    """Both directions, from what ``--stats`` prints."""
    found = re.findall(r"^Total bytes (?:sent|received): ([\d,.]+)$", stats, re.MULTILINE)
    if len(found) != 2:
        raise XdrError("rsync's statistics were not understood", where="rsync --stats", todo="Use rsync 3.2.4 or newer")
    return sum(int(re.sub(r"\D", "", number)) for number in found)


def version() -> str:
    """Of the rsync that is measured. Raises XdrError when it is missing, or too old to write durably."""
    said = output(["rsync", "--version"], timeout=30)
    match = re.search(r"version (\d+(?:\.\d+)+)", said)
    text = match[1] if match else "unknown"
    if not match or tuple(int(part) for part in text.split(".")) < (3, 2, 4):
        raise XdrError(f"rsync {text} has no --fsync", where="rsync --version", todo="Install rsync 3.2.4 or newer")
    return text
