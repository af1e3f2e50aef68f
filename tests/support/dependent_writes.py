# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A guest that writes to several disks without a pause, one write after the other; and what its disks hold after each write.

Run as a program (in the Python of a site host, for libnbd) it is that guest, from write FIRST on, until its input ends; then
it prints how many writes there were. usage: dependent_writes.py SEED PAGES FIRST URI…
"""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import threading
from pathlib import Path

PAGE = 4096
PYTHON = "/usr/bin/python3"
_WORDS = PAGE // 8


def stroke(seed: int, number: int, disks: int, pages: int) -> tuple[int, int, bytes]:
    """Disk, page and content of a write: its number, or for each eighth zeros."""
    luck = random.Random(seed << 40 | number)  # noqa: S311
    disk, page = luck.randrange(disks), luck.randrange(pages)
    return disk, page, bytes(PAGE) if number % 8 == 0 else struct.pack(">Q", number) * _WORDS


class Model:
    """The disks after ``number`` writes."""

    def __init__(self, seed: int, contents: list[bytes]) -> None:
        self.seed, self.number = seed, 0
        self.disks = [bytearray(each) for each in contents]
        self.pages = len(contents[0]) // PAGE

    def play(self, upto: int) -> None:
        while self.number < upto:
            self.number += 1
            disk, page, data = stroke(self.seed, self.number, len(self.disks), self.pages)
            self.disks[disk][page * PAGE : (page + 1) * PAGE] = data

    def is_at(self, contents: list[bytes]) -> bool:
        """Go on to where these disks are; whether they are all of one such state."""
        self.play(max(self.number, *map(newest, contents)))
        if self.disks != contents:
            self.play(self.number + 1)  # its last write may have been zeros, which have no number
        return self.disks == contents


def newest(content: bytes) -> int:
    """The highest number of a write that is there."""
    pages = (content[at : at + PAGE] for at in range(0, len(content), PAGE))
    numbers = (int.from_bytes(page[:8], "big") for page in pages if page == page[:8] * _WORDS)
    return max((number for number in numbers if number < 1 << 32), default=0)


class Guest:
    """The program, from its start to ``stop``."""

    def __init__(self, seed: int, pages: int, uris: list[str], first: int = 1) -> None:
        argv = [PYTHON, "-W", "error", str(Path(__file__).resolve()), str(seed), str(pages), str(first), *uris]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout
        assert self.process.stdout.readline() == b"writing\n"

    def stop(self) -> int:
        """How many writes there were; each of them succeeded."""
        told, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        return int(told)


def main() -> None:
    import nbd

    seed, pages, first, *uris = sys.argv[1:]
    handles = []
    for uri in uris:
        handles.append(nbd.NBD())
        handles[-1].connect_uri(uri)
    stopped = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stopped.set())).start()
    number = int(first) - 1
    while not stopped.is_set():
        number += 1
        disk, page, data = stroke(int(seed), number, len(handles), int(pages))
        if data.strip(b"\0"):
            handles[disk].pwrite(data, page * PAGE)
        else:
            handles[disk].zero(PAGE, page * PAGE)
        if number == int(first):
            print("writing", flush=True)
    for handle in handles:
        handle.shutdown()
    print(number)


if __name__ == "__main__":
    main()
