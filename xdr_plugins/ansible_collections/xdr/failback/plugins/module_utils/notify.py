# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Telling systemd something of the service that it starts (sd_notify)."""

from __future__ import annotations

import contextlib
import os
import socket


def tell(status: str, *, wait: float = 0.0) -> None:
    """``status`` is what systemctl status shows; ``wait``: the start may take so many seconds more. Does nothing without systemd."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    lines = ["STATUS=" + " ".join(status.split())] + ([f"EXTEND_TIMEOUT_USEC={int(wait * 1_000_000)}"] if wait else [])
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto("\n".join(lines).encode(), "\0" + address[1:] if address.startswith("@") else address)
