# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The temporary file beside the image in which qemu keeps, for a snapshot, the old content of what is written meanwhile."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from ....errors import XdrError
from .image import TIMEOUT

SHARE = 4  # a part of so many of the free space: the instance itself needs some
LEAST = 1 << 20  # bytes; qcow2's own tables take a third of it


def path_of(image: Path) -> Path:
    return image.with_name(f".{image.name}.xdr-old")


def make(image: Path, size: int, *, among: int) -> int:
    """An empty qcow2 for a volume of ``size`` bytes, one of ``among``; the most bytes that the file may take.

    The file is as long as that from the start, with a hole, so that a raw node can hold qemu to it. XdrError where there is no room.
    """
    path = path_of(image)
    remove(image)
    most = limit(image, size, among)
    if most < LEAST:
        raise XdrError("there is too little free space beside the image for the old content of what is written meanwhile")
    try:
        create = ["qemu-img", "create", "-q", "-f", "qcow2", str(path), str(size)]
        subprocess.run(create, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT)
        os.truncate(path, most)
        status = image.stat()
        os.chown(path, status.st_uid, status.st_gid)
        path.chmod(0o600)
    except (OSError, subprocess.SubprocessError) as error:
        remove(image)
        raise XdrError(f"no file could be made beside the image ({error})") from error
    return most


def limit(image: Path, size: int, among: int) -> int:
    """Whole sectors."""
    free = shutil.disk_usage(image.parent).free // (SHARE * among)
    return min(free, size + size // 512 + LEAST) // 512 * 512


def remove(image: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path_of(image).unlink()
