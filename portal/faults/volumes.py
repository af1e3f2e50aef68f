# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Which orders a site's volumes hold, read from the files of a site that is down."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..lab.orders import duplicated, numbers_in_file

SLOT = 512  # bytes of a record: a volume of 1 MiB keeps more of them than a scenario has orders
_RECORD = re.compile(rb"(\d+) [\d.]+ order (\d+)\n\.*")


@dataclass(frozen=True)
class Held:
    """``numbers`` in the order in which they were written; ``wrapped``: a ring that has begun to overwrite its oldest."""

    numbers: tuple[int, ...]
    wrapped: bool = False


def of_database(volume: Path) -> Held:
    return Held(tuple(numbers_in_file(volume)))


def of_ring(volume: Path, slot: int = SLOT) -> Held:
    """The records of an image (roles/lab_site/files/bin/lab_service.py): slot 0 counts them, the others are a ring."""
    content = volume.read_bytes()
    written = int(content[:20].rstrip(b"\0\n ") or b"0")
    slots = len(content) // slot - 1
    found: dict[int, int] = {}
    for at in range(slot, len(content), slot):
        if (match := _RECORD.fullmatch(content[at : at + slot])) and int(match[1]) <= written:
            found[int(match[1])] = int(match[2])
    kept = [found[count] for count in sorted(found)]
    return Held(tuple(kept), wrapped=written > slots)


def of_site(folder: Path, resources: dict[str, str]) -> dict[str, Held]:
    return {name: (of_database if name == "orders-db" else of_ring)(folder / file) for name, file in resources.items()}


def wrong(held: Held, acknowledged: Sequence[int], sent: int) -> list[str]:
    """What does not agree with the writer's log; ``sent``: the highest number that was ever sent."""
    there = set(held.numbers)
    # Only those that were acknowledged were written in the order of their numbers: one that timed out may come behind its successors.
    oldest = min(there.intersection(acknowledged), default=0) if held.wrapped else 0
    lost = [number for number in acknowledged if number >= oldest and number not in there]
    strange = sorted(number for number in there if not 0 < number <= sent + 1)  # the one in hand as the writer ended is in no log
    told = []
    for what, numbers in (("lost", lost), ("twice", duplicated(held.numbers)), ("never sent", strange)):
        if numbers:
            told.append(f"{len(numbers)} {what} (the first is {numbers[0]})")
    return told
