# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A reported outage against the one that the client saw."""

from __future__ import annotations

from typing import Any

import pytest

from portal.faults import reports
from portal.lab.orders import Ack


def report(outage: float, inexact: str = "", rpo: float = 0.0) -> dict[str, Any]:
    return {"outage_s": outage, "inexact": inexact, "rpo_s": rpo}


@pytest.mark.parametrize(
    ("told", "seen", "breach"),
    [
        ([report(5.0)], 5.9, ""),
        ([report(5.0)], 4.1, ""),
        ([report(5.0)], 6.3, "an outage of 6.3 s was reported as 5.0 s"),
        ([report(5.0)], 3.7, "an outage of 3.7 s was reported as 5.0 s"),
        ([report(4.0), report(9.0)], 9.2, ""),  # rolled back, then home
        ([report(4.0), report(9.0)], 14.0, "an outage of 14.0 s was reported as 9.0 s"),
        ([report(9.0, "cut off")], 5.0, ""),
        ([report(5.0, "cut off")], 9.0, "an outage of 9.0 s was reported as 5.0 s at most"),
        ([report(5.0, rpo=0.5)], 5.0, "0.5 s of writes were reported as left behind"),
        ([], 0.4, ""),
        ([], 8.0, "nobody reported an outage of 8.0 s"),
    ],
)
def test_what_is_wrong(told: list[dict[str, Any]], seen: float, breach: str) -> None:
    assert reports.wrong(told, seen, 0.125) == ([breach] if breach else [])


def test_the_longest_time_without_an_answer() -> None:
    acks = [Ack(number, at, 0.0) for number, at in enumerate((0.0, 9.0, 10.0, 10.5, 13.0, 13.1))]
    assert reports.seen(acks, 9.5) == 2.5
    assert reports.seen([], 1.0) == 0.0


def test_which_documents_report() -> None:
    assert reports.of([{}, {"achieved": None}, {"achieved": report(1.0)}]) == [report(1.0)]
