#!/usr/bin/python3
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Makes the ground on which the lab's hosts are built, where it is missing: the folders, the controller's key, the lab's programs.

Prints the paths it made or changed. The hosts' folders belong to the account; all else is this user's, and can be read by the account.
"""

from __future__ import annotations

import argparse
import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path


def folder(path: Path, mode: int, account: str = "") -> Iterator[Path]:
    made = not path.is_dir()
    if made:
        path.mkdir(mode)
    if made or path.stat().st_mode & 0o7777 != mode:
        path.chmod(mode)
        yield path
    if account and path.owner() != account:
        shutil.chown(path, account)
        yield path


def key(path: Path) -> Iterator[Path]:
    if not path.with_suffix(".pub").exists():  # it is written last
        path.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "xdr-lab-controller", "-f", path], check=True)
        yield path


def programs(source: Path, target: Path) -> Iterator[Path]:
    for path in sorted(source.glob("*.py")):
        copy = target / path.name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            fresh = copy.with_suffix(".new")
            shutil.copyfile(path, fresh)
            fresh.chmod(0o755)
            fresh.replace(copy)
            yield copy


def make(root: Path, account: str, hosts: list[str], source: Path) -> Iterator[Path]:
    if account != getpass.getuser():  # who has to get through it
        yield from folder(root.parent, 0o755)
    yield from folder(root, 0o755)
    yield from folder(root / "controller", 0o700)
    yield from key(root / "controller" / "id_ed25519")
    yield from folder(root / "bin", 0o755)
    yield from programs(source, root / "bin")
    for host in hosts:
        yield from folder(root / host, 0o700, account)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="the lab's folder")
    parser.add_argument("--account", required=True, help="who runs the lab's daemons")
    parser.add_argument("--programs", type=Path, required=True, help="the folder of the lab's programs in the checkout")
    parser.add_argument("hosts", nargs="+", help="names of the lab's hosts")
    options = parser.parse_args()
    os.umask(0o022)
    for path in make(options.root, options.account, options.hosts, options.programs):
        print(path)


if __name__ == "__main__":
    main()
