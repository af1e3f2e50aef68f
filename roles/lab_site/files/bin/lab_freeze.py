#!/usr/bin/python3
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Holds a volume of the lab still while it is read block by block: a SQLite database, or an image of records.

hold VOLUME     returns once no write can begin and the last one is in the file; lets go by itself after 20 s
release VOLUME  fails when it had let go before: what was read meanwhile may be torn
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import select
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from typing import NoReturn

LONGEST = 20.0  # seconds; the shop stands still meanwhile


class LabError(Exception):
    """One sentence for the person at the other end."""


def holder_file(volume: str) -> str:
    return volume + "-hold.json"


def started(pid: int) -> int:
    """Start time of a process (field 22 of its stat), 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def read_holder(volume: str) -> tuple[int, int]:
    """Pid and start time of the holder, zeros when there is none."""
    try:
        with open(holder_file(volume), encoding="utf-8") as stream:
            document = json.load(stream)
        return int(document["pid"]), int(document["started"])
    except (OSError, ValueError, KeyError):
        return 0, 0


def end(volume: str) -> bool:
    """End the holder; whether it was still holding."""
    pid, start = read_holder(volume)
    held = bool(pid) and started(pid) == start
    if held:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            held = False
    deadline = time.monotonic() + 5
    while pid and started(pid) == start and time.monotonic() < deadline:
        time.sleep(0.005)
    if os.path.exists(holder_file(volume)):
        os.unlink(holder_file(volume))
    return held


def freeze(volume: str, wait: float) -> Callable[[], None]:
    """What lets go again."""
    with open(volume, "rb") as stream:
        is_database = stream.read(16) == b"SQLite format 3\0"
    return freeze_database(volume, wait) if is_database else freeze_image(volume, wait)


def freeze_image(volume: str, wait: float) -> Callable[[], None]:
    """lab_service.py writes a record under this lock."""
    stream = open(volume, "rb")  # noqa: SIM115 - the lock lives as long as it
    deadline = time.monotonic() + wait
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return stream.close
        if time.monotonic() > deadline:
            raise LabError(f"{volume}: its lock did not become free within {wait:g} s; look at who writes to it")
        time.sleep(0.001)


def freeze_database(volume: str, wait: float) -> Callable[[], None]:
    database = sqlite3.connect(volume, timeout=wait, isolation_level=None)
    deadline = time.monotonic() + wait
    while True:
        database.execute("BEGIN IMMEDIATE")
        if not os.path.exists(volume + "-journal"):
            return database.close  # rolls back: nothing was written
        database.execute("ROLLBACK")
        if time.monotonic() > deadline:
            raise LabError(f"{volume}: its journal did not go away within {wait:g} s; look at who writes to it")
        time.sleep(0.005)


def holder(volume: str, longest: float, ready: int) -> NoReturn:
    """The detached process: hold, say so, wait for the end."""
    ends = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        let_go = freeze(volume, wait=10.0)
        with open(holder_file(volume), "w", encoding="utf-8") as stream:
            json.dump({"pid": os.getpid(), "started": started(os.getpid())}, stream)
    except (LabError, OSError, sqlite3.Error) as error:
        os.write(ready, f"{error}".encode())
        os._exit(1)
    os.write(ready, b"held")
    os.close(ready)
    signal.sigtimedwait(ends, longest)
    let_go()
    os._exit(0)


def detach(volume: str, longest: float, ready: int) -> None:
    if os.fork():
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):  # else the caller would wait for our end of its pipes
        os.dup2(null, number)
    holder(volume, longest, ready)


def hold(volume: str, longest: float) -> None:
    if not os.path.exists(volume):
        raise LabError(f"{volume}: there is no such volume; check the plan's path")
    end(volume)  # what an interrupted cycle left
    heard, said = os.pipe()
    detach(volume, longest, said)
    os.close(said)
    if not select.select([heard], [], [], 15.0)[0]:
        raise LabError(f"{volume}: could not be held within 15 s; look at who writes to it")
    answer = os.read(heard, 4096).decode()
    if answer != "held":
        raise LabError(f"{volume}: could not be held: {answer or 'the holder died'}")


def release(volume: str) -> None:
    if not end(volume):
        raise LabError(f"{volume}: was not held any more; what was read since may be torn, read it again")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["hold", "release"])
    parser.add_argument("volume")
    parser.add_argument("--longest", type=float, default=LONGEST, help="seconds after which it lets go by itself")
    options = parser.parse_args()
    try:
        if options.action == "hold":
            hold(options.volume, options.longest)
        else:
            release(options.volume)
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
