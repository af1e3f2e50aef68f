# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What the other end says, read by a thread of its own, so that neither end has to stop writing in order to listen."""

from __future__ import annotations

import os
import queue
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import IO, Callable

from ..errors import XdrError
from .blocks import write
from .hashes import DIGEST
from .wire import Frame, Wire, broken

_DEPTH = 3  # frames that wait: they bound the memory of a session
_LOOK = 0.5  # seconds between two looks whether the session has ended meanwhile

Route = Callable[[Frame], None]


class Inbox:
    """Frames in the order in which they came; those of a kind in ``routes`` go there instead, from the reading thread."""

    def __init__(self, wire: Wire, routes: dict[str, Route] | None = None) -> None:
        self._wire, self._routes = wire, routes or {}
        self._frames: queue.Queue[Frame] = queue.Queue(_DEPTH)
        self._failure: XdrError | None = None
        self._ended = threading.Event()
        self._closing = False
        wire.told = self._last_words
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Inbox:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """The streams are the caller's again: nobody reads them behind its back."""
        self._closing = True
        self._wire.interrupt()
        self._thread.join()
        self._wire.told = None

    def receive(self, *kinds: str) -> Frame:
        """The next frame, of one of these kinds. Raises what the other end reported, or that it is silent."""
        waited_since = time.monotonic()
        while True:
            try:
                frame = self._frames.get(timeout=_LOOK if not self._ended.is_set() else 0.0)
            except queue.Empty:
                if self._ended.is_set() and self._frames.empty():
                    raise self._last_words() from None
                self.check_heard(waited_since)
                continue
            if kinds and frame.kind not in kinds:
                raise broken(f"a frame {frame.kind!r} where {' or '.join(kinds)} was due", self._wire.peer)
            return frame

    def check_heard(self, since: float) -> None:
        """Raises when the reading has failed, or the other end has said nothing for too long since ``since``."""
        if self._failure:
            raise self._failure
        if time.monotonic() - max(since, self._wire.heard) > self._wire.timeout:
            raise self._wire.silent()

    def fail(self, error: XdrError) -> None:
        """For a thread that works beside the session: let whoever receives know."""
        self._failure = self._failure or error
        self._ended.set()

    def _read(self) -> None:
        try:
            while not self._closing:
                frame = self._wire.receive()
                route = self._routes.get(frame.kind)
                if route:
                    route(frame)
                elif not self._put(frame):
                    return
        except XdrError as error:
            self._failure = self._failure or error
        finally:
            self._ended.set()

    def _put(self, frame: Frame) -> bool:
        while not self._closing:
            try:
                self._frames.put(frame, timeout=_LOOK)
                return True
            except queue.Full:
                continue
        return False

    def _last_words(self) -> XdrError:
        self._ended.wait(self._wire.timeout)
        return self._failure or self._wire.silent()


class Answers:
    """The other end's answers to the questions about one volume, in their order."""

    def __init__(self, inbox: Callable[[], Inbox]) -> None:
        self._inbox, self._due = inbox, 0
        self._found: deque[Frame] = deque()
        self._more = threading.Condition()

    def expect(self) -> None:
        """One more, before it is asked for."""
        with self._more:
            self._due += 1

    def put(self, frame: Frame) -> None:
        """Raises XdrError for one that nobody asked for."""
        with self._more:
            if not self._due:
                raise broken("an answer that was not due", frame.peer)
            self._due -= 1
            self._found.append(frame)
            self._more.notify_all()

    def next(self) -> Frame:
        began = time.monotonic()
        with self._more:
            while not self._found:
                if not self._more.wait(_LOOK):
                    self._inbox().check_heard(began)
            return self._found.popleft()


class Digests:
    """Digests that the other end sends, window by window, kept in a file without a name: a volume may have many. Often none come."""

    def __init__(self, folder: Path, total: int, inbox: Callable[[], Inbox]) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._total, self._done, self._inbox = total, 0, inbox
        self._more = threading.Condition()

    def expect(self, total: int) -> None:
        """How many there will be; called once, when the other end has said so."""
        with self._more:
            self._total = total
            self._more.notify_all()

    def put(self, frame: Frame) -> None:
        """The next of them. Raises XdrError for others than the next."""
        number, rest = divmod(len(frame.payload), DIGEST)
        if rest or not number or frame.number("first") != self._done or self._done + number > self._total:
            raise broken("digests that were not due", frame.peer)
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - open as long as this object
        write(self._file.fileno(), self._done * DIGEST, frame.payload)
        with self._more:
            self._done += number
            self._more.notify_all()

    def read(self, first: int, number: int) -> bytes:
        """Those of some blocks, once they are there; beyond the end, of zeros."""
        wanted = min(first + number, self._total)
        began = time.monotonic()
        with self._more:
            while self._done < wanted:
                if not self._more.wait(_LOOK):
                    self._inbox().check_heard(began)
        found = os.pread(self._file.fileno(), max(0, wanted - first) * DIGEST, first * DIGEST) if self._file else b""
        return found + bytes(number * DIGEST - len(found))

    def wait(self) -> None:
        """Until all are there."""
        self.read(self._total, 0)

    def close(self) -> None:
        if self._file:
            self._file.close()
