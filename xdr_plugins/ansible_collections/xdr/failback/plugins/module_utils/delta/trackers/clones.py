# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Clones of a volume beside it, each with a note that is written last: a clone without its note was never finished."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ...durable import fsync_folder, read_json, write_json
from ...errors import XdrError
from . import extents

_MARK = re.compile(r"[A-Za-z0-9-]{1,200}")
_AGAIN = "Run the cycle again"


@dataclass(frozen=True)
class Note:
    """What a clone was when it was made; the newest has the highest ``number``. A write to it shows in its times."""

    number: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, number: int, status: os.stat_result) -> Note:
        return cls(number, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Clones:
    """The folder ``.<volume>.xdr`` of one volume: ``<mark>`` are its bytes at a mark, ``<mark>.json`` is the note."""

    def __init__(self, volume: Path) -> None:
        self.volume = Path(os.path.realpath(volume))  # a link may lie on another file system than what it names
        self.folder = self.volume.with_name(f".{self.volume.name}.xdr")

    def make(self, mark: str) -> None:
        """Durable when this returns; nothing is left when it raises XdrError."""
        with self._told("no snapshot could be made", "Look at the free space and the rights there"):
            self._own_folder(make=True)
            self._remove(self._names(mark))
            number = 1 + max((note.number for note in self._notes().values()), default=0)
            try:
                made = self._clone(self.folder / mark)
                fsync_folder(self.folder)
                write_json(self._note(mark), asdict(Note.of(number, made)))
            except BaseException:
                self._remove([*self._names(mark), *(name for name in self._entries() if name.startswith(f".{mark}.json"))])
                raise

    def newest(self) -> str | None:
        notes = self._notes()
        return max(notes, key=lambda mark: notes[mark].number, default=None)

    @contextlib.contextmanager
    def opened(self, mark: str) -> Iterator[int]:
        """A descriptor for reading. Raises XdrError where the clone is not as it was made; ``what`` then says why."""
        path = self.folder / _checked(mark)
        note = self._notes().get(mark)
        if note is None:
            raise XdrError(f"there is no finished snapshot {mark}", where=str(self.folder), todo=_AGAIN, code="no_snapshot")
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)  # whatever stands there
        except OSError as error:
            raise XdrError(f"snapshot {mark} cannot be opened ({error.strerror})", where=str(path), todo=_AGAIN) from error
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise XdrError(f"snapshot {mark} is not a regular file", where=str(path), todo=_AGAIN)
            if Note.of(note.number, status) != note:
                raise XdrError(f"snapshot {mark} was changed or replaced since it was made", where=str(path), todo=_AGAIN)
            yield fd
        finally:
            os.close(fd)

    def remove(self, mark: str) -> None:
        with self._told("the snapshot could not be removed", "Look at the rights there"):
            if self._own_folder():
                self._remove(self._names(mark))

    def remove_others(self, mark: str) -> None:
        """What is left of unfinished ones, too."""
        kept = self._names(mark)
        with self._told("the old snapshots could not be removed", "Look at the rights there"):
            if self._own_folder():
                self._remove([name for name in self._entries() if name not in kept])

    def remove_all(self) -> None:
        with self._told("the snapshots could not be removed", "Look at the rights there"):
            if self._own_folder():
                self._remove(self._entries())
                self.folder.rmdir()
                fsync_folder(self.folder.parent)

    # -- files ---------------------------------------------------------------------------------------------------

    def _clone(self, path: Path) -> os.stat_result:
        with descriptor(self.volume, os.O_RDONLY | os.O_NONBLOCK) as source, descriptor(path, os.O_RDWR | os.O_CREAT | os.O_EXCL) as fd:
            before = os.fstat(source)
            if not stat.S_ISREG(before.st_mode):
                raise XdrError("the volume is not a regular file", where=str(self.volume), todo="Use another tracker for it")
            extents.clone(source, fd, before.st_size)
            os.fsync(fd)
            if os.fstat(source).st_size != os.fstat(fd).st_size:
                raise XdrError("the volume changed its size while it was cloned", where=str(self.volume), todo=_AGAIN)
            return os.fstat(fd)

    def _note(self, mark: str) -> Path:
        return self.folder / f"{mark}.json"

    def _names(self, mark: str) -> list[str]:
        return [self._note(_checked(mark)).name, mark]

    def _entries(self) -> list[str]:
        try:
            return [entry.name for entry in os.scandir(self.folder)]
        except FileNotFoundError:
            return []

    def _notes(self) -> dict[str, Note]:
        """By mark; a note that is damaged counts as none."""
        found = {}
        with self._told("the snapshots cannot be listed", "Look at the rights there"):
            for name in self._entries():
                mark, _, suffix = name.partition(".")
                if suffix == "json" and _MARK.fullmatch(mark):
                    with contextlib.suppress(XdrError, KeyError, TypeError, ValueError):
                        document = read_json(self.folder / name)
                        found[mark] = Note(**{field.name: int(document[field.name]) for field in fields(Note)})
        return found

    def _remove(self, names: list[str]) -> None:
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
        fsync_folder(self.folder)

    def _own_folder(self, make: bool = False) -> bool:
        """Whether it is there. Refuses one that another account could have put there, to have files elsewhere removed."""
        if make and not self.folder.exists():
            self.folder.mkdir(0o700, exist_ok=True)
            fsync_folder(self.folder.parent)
        try:
            status = self.folder.lstat()
        except FileNotFoundError:
            return False
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise XdrError("this is not a folder of this account alone", where=str(self.folder), todo="See who made it, and remove it")
        return True

    @contextlib.contextmanager
    def _told(self, what: str, todo: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise XdrError(f"{what} ({error.strerror})", where=str(self.volume), todo=todo) from error


@contextlib.contextmanager
def descriptor(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _checked(mark: str) -> str:
    if not _MARK.fullmatch(mark):
        raise XdrError(f"{mark!r} is not a name of a mark", todo="Use letters, digits and '-', at most 200")
    return mark
