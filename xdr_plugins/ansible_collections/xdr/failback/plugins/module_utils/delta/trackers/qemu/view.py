# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""An NBD export as a plain file of this account: a qemu-storage-daemon of ours reads it and offers it by FUSE.

The file's mount is taken out of the tree as soon as it is open: it lives as long as the descriptor. What is mounted when all of ours
are killed in the moment between, is found at its place, and removed, by the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ....errors import XdrError
from . import daemon

_DETACH, _NOFOLLOW = 2, 8
_NODE = "view"


def place_of(image: Path) -> Path:
    return image.with_name(f".{image.name}.xdr-view")


@contextlib.contextmanager
def opened(server: Path, export: str, image: Path) -> Iterator[int]:
    """A descriptor for reading. XdrError where it cannot be had."""
    place = place_of(image)
    remove(image)
    try:
        place.touch(0o600)
        empty = place.stat()
        with daemon.running(_argv(server, export, place), str(image)):
            fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if os.fstat(fd).st_dev == empty.st_dev:
                    raise XdrError("the snapshot was not mounted")
                remove(image)
                yield fd
            finally:
                os.close(fd)
    except OSError as error:
        raise XdrError(f"the snapshot cannot be read ({error.strerror})") from error
    finally:
        remove(image)


def remove(image: Path) -> None:
    """The place, and what is mounted there."""
    place = place_of(image)
    while _unmounted(place):
        pass
    with contextlib.suppress(OSError):
        place.unlink()


def _unmounted(place: Path) -> bool:
    """Whether something was mounted there."""
    try:
        if place.stat().st_dev == place.parent.stat().st_dev:
            return False
    except FileNotFoundError:
        return False
    except OSError:  # its daemon is gone
        pass
    umount = ctypes.CDLL(None, use_errno=True).umount2
    if umount(ctypes.c_char_p(os.fsencode(place)), ctypes.c_int(_DETACH | _NOFOLLOW)) == 0:
        return True
    helper = shutil.which("fusermount3")  # for other accounts than root
    return bool(helper) and subprocess.run([helper or "", "-u", "-q", "-z", str(place)], capture_output=True).returncode == 0


def _argv(server: Path, export: str, place: Path) -> list[str]:
    address = {"type": "unix", "path": str(server)}
    node = {"driver": "nbd", "node-name": _NODE, "read-only": True, "export": export, "server": address}
    view = {"type": "fuse", "id": _NODE, "node-name": _NODE, "mountpoint": str(place), "writable": False, "allow-other": "off"}
    return ["--blockdev", json.dumps(node), "--export", json.dumps(view)]
