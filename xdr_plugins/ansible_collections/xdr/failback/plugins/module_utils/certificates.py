# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""SSH certificates beside keys, and when they run out. A key itself never does."""

from __future__ import annotations

import calendar
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_VALID = re.compile(r"^\s*Valid: (?:from (\S+) )?(?:to|before) (\S+)\s*$", re.MULTILINE)
_AFTER = re.compile(r"^\s*Valid: (?:forever|after \S+)\s*$", re.MULTILINE)
_WITHIN = 10.0  # seconds


def beside(keys: Iterable[str]) -> list[dict[str, Any]]:
    """``{"path", "from", "until", "why"}`` of each certificate that ssh uses with these private keys (Unix seconds; None: no end)."""
    return list(_each(sorted(set(keys))))


def _each(keys: list[str]) -> Iterator[dict[str, Any]]:
    for key in keys:
        path = Path(f"{key}-cert.pub")
        if path.is_file():
            yield {"path": str(path), "from": None, "until": None, "why": "", **_described(path)}


def _described(path: Path) -> dict[str, Any]:
    try:
        done = subprocess.run(
            ["ssh-keygen", "-L", "-f", str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_WITHIN,
            check=False,
            env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"why": f"ssh-keygen cannot be run ({error})"}
    return parsed(done.stdout) if done.returncode == 0 else {"why": (done.stderr.strip() or "it is no certificate")[:200]}


def parsed(text: str) -> dict[str, Any]:
    """Of what ``ssh-keygen -L`` prints in UTC."""
    if _AFTER.search(text):
        return {}
    match = _VALID.search(text)
    if match is None:
        return {"why": "ssh-keygen told no validity"}
    return {"from": _unix(match[1]), "until": _unix(match[2])}


def _unix(text: str | None) -> int | None:
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S")) if text else None
