# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A plan's script on this host: where it may lie, whose it must be, and opened so that nobody can put another in its place."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import XdrError

OTHERS = stat.S_IWGRP | stat.S_IWOTH
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Script:
    """``fd`` is the file that was checked; what is executed is that, whatever its path leads to by then."""

    path: Path
    fd: int

    @property
    def executable(self) -> str:
        return f"/proc/self/fd/{self.fd}"


@contextlib.contextmanager
def opened(name: str, hook_dir: str) -> Iterator[Script]:
    """The script ``name``, absolute or below the host's folder for hooks, checked and open.

    Every folder on the way is opened from the one above it and must be root's or this account's, and writable by nobody else; so must
    the file be, which must be a regular one that may be executed. Links are followed before that, and may not lead out of the folder.
    Raises XdrError, code ``hook_refused``.
    """
    folder = Path(os.path.realpath(hook_dir))
    path = Path(os.path.realpath(folder / name))
    if folder not in path.parents:
        raise _refused(f"it leads to {path}, which is outside the folder for hooks", folder / name, f"Put it below {folder}")
    fds: list[int] = []
    try:
        fd = _open(path, folder, fds)
        yield Script(path, fd)
    finally:
        for each in fds:
            os.close(each)


def _open(path: Path, folder: Path, fds: list[int]) -> int:
    fds.append(os.open("/", _FOLDER))
    here = Path("/")
    for part in path.parts[1:-1]:
        here /= part
        fds.append(_opened(part, fds[-1], here, _FOLDER))
        _check_owned(here, os.fstat(fds[-1]), sticky=here not in (folder, *_below(folder, path)))
    fds.append(_opened(path.name, fds[-1], path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))
    found = os.fstat(fds[-1])
    if not stat.S_ISREG(found.st_mode):
        raise _refused("it is not a regular file", path, "Put the script itself there")
    _check_owned(path, found, sticky=False)
    if not found.st_mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH):
        raise _refused("it is not executable", path, f"chmod 755 {path}")
    os.set_inheritable(fds[-1], True)
    return fds[-1]


def _below(folder: Path, path: Path) -> list[Path]:
    return [each for each in path.parents if folder in each.parents]


def _opened(name: str, above: int, path: Path, flags: int) -> int:
    try:
        return os.open(name, flags | os.O_CLOEXEC, dir_fd=above)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        todo = "Install it on this host, or correct the plan" if missing else "See that this account may read it, and that it is no link"
        raise _refused("there is no such file" if missing else f"it cannot be opened ({error.strerror})", path, todo) from error


def _check_owned(path: Path, found: os.stat_result, *, sticky: bool) -> None:
    """``sticky``: above the folder for hooks, as in /tmp, others may make files of their own and touch no one else's."""
    if found.st_uid not in (0, os.geteuid()):
        raise _refused(f"it belongs to account {found.st_uid}", path, f"chown root {path}: it must be root's, or the agent's")
    if found.st_mode & OTHERS and not (sticky and found.st_mode & stat.S_ISVTX):
        mode = stat.S_IMODE(found.st_mode)
        raise _refused(f"others may write to it (mode {mode:04o})", path, f"chmod go-w {path}")


def _refused(what: str, path: Path, todo: str) -> XdrError:
    return XdrError(what, where=str(path), todo=todo, code="hook_refused")
