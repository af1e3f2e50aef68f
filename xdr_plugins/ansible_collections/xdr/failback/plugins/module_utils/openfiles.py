# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Which processes hold a file: by device and inode, so that another name, a link or a rename hides nobody."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Holder:
    """A process that has ``path`` (as it was asked for) open, or mapped into its memory."""

    pid: int
    command: str
    path: Path


@dataclass(frozen=True)
class Scan:
    """``unreadable``: processes that this account may not look into. They belong to other accounts, and may hold anything."""

    holders: list[Holder]
    unreadable: int


def holders(paths: list[Path], *, but: int = 0) -> list[Holder]:
    """The processes, of those this account can see and ``but`` this one, that hold one of the paths.

    A path that does not exist is held by nobody.
    """
    return [holder for holder in scan(paths).holders if holder.pid != but]


def scan(paths: list[Path]) -> Scan:
    """Look through /proc/<pid>/fd and /proc/<pid>/maps of every process."""
    wanted = {key: path for path in paths if (key := _key(path)) is not None}
    names = {os.path.realpath(path): path for path in paths}
    words = {str(key[2]).encode() for key in wanted if key[0] == "file"} | {os.fsencode(name).split()[-1] for name in names}
    found: dict[tuple[int, Path], Holder] = {}
    unreadable = 0
    for entry in os.scandir("/proc") if wanted else ():
        if not entry.name.isdigit():
            continue
        try:
            held = _open_files(entry.path, wanted) | _mapped_files(entry.path, wanted, names, words)
        except PermissionError:
            unreadable += 1
            continue
        except OSError:  # it has ended meanwhile
            continue
        for path in held:
            found[int(entry.name), path] = Holder(int(entry.name), command_of(int(entry.name)), path)
    return Scan(sorted(found.values(), key=lambda holder: (holder.pid, str(holder.path))), unreadable)


def command_of(pid: int) -> str:
    """The command line of a process, else its name in brackets, else ``?``."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        return line or f"[{Path(f'/proc/{pid}/comm').read_text(encoding='utf-8', errors='replace').strip()}]"
    except OSError:
        return "?"


_Key = tuple[str, int, int]


def _key(path: str | Path) -> _Key | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - called for every open file of the machine, and Path costs more than the call
    except OSError:
        return None
    if stat.S_ISBLK(status.st_mode):  # several device files can name one device
        return ("device", status.st_rdev, 0)
    return ("file", status.st_dev, status.st_ino)


def _open_files(process: str, wanted: dict[_Key, Path]) -> set[Path]:
    held = set()
    for descriptor in os.scandir(f"{process}/fd"):
        key = _key(descriptor.path)
        if key in wanted:
            held.add(wanted[key])
    return held


def _mapped_files(process: str, wanted: dict[_Key, Path], names: dict[str, Path], words: set[bytes]) -> set[Path]:
    """By device and inode, and by name too: some file systems show another device number in maps than to stat.

    ``words``: one of them is in the text where one of the files is.
    """
    text = Path(process, "maps").read_bytes()
    if words.isdisjoint(text.split()):  # nearly always; to take every line apart costs far more
        return set()
    held = set()
    for line in os.fsdecode(text).splitlines():
        parts = line.split(None, 5)
        if len(parts) < 6 or parts[4] == "0":
            continue
        major, minor = (int(part, 16) for part in parts[3].split(":"))
        path = wanted.get(("file", os.makedev(major, minor), int(parts[4]))) or names.get(parts[5])
        if path is not None:
            held.add(path)
    return held
