# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Limits of the bandwidth at hours of the day: as a plan says them, and as the hosts keep them."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Mapping
from typing import Any

CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
DAY = 24 * 60


def known_zone(name: str) -> str:
    """The name itself. Raises ValueError where this controller does not know the time zone."""
    _zone(name)
    return name


def hours_in_utc(replication: Mapping[str, Any], at: datetime.datetime | None = None) -> list[dict[str, Any]]:
    """Items for the option bandwidth_hours of xdr_delta_sync: minutes of the day in UTC.

    A zone whose offset changes over the year has the one that holds ``at`` (now): each run asks again.
    """
    now = at or datetime.datetime.now(datetime.UTC)
    offset = now.astimezone(_zone(replication["bandwidth_zone"])).utcoffset() or datetime.timedelta()
    minutes = int(offset.total_seconds() // 60)
    return [
        {"start": (_minute(each["from"]) - minutes) % DAY, "stop": (_minute(each["to"]) - minutes) % DAY, "limit": each["limit"]}
        for each in replication["bandwidth_hours"]
    ]


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"expected a time zone that this controller knows, such as Europe/Berlin; found {name!r}") from None


def _minute(clock: str) -> int:
    hour, _, minute = clock.partition(":")
    return int(hour) * 60 + int(minute)
