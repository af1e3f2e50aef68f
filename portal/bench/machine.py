# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What all benches say of the machine, and that one at a time measures."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.durable import locked
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from . import limits


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Two benches at once would measure each other. Raises XdrError, code run_active."""
    try:
        with locked(folder / "lock", timeout=0.2):
            yield
    except XdrError as error:
        if error.where.endswith("/lock"):
            raise XdrError(f"{error.what}: another bench runs", where=error.where, todo="Wait for its end", code="run_active") from error
        raise


def load() -> float:
    """The load of the last minute, with a word where it is others'."""
    found = os.getloadavg()[0]
    if found > limits.cores() / 2:
        tell(f"others keep this machine busy (load {found:.1f} on {limits.cores()} cores): the figures are not those of an idle one")
    return found


def described() -> dict[str, Any]:
    return {
        "cores": limits.cores(),
        "cpu": _cpu(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "at": time.time(),
    }


def _cpu() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else platform.machine()


def tell(text: str) -> None:
    print(f"xdr bench: {text}", file=sys.stderr, flush=True)
