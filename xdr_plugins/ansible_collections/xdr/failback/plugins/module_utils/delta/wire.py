# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Frames between sender and receiver: two lengths (32 bit each), a JSON header, a binary payload.

Every frame has a ``kind``. Lengths and types are checked before anything is believed; a read or a write that makes no
progress for ``timeout`` seconds ends the session.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Callable

from ..errors import NotReached, Refused, XdrError
from .blocks import Content, Range

VERSION = 3
MAX_HEADER = 1 << 20
MAX_PAYLOAD = (4 << 20) + (64 << 10)  # a chunk of blocks and what says which they are
MAX_RANGES = 200_000
MAX_NUMBER = 1 << 62
_LENGTHS = struct.Struct(">II")
_RANGE = struct.Struct(">QQ")
_F_SETPIPE_SZ = 1031  # Linux; Python names it from 3.10 on
_MAX_PARTS = 512  # the kernel takes 1024 in one call


def broken(what: str, peer: str) -> XdrError:
    return XdrError(
        f"the channel carried something that is not XDR's protocol ({what})",
        where=peer,
        code="protocol",
        todo="See that both hosts run the same version of the agent",
    )


@dataclass(frozen=True)
class Frame:
    """One message. The accessors raise XdrError (code ``protocol``) for what is missing or of another type."""

    header: dict[str, Any]
    payload: Content
    peer: str

    @property
    def kind(self) -> str:
        return self.text("kind")

    def text(self, key: str) -> str:
        value = self.header.get(key)
        if not isinstance(value, str) or len(value) > 4096:
            raise broken(f"field {key!r} is no text", self.peer)
        return value

    def number(self, key: str) -> int:
        value = self.header.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MAX_NUMBER:
            raise broken(f"field {key!r} is no number", self.peer)
        return value

    def seconds(self, key: str) -> float:
        value = self.header.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < MAX_NUMBER:
            raise broken(f"field {key!r} is no time", self.peer)
        return float(value)

    def flag(self, key: str) -> bool:
        return self.header.get(key) is True

    def items(self, key: str) -> list[Frame]:
        """A list of objects, each to be read like a frame."""
        value = self.header.get(key)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise broken(f"field {key!r} is no list", self.peer)
        return [Frame(item, b"", self.peer) for item in value]

    def texts(self, key: str) -> list[str]:
        """A list of short texts."""
        value = self.header.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) and len(item) < 64 for item in value):
            raise broken(f"field {key!r} is no list of texts", self.peer)
        return value

    def ranges(self, blocks: int) -> list[Range]:
        """The payload as ranges of blocks of a volume that has ``blocks`` of them."""
        if len(self.payload) % _RANGE.size:
            raise broken("ranges are cut", self.peer)
        found = list(_RANGE.iter_unpack(self.payload))
        if any(not number or start + number > blocks for start, number in found):
            raise broken("a range lies outside the volume", self.peer)
        return found


def packed(ranges: list[Range]) -> bytes:
    return b"".join(_RANGE.pack(*item) for item in ranges)


