# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether an sshd answers at all, whoever it lets in: the login that failed may have lost the reason on its way."""

from __future__ import annotations

import socket
import time

BANNER = b"SSH-"  # RFC 4253, section 4.2; other lines may come before it
MOST = 4096  # bytes before the banner
WITHIN = 3.0  # seconds


def sshd_answers(address: str, port: int, within: float = WITHIN) -> bool:
    """Connect and wait for the banner. False for what does not answer, and for what speaks something else."""
    until = time.monotonic() + within
    said = b""
    try:
        with socket.create_connection((address, port), timeout=within) as line:
            while len(said) < MOST and not any(one.startswith(BANNER) for one in said.split(b"\n")):
                line.settimeout(max(0.01, until - time.monotonic()))
                got = line.recv(256)
                if not got:
                    return False
                said += got
    except OSError:
        return False
    return any(one.startswith(BANNER) for one in said.split(b"\n"))
