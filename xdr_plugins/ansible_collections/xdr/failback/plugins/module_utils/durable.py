# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Files that survive a power cut: write, fsync, rename, fsync the folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, TextIO, TypeVar, cast

from .errors import XdrError

_WAITING = 8  # threads that wait for the disk; the file system serves all that wait with one commit of its journal
_AT_ONCE = 64  # pieces of work whose files are open at the same time

Answer = TypeVar("Answer")
Wait = tuple[Callable[[int], None], int]  # os.fsync or os.fdatasync, and an open file
Steps = Generator[list[Wait], None, Answer]  # a piece of work that goes on once what it yields is durable


def together(works: Iterable[Steps[Answer]]) -> list[Answer]:
    """Do several pieces of work; the disk is waited for once for a step of all of them, and not once for each. Their answers.

    A failure to make something durable is raised inside the work that waited for it. What a work raises is raised here once the
    others have come to their end.
    """
    todo = list(works)
    answers: list[Answer] = []
    failures: list[Exception] = []
    for first in range(0, len(todo), _AT_ONCE):
        answers += _together(todo[first : first + _AT_ONCE], failures)
    if failures:
        raise failures[0]
    return answers


def _together(works: list[Steps[Answer]], failures: list[Exception]) -> list[Answer]:
    answers: dict[int, Answer] = {}
    going: dict[int, OSError | None] = dict.fromkeys(range(len(works)))
    with ThreadPoolExecutor(max_workers=_WAITING) as pool:
        while going:
            waits: dict[int, list[Wait]] = {}
            for number, failure in going.items():
                try:
                    waits[number] = works[number].throw(failure) if failure else next(works[number])
                except StopIteration as end:
                    answers[number] = cast(Answer, end.value)
                except Exception as error:
                    failures.append(error)
            going = _waited(waits, pool)
    return [answers[number] for number in sorted(answers)]


def _waited(waits: dict[int, list[Wait]], pool: ThreadPoolExecutor) -> dict[int, OSError | None]:
    """By work, what its waits raised. All are over then, so that a work may close its files."""
    failures: dict[int, OSError | None] = dict.fromkeys(waits)
    every = [(number, wait) for number, those in waits.items() for wait in those]

    def sync(some: list[tuple[int, Wait]]) -> None:
        for number, (call, fd) in some:
            try:
                call(fd)
            except OSError as error:
                failures[number] = error

    if len(every) == 1:  # no thread is needed for that
        sync(every)
    else:
        for future in [pool.submit(sync, every[first::_WAITING]) for first in range(min(_WAITING, len(every)))]:
            future.result()
    return failures


@contextlib.contextmanager
def opened_folder(folder: Path) -> Iterator[int]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    with opened_folder(folder) as fd:
        os.fsync(fd)


def write_json(path: Path, document: Any) -> None:
    """Replace ``path`` by the document, durably: a reader sees the old file or the new one, never a part."""
    together([writing_json(path, document)])


def writing_json(path: Path, document: Any) -> Steps[None]:
    """``write_json``, to be done ``together`` with others."""
    return replacing(path, lambda _: document)


def replacing(path: Path, made: Callable[[TextIO], Any]) -> Steps[None]:
    """The same with a document that is made when its new file is open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(made(stream), indent=1, sort_keys=True))
        stream.flush()
        yield [(os.fsync, stream.fileno())]
    fresh.replace(path)
    with opened_folder(path.parent) as fd:
        yield [(os.fsync, fd)]


def read_json(path: Path) -> Any:
    """The document, or None where there is no file.

    Raises XdrError for a file that is not JSON: a damaged record is never taken for a missing one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return parsed(text, path)


def parsed(text: str, path: Path) -> Any:
    """The document that was read from ``path``; raises XdrError as read_json does."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise XdrError(
            f"not valid JSON ({error})", where=str(path), todo="Restore the file from its site's backup; nothing was changed"
        ) from error


@contextlib.contextmanager
def locked(path: Path, *, timeout: float = 30.0) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (made when missing).

    Raises XdrError when another process keeps it for longer than ``timeout`` seconds, naming that process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(fd, path, timeout)
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)


def _take(fd: int, path: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.pread(fd, 32, 0).decode(errors="replace") or "unknown"
                raise XdrError(
                    f"the lock was held by process {holder} for over {timeout:g} s",
                    where=str(path),
                    todo="Look at that process; it may be stopped or stuck on its disk",
                ) from None
            time.sleep(0.02)


def is_unlocked(path: Path) -> bool:
    """Whether the file is there and nobody has it locked: of one that is locked as long as its writer lives, that the writer is dead."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
