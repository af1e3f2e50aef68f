# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The fence's eyes: real processes that hold a file."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.openfiles import command_of, holders, scan

OPEN = "import sys; held = open(sys.argv[1]); print('ready', flush=True); sys.stdin.read()"
MAPPED = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY); held = mmap.mmap(fd, 4096, prot=mmap.PROT_READ); os.close(fd)
print('ready', flush=True); sys.stdin.read()
"""


@contextlib.contextmanager
def process(program: str, path: Path) -> Iterator[int]:
    """A process that runs the program with the path, from the moment it says so."""
    argv = ["/usr/bin/python3", "-c", program, str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"ready\n"
        yield started.pid
        started.communicate(timeout=10)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "orders.img"
    path.write_bytes(bytes(8192))
    return path


@pytest.mark.parametrize("program", [OPEN, MAPPED], ids=["open", "mapped, descriptor closed"])
@pytest.mark.parametrize("name", ["same", "symbolic link", "hard link", "renamed since"])
def test_a_holder_is_found_by_whatever_name(volume: Path, program: str, name: str) -> None:
    other = volume.with_name("other.img")
    if name == "symbolic link":
        other.symlink_to(volume)
    elif name == "hard link":
        other.hardlink_to(volume)
    with process(program, volume) as pid:
        if name == "renamed since":
            volume.rename(other)
        asked = volume if name == "same" else other
        (found,) = holders([asked])
        assert holders([asked], but=pid) == []
    assert (found.pid, found.path) == (pid, asked)
    assert found.command.startswith("/usr/bin/python3 -c")
    assert holders([asked]) == []


def test_each_holder_of_each_path_once(volume: Path, tmp_path: Path) -> None:
    second = tmp_path / "carts.img"
    second.write_bytes(b"x")
    with process(OPEN, volume) as first, process(OPEN, second) as other:
        found = scan([volume, second, tmp_path / "missing.img"])
    assert {(holder.pid, holder.path) for holder in found.holders} == {(first, volume), (other, second)}
    assert found.unreadable >= 0


def test_a_process_that_has_ended_has_no_command() -> None:
    done = subprocess.Popen(["/bin/true"])
    done.wait(10)
    assert command_of(done.pid) == "?"
