# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The qcow2 image beside a volume: it holds bitmaps and metadata, the volume itself is its raw data file.

Two things to know of qemu (7.2). ``qemu-img create`` empties a data file that exists already, so an image is made with an
empty file and then told the volume's name. And the image's map hides bytes: where an instance has written zeros or
discarded, the map says so, and what is then written to the volume past qemu does not show. So an image is made anew after that.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from ....durable import fsync_folder
from ....errors import XdrError
from ... import blocks

PACKAGE = "qemu-utils"
TIMEOUT = 120.0  # seconds for one call of qemu-img


def make(image: Path, volume: Path) -> None:
    """Put a new image in the place of ``image``, durably, without touching the volume; all bitmaps of the old one are gone.

    The caller sees to it that no instance has the image open.
    """
    size = blocks.size_at(volume)
    if size is None:
        raise XdrError("the volume is missing", where=str(volume), todo="See that its path is right and it is mounted", code="no_volume")
    with tempfile.TemporaryDirectory(prefix=f".{image.name}.", dir=image.parent) as folder:
        fresh = Path(folder, "image")
        for argv in _commands(fresh, volume, size, Path(folder, "empty")):
            _run(argv, image)
        _like(image, fresh)
        fresh.replace(image)
    fsync_folder(image.parent)


def advice(image: Path, volume: Path) -> str:
    """For a person: how to make a right image by hand."""
    empty = image.with_name("empty.raw")
    lines = [*_commands(image, volume, blocks.size_at(volume) or 0, empty), ["rm", str(empty)]]
    return f"Make a right one: {' && '.join(shlex.join(line) for line in lines)} (qemu-img create with the volume itself would empty it)"


def written_past(image: Path, volume: Path) -> bool:
    """Whether the volume was written after the image was last closed: qemu stores the bitmaps after it has synced the volume.

    A block device has no time of its last write; there it is never known.
    """
    data = volume.stat()
    return stat.S_ISREG(data.st_mode) and data.st_mtime_ns > image.stat().st_mtime_ns


def same_file(one: str | Path, other: str | Path) -> bool:
    """By device and inode, or of two block devices by their numbers."""
    try:
        first, second = Path(one).stat(), Path(other).stat()
    except OSError:
        return False
    if stat.S_ISBLK(first.st_mode) and stat.S_ISBLK(second.st_mode):
        return first.st_rdev == second.st_rdev
    return os.path.samestat(first, second)


def _commands(image: Path, volume: Path, size: int, empty: Path) -> list[list[str]]:
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={_option(empty)},data_file_raw=on", str(image), str(size)]
    return [create, ["qemu-img", "amend", "-q", "-f", "qcow2", "-o", f"data_file={_option(volume)}", str(image)]]


def _option(path: Path) -> str:
    """A path within -o: absolute, as qemu looks from its own working directory, and with its commas doubled."""
    return os.path.abspath(path).replace(",", ",,")  # noqa: PTH100  (Path.resolve would follow links)


def _run(argv: list[str], image: Path) -> None:
    if not shutil.which(argv[0]):
        raise XdrError(
            f"there is no {argv[0]}", where=str(image), todo=f"Install Debian's package {PACKAGE} on this host", code="no_program"
        )
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT)
    except subprocess.CalledProcessError as error:
        raise XdrError(f"no new image could be made ({error.stderr.strip()})", where=str(image), todo="Look at its disk") from error
    except subprocess.TimeoutExpired as error:
        raise XdrError(f"no new image could be made within {TIMEOUT:g} s", where=str(image), todo="Look at its disk") from error


def _like(old: Path, fresh: Path) -> None:
    """The instance's account shall be able to open it as before; and it is on the disk before it gets its name."""
    if old.exists():
        status = old.stat()
        os.chown(fresh, status.st_uid, status.st_gid)
        fresh.chmod(stat.S_IMODE(status.st_mode))
    with fresh.open("rb") as stream:
        os.fsync(stream.fileno())
