# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

import datetime
import zoneinfo
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta.pace import Hours, limit_at
from ansible_collections.xdr.failback.plugins.plugin_utils.bandwidth import hours_in_utc

WINTER = datetime.datetime(2031, 1, 15, 12, tzinfo=datetime.UTC)
SUMMER = datetime.datetime(2031, 7, 15, 12, tzinfo=datetime.UTC)


def asked(start: str, stop: str, zone: str) -> dict[str, Any]:
    return {"bandwidth_hours": [{"from": start, "to": stop, "limit": 7}], "bandwidth_zone": zone}


@pytest.mark.parametrize(
    ("start", "stop", "zone", "at", "minutes"),
    [
        ("08:00", "18:00", "UTC", SUMMER, (480, 1080)),
        ("08:00", "18:00", "Europe/Berlin", WINTER, (420, 1020)),
        ("08:00", "18:00", "Europe/Berlin", SUMMER, (360, 960)),
        ("00:30", "06:00", "Europe/Berlin", WINTER, (1410, 300)),
        ("20:00", "23:59", "America/New_York", WINTER, (60, 299)),
        ("22:00", "00:00", "Asia/Kolkata", SUMMER, (990, 1110)),
    ],
)
def test_hours_are_told_in_utc(start: str, stop: str, zone: str, at: datetime.datetime, minutes: tuple[int, int]) -> None:
    assert hours_in_utc(asked(start, stop, zone), at) == [{"start": minutes[0], "stop": minutes[1], "limit": 7}]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Pacific/Auckland"])
@pytest.mark.parametrize("day", [WINTER, SUMMER])
def test_the_hosts_hold_the_limit_at_the_local_hours(zone: str, day: datetime.datetime) -> None:
    """Every quarter of an hour of the day: the limit holds when the clocks of that zone say so."""
    replication = asked("19:15", "05:45", zone)
    hours = [Hours(**each) for each in hours_in_utc(replication, day)]
    for quarter in range(96):
        at = day + datetime.timedelta(minutes=15 * quarter)
        local = at.astimezone(zoneinfo.ZoneInfo(zone)).strftime("%H:%M")
        assert limit_at(at.timestamp(), None, hours) == (7 if local >= "19:15" or local < "05:45" else None), local
