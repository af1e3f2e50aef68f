# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What makes a host a site host: who it is, its key for the site-to-site channel, whom it lets in and whom it trusts."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import XdrError

KEYGEN_TIMEOUT = 30.0  # seconds


@dataclass(frozen=True)
class Peer:
    """``pin``: how known_hosts names it; ``public_key``: of its agent, empty where it is not known (its line is then left as it is)."""

    name: str
    pin: str
    host_key: str
    public_key: str = ""


def comment(host: str) -> str:
    """By which the line of a host's key is found again in an authorized_keys file."""
    return f"xdr-agent@{host}"


def with_peers(authorized: str, peers: list[Peer], restriction: str) -> str:
    """The authorized_keys file in which each known peer's key has one line, under the restriction; other lines stay."""
    for peer in peers:
        if peer.public_key:
            mine = re.compile(rf" {re.escape(comment(peer.name))}$")
            authorized = _with_line(authorized, f"{restriction} {peer.public_key.strip()}", lambda line, mine=mine: bool(mine.search(line)))
    return authorized


def with_pins(known: str, peers: list[Peer]) -> str:
    """The known_hosts file in which each peer has the one host key that it is known by; other lines stay."""
    for peer in peers:
        known = _with_line(
            known, f"{peer.pin} {' '.join(peer.host_key.split()[:2])}", lambda line, pin=peer.pin: line.split(" ", 1)[0] == pin
        )
    return known


def _with_line(text: str, line: str, is_old: Any) -> str:
    lines = text.splitlines()
    if line in lines and sum(map(is_old, lines)) == 1:
        return text
    return "\n".join([*(old for old in lines if not is_old(old)), line]) + "\n"


def read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def replace_text(path: Path, text: str) -> None:
    """A reader, such as sshd, sees the old file or the new one."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        stream.write(text)
    fresh.replace(path)


def make_key(path: Path, host: str) -> None:
    """Raises XdrError when ssh-keygen cannot make it."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment(host), "-f", str(path)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=KEYGEN_TIMEOUT, check=False)
    if done.returncode:
        raise XdrError(
            f"ssh-keygen failed: {done.stderr.strip()}", where=str(path), todo="See that its folder is writable and OpenSSH installed"
        )


def public_key(path: Path) -> str:
    return read_text(path.with_name(path.name + ".pub")).strip()


def document_text(document: dict[str, Any]) -> str:
    """The text of site.json."""
    return json.dumps(document, indent=1, sort_keys=True) + "\n"
