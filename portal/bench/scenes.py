# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What is measured: volumes, their changes and the cache; all sizes follow from one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .volumes import BLOCK, PAGE, STRETCH, Volume, pieces

SIZE = 2 << 30  # bytes; what the goals are stated for
MANY = 50  # volumes of one host pair
GROWTH = (0.5, 1.0, 2.0, 4.0)  # sizes, as parts of the one asked for
PART = 32  # of the size: one of many volumes, and what changes in a volume that grows


@dataclass(frozen=True)
class Scene:
    """``cold``: nothing of the volumes is in the page cache. ``first``: there is no target yet. ``piece``: bytes of one change."""

    name: str
    volumes: tuple[Volume, ...]
    piece: int = BLOCK
    cold: bool = False
    first: bool = False

    @property
    def base(self) -> list[object]:
        """Scenes of the same base, one after the other, need no new volumes."""
        return [*(volume.base for volume in self.volumes), self.first]

    @property
    def used_bytes(self) -> int:
        return sum(volume.used_bytes for volume in self.volumes)

    @property
    def changed_bytes(self) -> int:
        return sum(volume.changed_bytes for volume in self.volumes)


def scenes(size: int) -> dict[str, Scene]:
    """Scenes by name; neighbours share a base where they can."""
    whole, part = Volume("volume", size, 1, ((0, size),)), max(size // PART // BLOCK, 1) * BLOCK
    found = [
        Scene("aligned-0", (whole,)),
        Scene("aligned-1", (replace(whole, changed=pieces(size, 0.01, BLOCK, 1)),)),
        Scene("aligned-1-cold", (replace(whole, changed=pieces(size, 0.01, BLOCK, 1)),), cold=True),
        Scene("aligned-10", (replace(whole, changed=pieces(size, 0.1, BLOCK, 2)),)),
        Scene("scattered", (replace(whole, changed=pieces(size, 0.01, PAGE, 3)),), piece=PAGE),
        Scene("sparse", (Volume("sparse", size, 5, pieces(size, 0.1, STRETCH, 5)),), piece=STRETCH, first=True),
        *(_grown(size, part, factor) for factor in GROWTH),
        Scene("many", tuple(_small(part, number) for number in range(MANY))),
        _single(part),
    ]
    return {scene.name: scene for scene in found}


def _grown(size: int, changed: int, factor: float) -> Scene:
    """Data only where it changes, holes elsewhere: so that a volume of 8 GiB takes no 8 GiB twice."""
    grown = int(size * factor) // BLOCK * BLOCK
    places = pieces(grown, changed / grown, BLOCK, 6)
    return Scene(f"growth-{factor:g}", (Volume("grown", grown, 6, places, places),))


def _small(part: int, number: int) -> Volume:
    return Volume(f"volume-{number:02}", part, 100 + number, ((0, part),), pieces(part, 0.01, BLOCK, 100 + number))


def _single(part: int) -> Scene:
    """As large as the many together, with as much changed."""
    changed = sum(_small(part, number).changed_bytes for number in range(MANY))
    size = MANY * part
    return Scene("single", (Volume("single", size, 8, ((0, size),), pieces(size, changed / size, BLOCK, 8)),))
