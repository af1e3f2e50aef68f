# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What the runs report of the outage, held against what the client saw of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..lab.orders import Ack, outage

AGREES = 1.0  # seconds
SHORTEST = 3.0  # a time without answers that is an outage for sure


def of(documents: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The achieved figures (portal/achieved.py) of those runs that ended an outage."""
    return [found for document in documents if (found := document.get("achieved"))]


def seen(acks: Sequence[Ack], since: float) -> float:
    """The longest time without an answer, from ``since`` (before the first run, monotonic seconds) on."""
    return outage(acks, since, max((ack.monotonic for ack in acks), default=since))


def wrong(reports: Sequence[Mapping[str, Any]], seen: float, spacing: float) -> list[str]:
    """``seen``: the client's outage; ``spacing``: its seconds between two orders. Pure.

    A plan may be down more than once in a scenario: the longest time is judged. A report that calls itself inexact is no shorter than it.
    """
    told = max((float(one["outage_s"]) for one in reports), default=0.0)
    near = AGREES + spacing
    if not reports:
        return [f"nobody reported an outage of {seen:.1f} s"] if seen > SHORTEST else []
    if any(one["inexact"] for one in reports):
        return [f"an outage of {seen:.1f} s was reported as {told:.1f} s at most"] if told < seen - near else []
    lost = [f"{one['rpo_s']:g} s of writes were reported as left behind" for one in reports if one["rpo_s"]]
    return lost + ([f"an outage of {seen:.1f} s was reported as {told:.1f} s"] if abs(told - seen) > near else [])
