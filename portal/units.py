# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Bytes, rates and times as people read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

UNKNOWN = "unknown"


def size(value: Any) -> str:
    """``size(3 << 20)`` is "3.0 MiB"; what is not a number is unknown, never 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return UNKNOWN
    number = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def seconds(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return UNKNOWN
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def since(at: Any) -> str:
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S") if isinstance(at, (int, float)) and at else UNKNOWN
