# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether an sshd answers at all, whoever it lets in: the login that failed may have lost the reason on its way."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any

BANNER = b"SSH-"  # RFC 4253, section 4.2; other lines may come before it
MOST = 4096  # bytes before the banner
WITHIN = 3.0  # seconds
LOST = "could not be sent"  # Ansible says so, and not what ssh said, where ssh gave up while a module was on its way to it
REASONS = {"HOST_KEY": "Host key verification failed", "LOGIN": "Permission denied"}  # in ssh's own words


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


def reason(said: str, target: Mapping[str, Any]) -> str:
    """What ssh said, found out again with a login of our own where it was lost. ``target``: as of module_utils/login.py to_target."""
    if LOST not in said or not all(target.values()):
        return said
    from ansible_collections.xdr.failback.plugins.module_utils import login  # brings paramiko, which hardly any run needs here

    return REASONS.get(login.to_target(target, WITHIN).result, said)
