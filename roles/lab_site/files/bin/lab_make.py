#!/usr/bin/python3
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Makes what a host of the lab keeps for good, where it is missing: folders, host key, the controller's login, volumes.

The configuration files, a JSON object {path: text} on stdin, are written where they differ. Prints the paths it made or changed.
A volume is an image file an eighth full of data, or the orders database with a filler table.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator

MIB = 1 << 20


def make_image(path: str, size: int) -> None:
    """Every eighth MiB holds data that does not compress, the rest are holes."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.ftruncate(fd, size)
    for at in range(0, size, 8 * MIB):
        os.pwrite(fd, os.urandom(min(MIB, size - at)), at)
    os.pwrite(fd, b"0".ljust(4096), 0)
    os.fsync(fd)
    os.close(fd)


def make_orders(path: str, size: int) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA page_size=4096")
    database.execute("PRAGMA journal_mode=OFF")  # a fresh file under another name: nothing to lose
    database.execute("PRAGMA synchronous=OFF")
    database.execute("CREATE TABLE orders(id INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL, at REAL NOT NULL)")
    database.execute("CREATE TABLE customers(id INTEGER PRIMARY KEY, data BLOB NOT NULL)")  # the filler
    database.execute("BEGIN")
    row = 64 * 1024
    database.executemany("INSERT INTO customers(data) VALUES (?)", ((random.randbytes(row),) for _ in range(size // row)))
    database.execute("COMMIT")
    database.close()
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.close(fd)


def make_volume(kind: str, path: str, mib: int) -> None:
    fresh = path + ".new"
    if os.path.exists(fresh):
        os.unlink(fresh)
    (make_orders if kind == "orders" else make_image)(fresh, mib * MIB)
    os.rename(fresh, path)  # so that a file of this name is a whole volume


def make_host_key(path: str, name: str) -> None:
    for left in (path + ".new", path + ".new.pub"):
        if os.path.exists(left):
            os.unlink(left)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path + ".new"], check=True)
    os.rename(path + ".new.pub", path + ".pub")
    os.rename(path + ".new", path)


def allow(path: str, line: str) -> bool:
    """Add a line to authorized_keys; whether it was missing."""
    with open(path, "a+", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
        stream.seek(0)
        if line in stream.read().splitlines():
            return False
        stream.write(line + "\n")
        return True


def write(path: str, text: str) -> bool:
    """Replace a file at once; whether it differed."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as stream:
            if stream.read() == text:
                return False
    with open(path + ".new", "w", encoding="utf-8") as stream:
        stream.write(text)
    os.rename(path + ".new", path)
    return True


def make(site: str, name: str, login: str, programs: str, volumes: list[str]) -> Iterator[str]:
    for folder in (f"{site}/{part}" for part in ("ssh", "volumes", "log", "daemons")):
        if not os.path.isdir(folder):
            os.mkdir(folder, 0o700)
            yield folder
    if not os.path.islink(f"{site}/bin"):
        os.symlink(programs, f"{site}/bin")
        yield f"{site}/bin"
    host_key = f"{site}/ssh/ssh_host_ed25519_key"
    if not os.path.exists(host_key):
        make_host_key(host_key, name)
        yield host_key
    authorized_keys = f"{site}/ssh/authorized_keys"
    if allow(authorized_keys, login):
        yield authorized_keys
    for kind, mib, path in (text.split(":", 2) for text in volumes):
        if not os.path.exists(path):
            make_volume(kind, path, int(mib))
            yield path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", help="the host's folder")
    parser.add_argument("--only-files", action="store_true", help="write the files on stdin, the host is there")
    parser.add_argument("--name", help="the host's name")
    parser.add_argument("--login", help="the controller's public key")
    parser.add_argument("--programs", help="the folder of the lab's programs")
    parser.add_argument("--volume", action="append", default=[], metavar="KIND:MIB:PATH", help="kind image or orders")
    options = parser.parse_args()
    os.umask(0o077)
    if not options.only_files:
        for made in make(options.site, options.name, options.login, options.programs, options.volume):
            print(made)
    for path, text in json.load(sys.stdin).items():
        if write(f"{options.site}/{path}", text):
            print(path)


if __name__ == "__main__":
    main()
