# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Frames between sender and receiver: two lengths (32 bit each), a JSON header, a binary payload.

Every frame has a ``kind``. Lengths and types are checked before anything is believed; a read or a write that makes no
progress for ``timeout`` seconds ends the session.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from ..errors import NotReached, Refused, XdrError
from .blocks import Range

VERSION = 1
MAX_HEADER = 1 << 20
MAX_PAYLOAD = 4 << 20
MAX_LONG = 1 << 20
MAX_NUMBER = 1 << 62
_LENGTHS = struct.Struct(">II")
_RANGE = struct.Struct(">QQ")


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
    payload: bytes
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


MAX_RANGES = MAX_PAYLOAD // _RANGE.size


class Wire:
    """Both directions of a session over two file descriptors.

    Raises NotReached when the other end closes or makes no progress, XdrError or Refused when it reports a failure.
    """

    def __init__(self, reader: BinaryIO, writer: BinaryIO, *, peer: str, timeout: float) -> None:
        self.peer, self.timeout = peer, timeout
        self.sent = 0  # bytes, all frames
        self._in, self._out = reader.fileno(), writer.fileno()
        os.set_blocking(self._out, False)  # a peer that stands still must not hold us in a write for ever
        self._sending = threading.Lock()

    def send(self, kind: str, payload: bytes = b"", **fields: Any) -> int:
        """Send one frame, return its bytes."""
        header = json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode()
        if len(header) > MAX_HEADER or len(payload) > MAX_PAYLOAD:
            raise XdrError(f"a frame {kind!r} is larger than the protocol allows", where=self.peer)
        frame = _LENGTHS.pack(len(header), len(payload)) + header + payload
        try:
            with self._sending:
                self._write(frame)
        except (BrokenPipeError, ConnectionResetError):
            self._last_words()
        self.sent += len(frame)
        return len(frame)

    def send_long(self, kind: str, payload: bytes) -> None:
        """Send a payload of any length in several frames; the receiver knows how much is due."""
        for at in range(0, len(payload), MAX_LONG):
            self.send(kind, payload[at : at + MAX_LONG])

    def receive_long(self, kind: str, nbytes: int) -> bytes:
        found = bytearray()
        while len(found) < nbytes:
            part = self.receive(kind).payload
            if not part or len(found) + len(part) > nbytes:
                raise broken(f"more or less of {kind} than was due", self.peer)
            found += part
        return bytes(found)

    def _write(self, frame: bytes) -> None:
        view = memoryview(frame)
        while view:
            if not select.select([], [self._out], [], self.timeout)[1]:
                raise self._silent()
            with contextlib.suppress(BlockingIOError):
                view = view[os.write(self._out, view[: 1 << 16]) :]

    def _last_words(self) -> None:
        """The other end went away while we wrote: what it said before that is the reason."""
        while True:
            self.receive()

    def _silent(self) -> NotReached:
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

    def _exactly(self, nbytes: int) -> bytes:
        found = bytearray(nbytes)
        view = memoryview(found)
        while view:
            if not select.select([self._in], [], [], self.timeout)[0]:
                raise self._silent()
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
            view = view[got:]
        return bytes(found)

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


class Pace:
    """Keeps an average of ``limit`` bytes a second (None or 0: no limit)."""

    def __init__(self, limit: int | None) -> None:
        self._limit, self._sent, self._began = limit, 0, time.monotonic()

    def sent(self, nbytes: int) -> None:
        self._sent += nbytes
        if self._limit:
            ahead = self._sent / self._limit - (time.monotonic() - self._began)
            if ahead > 0:
                time.sleep(ahead)
