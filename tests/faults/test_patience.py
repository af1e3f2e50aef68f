# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

import time

import pytest

from portal.faults import patience


def test_it_waits_for_a_condition_or_gives_up() -> None:
    looks = iter([False, False, True])
    assert patience.wait_until(lambda: next(looks), 10, every=0)
    assert not patience.wait_until(lambda: False, 0)


def test_time_in_which_nothing_ran_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look comes an hour after the one before, and counts as a second."""
    clock, looks = iter(range(0, 10**9, 3600)), iter([False] * 30 + [True])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert patience.wait_until(lambda: next(looks), 60)
