# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Real file systems in sparse loop files, for as long as a test needs them."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.delta_pair import quick_folder


@dataclass(frozen=True)
class Kind:
    """``make``: the command that makes it in a file, none for tmpfs; ``options``: of the mount."""

    system: str
    make: tuple[str, ...] = ()
    options: str = "defaults"


KINDS = {
    "tmpfs": Kind("tmpfs"),
    "tmpfs-16m": Kind("tmpfs", options="size=16m"),
    "xfs": Kind("xfs", ("mkfs.xfs", "-q", "-m", "reflink=1")),
    "xfs-without-reflink": Kind("xfs", ("mkfs.xfs", "-q", "-m", "reflink=0")),
    "btrfs": Kind("btrfs", ("mkfs.btrfs", "-q")),
    "btrfs-compressed": Kind("btrfs", ("mkfs.btrfs", "-q"), "compress=zstd"),
    "btrfs-nodatacow": Kind("btrfs", ("mkfs.btrfs", "-q"), "nodatacow"),
}
SIZE = 512 << 20  # XFS wants 300 MiB at least


@dataclass(frozen=True)
class Disk:
    """A mounted file system. ``kind`` is a key of KINDS."""

    kind: str
    image: Path
    point: Path

    def mount(self) -> None:
        kind = KINDS[self.kind]
        options = f"loop,{kind.options}" if kind.make else kind.options  # the loop device goes with the mount
        _run("mount", "-t", kind.system, "-o", options, str(self.image), str(self.point))

    def unmount(self) -> None:
        try:
            _run("umount", str(self.point))
        except subprocess.CalledProcessError:  # a test left a file open
            _run("umount", "--lazy", str(self.point))
            raise

    def cut_power(self) -> None:
        """What has not reached the disk by now is lost."""
        as_it_is = self.image.with_name("as-it-is")
        _run("cp", "--sparse=always", str(self.image), str(as_it_is))
        self.unmount()
        as_it_is.replace(self.image)
        self.mount()


@contextmanager
def mounted(kind: str) -> Iterator[Disk]:
    with quick_folder() as folder:
        disk = Disk(kind, folder / "disk", folder / "mount")
        disk.point.mkdir()
        with disk.image.open("wb") as stream:
            stream.truncate(SIZE)
        if KINDS[kind].make:
            _run(*KINDS[kind].make, str(disk.image))
        disk.mount()
        try:
            yield disk
        finally:
            disk.unmount()


def kinds(*names: str) -> list[Any]:
    """Parameters for a test or fixture; those that cannot be mounted here are left out (tests/conftest.py)."""
    return [pytest.param(name, marks=pytest.mark.root(name)) for name in names]


@functools.cache
def may_mount(kind: str = "tmpfs") -> bool:
    """Tried: root may be one in a container, and the kernel or the tools may lack the kind."""
    if os.geteuid():
        return False
    try:
        with mounted(kind):
            return True
    except (subprocess.CalledProcessError, FileNotFoundError):
        return False


def _run(*argv: str) -> None:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    subprocess.run(argv, env={**os.environ, "PATH": path}, capture_output=True, check=True)
