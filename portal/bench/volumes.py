# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Volumes to measure with: their content and their changes follow from a seed; sizes and places are in bytes."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = 64 << 10
PAGE = 4 << 10
STRETCH = 1 << 20  # of data in a sparse volume; also what is read or written at once

Extent = tuple[int, int]  # offset, bytes
OLD, NEW = 0, 1  # versions of the content


@dataclass(frozen=True)
class Volume:
    """``used``: where it has data (elsewhere holes); ``changed``: where the new version differs from the old one."""

    name: str
    size: int
    seed: int
    used: tuple[Extent, ...]
    changed: tuple[Extent, ...] = ()

    @property
    def used_bytes(self) -> int:
        return total(self.used)

    @property
    def changed_bytes(self) -> int:
        return total(self.changed)

    @property
    def base(self) -> tuple[str, int, int, tuple[Extent, ...]]:
        """Two volumes with the same base have the same old content."""
        return self.name, self.size, self.seed, self.used


def total(extents: Iterable[Extent]) -> int:
    return sum(nbytes for _, nbytes in extents)


def pieces(size: int, share: float, piece: int, seed: int) -> tuple[Extent, ...]:
    """A share of the volume's whole pieces at places that the seed decides, sorted; at least one, unless the share is 0."""
    there = size // piece
    wanted = min(there, max(1, round(there * share))) if share else 0
    chosen = random.Random(seed).sample(range(there), wanted)  # noqa: S311 - the same places every time, no secret
    return merged((index * piece, piece) for index in sorted(chosen))


def merged(extents: Iterable[Extent]) -> tuple[Extent, ...]:
    """Sorted extents, those that touch as one."""
    found: list[Extent] = []
    for offset, nbytes in extents:
        if found and sum(found[-1]) == offset:
            found[-1] = (found[-1][0], found[-1][1] + nbytes)
        else:
            found.append((offset, nbytes))
    return tuple(found)


def blocks_of(extents: Iterable[Extent]) -> list[tuple[int, int]]:
    """The same as ranges of whole 64 KiB blocks: first block, number of blocks."""
    touched = sorted({index for offset, nbytes in extents for index in range(offset // BLOCK, -(-(offset + nbytes) // BLOCK))})
    return [(offset // BLOCK, nbytes // BLOCK) for offset, nbytes in merged((index * BLOCK, BLOCK) for index in touched)]


def content(volume: Volume, version: int, extent: Extent) -> Iterator[bytes]:
    """The bytes of an extent, in pieces of at most a block. They do not compress, and no two blocks are alike."""
    offset, stop = extent[0], sum(extent)
    while offset < stop:
        index, start = divmod(offset, BLOCK)
        nbytes = min(BLOCK - start, stop - offset)
        whole = random.Random(f"{volume.seed}/{version}/{index}").randbytes(BLOCK)  # noqa: S311
        yield whole[start : start + nbytes]
        offset += nbytes


def lay(path: Path, volume: Volume) -> None:
    """Make the file with the old content; what is not used stays a hole."""
    with path.open("wb") as stream:
        for extent in volume.used:
            stream.seek(extent[0])
            stream.writelines(content(volume, OLD, extent))
        stream.truncate(volume.size)


def copy(source: Path, target: Path) -> None:
    """The same bytes and the same holes."""
    with source.open("rb") as there, target.open("wb") as here:
        for offset, nbytes in data_of(there.fileno()):
            _copy_extent(there.fileno(), offset, here.fileno(), offset, nbytes)
        here.truncate(os.fstat(there.fileno()).st_size)


def write_patch(path: Path, volume: Volume, version: int) -> None:
    """What lies at the changed places in that version, one after the other: making it takes longer than writing it."""
    with path.open("wb") as stream:
        for extent in volume.changed:
            stream.writelines(content(volume, version, extent))


def apply_patch(patch: Path, volume: Volume, target: Path) -> None:
    with patch.open("rb") as there, target.open("r+b") as here:
        at = 0
        for offset, nbytes in volume.changed:
            _copy_extent(there.fileno(), at, here.fileno(), offset, nbytes)
            at += nbytes


def _copy_extent(source: int, at: int, target: int, offset: int, nbytes: int) -> None:
    """pread and pwrite, so that the target gets blocks of its own on every file system."""
    while nbytes:
        chunk = os.pread(source, min(nbytes, STRETCH), at)
        os.pwrite(target, chunk, offset)
        at, offset, nbytes = at + len(chunk), offset + len(chunk), nbytes - len(chunk)


def data_of(fd: int) -> Iterator[Extent]:
    """Where the file has data; where holes cannot be asked for, all of it."""
    at, size = 0, os.fstat(fd).st_size
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            at = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            start, at = at, size
        yield start, at - start


def warm(path: Path) -> None:
    """Have all its data in the page cache."""
    buffer = bytearray(STRETCH)
    with path.open("rb", buffering=0) as stream:
        for offset, nbytes in data_of(stream.fileno()):
            for at in range(offset, offset + nbytes, STRETCH):
                os.preadv(stream.fileno(), [buffer], at)


def cool(path: Path) -> None:
    """Have none of it in the page cache; what was written must be on disk first."""
    with path.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def settle(path: Path, *, cold: bool) -> None:
    """On disk, and the cache as wanted."""
    with path.open("r+b") as stream:
        os.fsync(stream.fileno())
    (cool if cold else warm)(path)


def equal(one: Path, other: Path) -> bool:
    """Byte for byte; what is a hole in both is not read."""
    with one.open("rb", buffering=0) as first, other.open("rb", buffering=0) as second:
        fds = first.fileno(), second.fileno()
        if os.fstat(fds[0]).st_size != os.fstat(fds[1]).st_size:
            return False
        touched = {index for fd in fds for extent in data_of(fd) for index in _stretches(extent)}
        return all(os.pread(fds[0], STRETCH, at * STRETCH) == os.pread(fds[1], STRETCH, at * STRETCH) for at in sorted(touched))


def _stretches(extent: Extent) -> range:
    return range(extent[0] // STRETCH, -(-sum(extent) // STRETCH))


def allocated(path: Path) -> int:
    """Bytes that the file takes on disk."""
    return path.stat().st_blocks * 512
