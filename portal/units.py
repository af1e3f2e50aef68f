# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Bytes, rates and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
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
    """``seconds(4.2)`` is "4.2 s", ``seconds(300)`` "5 min", ``seconds(3700)`` "1 h 1 min"."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return UNKNOWN
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    larger, smaller = (f"{hours} h", minutes and f"{minutes} min") if hours else (f"{minutes} min", rest and f"{rest} s")
    return f"{larger} {smaller}" if smaller else larger


def since(at: Any) -> str:
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S") if isinstance(at, (int, float)) and at else UNKNOWN


def utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
