# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Several pieces of work that wait for the disk together."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.durable import Steps, together


def work(log: list[str], name: str, sync: Callable[[int], None], fd: int) -> Steps[str]:
    for step in (1, 2):
        log.append(f"{name}{step}")
        try:
            yield [(sync, fd)]
        except OSError:
            log.append(f"{name} failed")
            raise
    return name


def test_the_disk_is_waited_for_once_for_a_step_of_all(tmp_path: Path) -> None:
    log: list[str] = []
    with (tmp_path / "file").open("w") as stream:

        def sync(fd: int) -> None:
            log.append("sync")
            os.fsync(fd)

        assert together(work(log, name, sync, stream.fileno()) for name in "abc") == ["a", "b", "c"]
    assert log == ["a1", "b1", "c1", *["sync"] * 3, "a2", "b2", "c2", *["sync"] * 3]


def test_many_are_done_in_lists_and_one_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    log: list[str] = []

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with (tmp_path / "file").open("w") as stream:
        works = [work(log, f"{number}.", full if number == 3 else os.fsync, stream.fileno()) for number in range(150)]
        with pytest.raises(OSError, match="no space"):
            together(works)
    assert [entry for entry in log if entry.startswith("3.")] == ["3.1", "3. failed"], "it was told where it waited"
    assert sum(entry.endswith(".2") for entry in log) == 149


def test_work_that_yields_nothing_and_work_that_raises_by_itself() -> None:
    def none() -> Steps[int]:
        yield []
        return 1

    def broken() -> Steps[int]:
        raise ValueError("by itself")
        yield []

    assert together([none(), none()]) == [1, 1]
    assert together([]) == []
    with pytest.raises(ValueError, match="by itself"):
        together([none(), broken()])
