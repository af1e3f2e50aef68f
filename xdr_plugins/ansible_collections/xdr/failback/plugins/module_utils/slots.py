# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Small documents that change often and survive a power cut: two slots in one file, written in turn, so that no name is changed.

Each slot is a line: the SHA-256 of what follows, a number that grows with each write, the document (JSON), and spaces. The whole one
with the greatest number counts. A file that is nothing but a JSON document is read too, and gets its slots with the next write.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .durable import Steps, opened_folder
from .errors import XdrError

_PAGE = 4096  # a slot is a multiple of it, so that no sector of a disk holds parts of both
_DIGEST, _NUMBER = 64, 20  # characters
_TRIES = 3  # a reader that holds no lock may meet a slot that is being written


class _Slots(NamedTuple):
    """``newest``: which of the two (0 or 1) holds the document, of ``nbytes`` each; nbytes 0 where there are no slots yet."""

    document: Any
    number: int
    newest: int
    nbytes: int


def read(path: Path) -> Any:
    """The document, or None where there is no file.

    Raises XdrError for a file without a whole document: a damaged state is never taken for a missing one.
    """
    for _ in range(_TRIES):
        try:
            found = _parsed(path.read_bytes())
        except FileNotFoundError:
            return None
        if found:
            return found.document
    raise _damaged(path)


def writing(path: Path, document: Any) -> Steps[None]:
    """Replace the document durably, to be done ``together`` with others (``durable``)."""
    text = json.dumps(document, sort_keys=True).encode()
    with contextlib.ExitStack() as files:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield from _making(path, text, 1)
            return
        files.callback(os.close, fd)
        before = _parsed(os.pread(fd, os.fstat(fd).st_size, 0))
        if before is None:
            raise _damaged(path)
        line = _line(text, before.number + 1, before.nbytes)
        if not line:
            yield from _making(path, text, before.number + 1)
            return
        _write(fd, line, (1 - before.newest) * before.nbytes)
        yield [(os.fdatasync, fd)]


def _making(path: Path, text: bytes, number: int) -> Steps[None]:
    """A file with room for twice as much, whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    line = _line(text, number, -(-2 * (len(text) + _DIGEST + _NUMBER) // _PAGE) * _PAGE)
    with _created(fresh) as fd:
        _write(fd, line * 2, 0)  # both, so that later writes need no space
        yield [(os.fsync, fd)]
    fresh.replace(path)
    with opened_folder(path.parent) as folder:
        yield [(os.fsync, folder)]


@contextlib.contextmanager
def _created(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _write(fd: int, data: bytes, at: int) -> None:
    while data:
        done = os.pwrite(fd, data, at)
        data, at = data[done:], at + done


def _line(text: bytes, number: int, nbytes: int) -> bytes:
    """Empty where it does not fit."""
    body = b" %0*d %s" % (_NUMBER, number, text)
    if _DIGEST + len(body) + 1 > nbytes:
        return b""
    return (hashlib.sha256(body).hexdigest().encode() + body).ljust(nbytes - 1) + b"\n"


def _parsed(data: bytes) -> _Slots | None:
    if data.startswith(b"{"):
        with contextlib.suppress(ValueError):
            return _Slots(json.loads(data), 0, 0, 0)
        return None
    half = len(data) // 2
    whole = [(body, newest) for newest in (0, 1) if (body := _body(data[newest * half : (newest + 1) * half]))]
    if not whole:
        return None
    body, newest = max(whole)  # the numbers come first, and have all the same length
    _, number, text = body.split(b" ", 2)
    return _Slots(json.loads(text), int(number), newest, half)


def _body(line: bytes) -> bytes:
    """Empty where the slot is not whole."""
    digest, body = line[:_DIGEST], line[_DIGEST:].rstrip()
    return body if hashlib.sha256(body).hexdigest().encode() == digest else b""


def _damaged(path: Path) -> XdrError:
    return XdrError("no whole document is in it", where=str(path), todo="Restore the file from its site's backup; nothing was changed")