class Wire:
    """Both directions of a session over two file descriptors.

    Raises NotReached when the other end closes or makes no progress, XdrError or Refused when it reports a failure.
    """

    def __init__(self, reader: BinaryIO, writer: BinaryIO, *, peer: str, timeout: float) -> None:
        self.peer, self.timeout = peer, timeout
        self.sent = 0  # bytes, all frames
        self.waited = 0.0  # seconds that sends had to wait for the other end
        self.heard = time.monotonic()
        self._in, self._out = reader.fileno(), writer.fileno()
        for fd in (self._in, self._out):
            with contextlib.suppress(OSError):  # no pipe, or more than this account may have
                fcntl.fcntl(fd, _F_SETPIPE_SZ, 1 << 20)
        os.set_blocking(self._out, False)  # a peer that stands still must not hold us in a write for ever
        self._sending = threading.Lock()
        self._wake_in, self._wake_out = os.pipe()
        self.told: Callable[[], XdrError] | None = None  # set while another thread reads: what the other end said last

    def close(self) -> None:
        os.close(self._wake_in)
        os.close(self._wake_out)

    def interrupt(self) -> None:
        """End a receive that waits in another thread."""
        os.write(self._wake_out, b"x")

    def send(self, kind: str, *payload: Content, **fields: Any) -> int:
        """Send one frame, return its bytes."""
        header = json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode()
        nbytes = sum(len(part) for part in payload)
        if len(header) > MAX_HEADER or nbytes > MAX_PAYLOAD:
            raise XdrError(f"a frame {kind!r} is larger than the protocol allows", where=self.peer)
        try:
            with self._sending:
                self._write([_LENGTHS.pack(len(header), nbytes) + header, *payload])
        except (BrokenPipeError, ConnectionResetError):
            self._last_words()
        self.sent += _LENGTHS.size + len(header) + nbytes
        return _LENGTHS.size + len(header) + nbytes

    def _write(self, parts: Sequence[Content]) -> None:
        views = [memoryview(part) for part in parts if len(part)]
        while views:
            try:
                done = os.writev(self._out, views[:_MAX_PARTS])
            except BlockingIOError:
                self._wait_to_write()
                continue
            while views and done >= len(views[0]):
                done -= len(views.pop(0))
            if done:
                views[0] = views[0][done:]

    def _wait_to_write(self) -> None:
        began = time.monotonic()
        if not select.select([], [self._out], [], self.timeout)[1]:
            raise self.silent()
        self.waited += time.monotonic() - began

    def _last_words(self) -> None:
        """The other end went away while we wrote: what it said before that is the reason."""
        if self.told:
            raise self.told()
        while True:
            self.receive()

    def silent(self) -> NotReached:
        return NotReached(
            f"no progress for {self.timeout:g} s",
            where=self.peer,
            todo="Look at that host and the network between the sites, then run the cycle again",
        )

    def receive(self, *kinds: str) -> Frame:
        """The next frame of one of these kinds (any, when none is given), past ``working`` ones."""
        while True:
            frame = self._frame()
            if frame.kind == "error":
                raise self._reported(frame)
            if frame.kind == "working":
                continue
            if kinds and frame.kind not in kinds:
                raise broken(f"a frame {frame.kind!r} where {' or '.join(kinds)} was due", self.peer)
            return frame

    def _frame(self) -> Frame:
        header_bytes, payload_bytes = _LENGTHS.unpack(self._exactly(_LENGTHS.size))
        self.heard = time.monotonic()
        if not 2 <= header_bytes <= MAX_HEADER or payload_bytes > MAX_PAYLOAD:
            raise broken("a frame of an impossible length", self.peer)
        text, payload = self._exactly(header_bytes), self._exactly(payload_bytes)
        try:
            header = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise broken("a header that is not JSON", self.peer) from error
        if not isinstance(header, dict):
            raise broken("a header that is no object", self.peer)
        return Frame(header, payload, self.peer)

    def _exactly(self, nbytes: int) -> bytearray:
        found = bytearray(nbytes)
        view = memoryview(found)
        while view:
            self._wait_to_read()
            try:
                got = os.readv(self._in, [view])
            except BlockingIOError:
                continue
            except ConnectionResetError:
                got = 0
            if not got:
                raise NotReached(
                    "the channel closed before the work was done", where=self.peer, todo="Run the cycle again; nothing is lost"
                )
            self.heard = time.monotonic()
            view = view[got:]
        return found

    def _wait_to_read(self) -> None:
        """With a reading thread, silence is judged by who waits for the answer: this end may be the one that is busy."""
        ready, _, _ = select.select([self._in, self._wake_in], [], [], None if self.told else self.timeout)
        if self._wake_in in ready:
            raise NotReached("the session ended", where=self.peer)
        if not ready:
            raise self.silent()

    def _reported(self, frame: Frame) -> XdrError:
        where = frame.text("where")
        kind = Refused if frame.flag("refused") else XdrError
        return kind(
            frame.text("what"), where=f"{self.peer}: {where}" if where else self.peer, todo=frame.text("todo"), code=frame.text("code")
        )

    def report(self, error: XdrError) -> None:
        """Tell the other end why we stop; it may be gone already."""
        with contextlib.suppress(XdrError, OSError):
            self.send("error", what=error.what, where=error.where, todo=error.todo, code=error.code, refused=isinstance(error, Refused))

    @contextlib.contextmanager
    def working(self, every: float = 5.0) -> Iterator[None]:
        """Let the other end know that we are alive while a long piece of work is done."""
        done = threading.Event()

        def tell() -> None:
            while not done.wait(every):
                with contextlib.suppress(XdrError, OSError):
                    self.send("working")

        thread = threading.Thread(target=tell, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
