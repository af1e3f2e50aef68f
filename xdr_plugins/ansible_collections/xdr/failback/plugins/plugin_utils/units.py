# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Durations, sizes and rates as people write them."""

from __future__ import annotations

import re

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
BYTES = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}  # fmt: skip

_AMOUNT = r"(?:0|[1-9][0-9]{0,8})"
DURATION_PATTERN = rf"^(?=[0-9])(?:{_AMOUNT}d)?(?:{_AMOUNT}h)?(?:{_AMOUNT}m)?(?:{_AMOUNT}s)?$"
SIZE_PATTERN = rf"^{_AMOUNT}(?:\.[0-9]{{1,3}})? ?(?:{'|'.join(BYTES)})$"
RATE_PATTERN = SIZE_PATTERN.removesuffix("$") + "/s$"

DURATION_HELP = "a duration with its unit (d, h, m, s), such as 30s, 5m, 2h or 1h30m"
SIZE_HELP = f"a size with its unit ({', '.join(BYTES)}), such as 64MiB"
RATE_HELP = f"a rate with its unit ({', '.join(BYTES)}, each per second), such as 400MiB/s"


def duration(text: object) -> int:
    """Seconds of ``5m``, ``30s``, ``1h30m``. Raises ValueError that says what is accepted."""
    if not isinstance(text, str) or not re.fullmatch(DURATION_PATTERN, text, re.ASCII):
        raise ValueError(f"expected {DURATION_HELP}; found {_found(text)}")
    return sum(int(amount) * SECONDS[unit] for amount, unit in re.findall(r"(\d+)([dhms])", text))


def size(text: object) -> int:
    """Bytes of ``64MiB``, ``1.5 GiB``. Raises ValueError that says what is accepted."""
    if not isinstance(text, str) or not re.fullmatch(SIZE_PATTERN, text, re.ASCII):
        raise ValueError(f"expected {SIZE_HELP}; found {_found(text)}")
    return _bytes(text)


def rate(text: object) -> int:
    """Bytes per second of ``400MiB/s``. Raises ValueError that says what is accepted."""
    if not isinstance(text, str) or not re.fullmatch(RATE_PATTERN, text, re.ASCII):
        raise ValueError(f"expected {RATE_HELP}; found {_found(text)}")
    return _bytes(text.removesuffix("/s"))


def _bytes(text: str) -> int:
    amount = text.rstrip("kKMGTiB ")
    return round(float(amount) * BYTES[text[len(amount) :].strip()])


def _found(text: object) -> str:
    return f"{str(text)[:40]!r}"
