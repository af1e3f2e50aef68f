# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Clones of several volumes: one point in time, or not proven to be one."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.reflink import Reflink
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.stillness import Stillness

from tests.support.filesystems import kinds, mounted
from tests.support.processes import wait_until
from tests.support.strokes import play


def settled(*volumes: Path) -> None:
    wait_until(lambda: all(time.time_ns() - volume.stat().st_ctime_ns > 30_000_000 for volume in volumes), "the last write is past")


def volumes_in(folder: Path) -> list[Path]:
    volumes = [folder / "data.img", folder / "log.img"]
    for volume in volumes:
        play(volume, [("write", 0, 4 * BLOCK, 1)])
    return volumes


def rewritten(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def swapped(path: Path) -> None:
    path.rename(path.with_suffix(".old"))
    path.write_bytes(path.with_suffix(".old").read_bytes())


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda path: play(path, [("write", 5, 1, 1)]), id="written"),
        pytest.param(lambda path: play(path, [("store", 5, 1, 1)]), id="stored through a mapping"),
        pytest.param(lambda path: play(path, [("truncate", 7 * BLOCK, 0, 0)]), id="resized"),
        pytest.param(rewritten, id="written again"),
        pytest.param(swapped, id="another file"),
    ],
)
def test_a_write_in_between_is_told(tmp_path: Path, act: Callable[[Path], object]) -> None:
    data, log = volumes_in(tmp_path)
    settled(data, log)
    still = Stillness([data, log])
    assert still.broken() == ""
    act(log)
    assert still.broken() == f"{log} was written while the snapshots were made"
    act(data)
    assert still.broken() == f"{data}, {log} were written while the snapshots were made"


def test_a_write_just_before_proves_nothing(tmp_path: Path) -> None:
    """Another one in the same tick of the clock would set the same time."""
    data, log = volumes_in(tmp_path)
    settled(data, log)
    play(data, [("write", 5, 1, 1)])
    os.utime(log, ns=(0, time.time_ns() + 10**12))  # whatever mtime says
    settled(log)
    play(data, [("write", 5, 1, 1)])
    assert Stillness([data, log]).broken() == f"{data} was written just before the snapshots were made"


@pytest.fixture(params=kinds("xfs", "btrfs", "btrfs-nodatacow"))
def volumes(request: pytest.FixtureRequest) -> Iterator[list[Path]]:
    with mounted(request.param) as disk:
        yield volumes_in(disk.point)


def test_cloning_is_no_write(volumes: list[Path]) -> None:
    settled(*volumes)
    still = Stillness(volumes)
    for volume in volumes:
        Reflink(volume).mark("one")
        assert Reflink(volume).changed("one") == []
    assert still.broken() == ""


def test_a_store_into_a_page_that_was_already_dirty(volumes: list[Path]) -> None:
    """It faults no more, so it sets no time, until the clone has written the page out: then it is told, or is in the clone."""
    data, log = volumes
    with data.open("r+b") as stream, mmap.mmap(stream.fileno(), 4 * BLOCK) as memory:
        memory[9] = 1
        settled(data, log)
        still = Stillness(volumes)
        memory[9] = 2
        assert still.broken() == ""
        Reflink(data).mark("one")
        assert still.broken() == ""
        memory[9] = 3
        assert still.broken() == f"{data} was written while the snapshots were made"
        Reflink(log).mark("one")
    assert data.with_name(".data.img.xdr").joinpath("one").read_bytes()[9] == 2
