# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Files that survive a power cut: write, fsync, rename, fsync the folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from .errors import XdrError


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_json(path: Path, document: Any) -> None:
    """Replace ``path`` by the document, durably: a reader sees the old file or the new one, never a part."""
    with replacing(path) as stream:
        write_into(stream, document)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A new file that takes the place of ``path``, durably, when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("w", encoding="utf-8") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)
    fsync_folder(path.parent)


def write_into(stream: TextIO, document: Any) -> None:
    json.dump(document, stream, indent=1, sort_keys=True)


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
