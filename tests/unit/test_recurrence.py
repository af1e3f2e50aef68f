# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Rules of recurring windows: what is one, and when each begins, also where the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from ansible_collections.xdr.failback.plugins.plugin_utils import recurrence
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.windows import BERLIN, at

DAY = 86_400.0


def begins(rule: str, start: str, since: str, until: str, zone: str = "Europe/Berlin") -> list[str]:
    found = recurrence.begins(recurrence.rule(rule), recurrence.local(start), zone, at(since), at(until))
    return [datetime.fromtimestamp(each, UTC).strftime("%m-%d %H:%M") for each in found]


@pytest.mark.parametrize(
    ("rule", "start", "since", "until", "expected"),
    [
        ("FREQ=WEEKLY;BYDAY=SU", "2026-03-01T02:30", "2026-03-20", "2026-04-06", ["03-22 01:30", "03-29 01:30", "04-05 00:30"]),  # a gap
        ("FREQ=WEEKLY;BYDAY=SU", "2026-03-01T02:30", "2026-10-20", "2026-11-02", ["10-25 00:30", "11-01 01:30"]),  # comes twice: the first
        ("FREQ=DAILY", "2026-03-28T02:00", "2026-03-28", "2026-03-31", ["03-28 01:00", "03-29 01:00", "03-30 00:00"]),
        (
            "FREQ=DAILY;UNTIL=20260302",
            "2026-03-01T02:00",
            "2026-03-01",
            "2026-04-01",
            ["03-01 01:00", "03-02 01:00"],
        ),  # that day as a whole
        ("FREQ=DAILY;UNTIL=20260302T010000Z", "2026-03-01T02:00", "2026-03-01", "2026-04-01", ["03-01 01:00", "03-02 01:00"]),
        ("FREQ=DAILY;UNTIL=20260302T005959Z", "2026-03-01T02:00", "2026-03-01", "2026-04-01", ["03-01 01:00"]),
        ("FREQ=DAILY;COUNT=2", "2026-03-01T02:00", "2026-03-01", "2026-04-01", ["03-01 01:00", "03-02 01:00"]),
        ("FREQ=MONTHLY;BYDAY=-1SA", "2026-01-01T22:00", "2026-01-01", "2026-03-01", ["01-31 21:00", "02-28 21:00"]),
        ("freq=yearly;bymonth=2;bymonthday=29", "2026-01-01T22:00", "2026-01-01", "2030-01-01", ["02-29 21:00"]),
        ("RRULE:FREQ=WEEKLY;INTERVAL=2", "2026-03-01T02:00", "2026-03-01", "2026-03-20", ["03-01 01:00", "03-15 01:00"]),
    ],
)
def test_when_it_begins(rule: str, start: str, since: str, until: str, expected: list[str]) -> None:
    assert begins(rule, start, since, until) == expected


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("", "a rule of RFC 5545"),
        ("every sunday", "a rule of RFC 5545"),
        ("FREQ=HOURLY", "FREQ one of DAILY"),
        ("FREQ=WEEKLY;INTERVAL=0", "found INTERVAL=0"),
        ("FREQ=WEEKLY;BYDAY=XX", "invalid 'BYDAY'"),
        ("FREQ=WEEKLY;COLOUR=RED", "unknown parameter"),
        ("FREQ=WEEKLY\nDTSTART:20260101T000000", "a rule of RFC 5545"),
        ("FREQ=WEEKLY;UNTIL=20261399", "a rule of RFC 5545"),
    ],
)
def test_what_is_no_rule(rule: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        recurrence.rule(rule)


@pytest.mark.parametrize("text", ["", "02:00", "2026-03-01", "2026-03-01T02:00Z", "2026-03-01T02:00+01:00", "2026-02-30T02:00", 7])
def test_what_is_no_local_time(text: object) -> None:
    with pytest.raises(ValueError, match="a local date and time without an offset"):
        recurrence.local(text)


@pytest.mark.parametrize(
    ("rule", "hours", "told"),
    [
        ("FREQ=WEEKLY", 7 * 24, "begins again after 167h"),  # in the week in which the clocks go forward
        ("FREQ=WEEKLY", 167, ""),
        ("FREQ=DAILY;BYHOUR=2,4", 3, "begins again after 1h"),  # as above
        ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", 1, "names no day that there is"),
        ("FREQ=DAILY;UNTIL=20200101", 1, "ends before its start"),
        ("FREQ=DAILY;COUNT=1", 48, ""),
    ],
)
def test_how_long_it_may_last(rule: str, hours: int, told: str) -> None:
    why = recurrence.too_long(rule, "2026-03-01T02:00:00", "Europe/Berlin", hours * 3600)
    assert told in why if told else why == ""


RULES = st.builds(
    lambda freq, interval, day: f"FREQ={freq};INTERVAL={interval}{day}",
    st.sampled_from(recurrence.FREQUENCIES),
    st.integers(1, 4),
    st.sampled_from(["", ";BYDAY=SU", ";BYDAY=MO,WE", ";BYMONTHDAY=1", ";BYMONTHDAY=-1"]),
)
MOMENTS = st.integers(int(at("2025-01-01")), int(at("2027-06-01")))


@settings(max_examples=examples(60), deadline=None)
@given(RULES, st.integers(0, 23), st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"]), MOMENTS, MOMENTS, MOMENTS)
def test_spans_fit_together(rule: str, hour: int, zone: str, one: int, two: int, three: int) -> None:
    """Whatever is asked for, no occurrence is lost or there twice, each is at the rule's time of the day, or in a gap moved out of it."""
    first, middle, last = sorted((one, two, three))
    start = f"2025-01-01T{hour:02}:30:00"
    whole = recurrence.begins(rule, start, zone, first, last)
    parts = [*recurrence.begins(rule, start, zone, first, middle), *recurrence.begins(rule, start, zone, middle + 1, last)]
    assert whole == parts == sorted(set(whole))
    for begin in whole:
        here = datetime.fromtimestamp(begin, ZoneInfo(zone))
        before = (here - timedelta(hours=24)).utcoffset()
        assert here.hour == hour or (here.utcoffset() != before and here.hour == hour + 1)


def test_a_change_of_the_clocks_makes_no_window_longer() -> None:
    [begin] = recurrence.begins("FREQ=WEEKLY", "2026-03-29T01:00:00", "Europe/Berlin", at("2026-03-28"), at("2026-03-30"))
    assert datetime.fromtimestamp(begin + 2 * 3600, BERLIN).strftime("%H:%M %Z") == "04:00 CEST"
