# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Which scenarios there are, and which one a seed means."""

from __future__ import annotations

from dataclasses import dataclass

from .kinds import KINDS, Kind
from .places import STEPS, Place

_STRIDE = 7919  # a prime: consecutive seeds are far apart in the list, and so many as there are scenarios mean each of them once


@dataclass(frozen=True)
class Scenario:
    kind: Kind
    place: Place

    @property
    def name(self) -> str:
        return f"{self.kind.name}@{self.place}"


def every(only: str = "") -> list[Scenario]:
    """All of them, or those of one step, kind or place. Raises ValueError for a word that is none of these."""
    known = [Scenario(kind, place) for kind in KINDS.values() for place in kind.places]
    if not only:
        return known
    found = [one for one in known if only in (one.place.step, one.kind.name, str(one.place), one.name)]
    if not found:
        raise ValueError(f"'{only}' is no step, kind or scenario. Steps: {', '.join(STEPS)}. Kinds: {', '.join(KINDS)}")
    return found


def of_seed(seed: int, among: list[Scenario]) -> Scenario:
    return among[seed * _STRIDE % len(among)]
