# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""How fast the site-to-site channel is: the agent's verb ``measure``, and the host that asks it.

A question is a letter and a length: ``P`` is answered at once, ``D`` is followed by so many bytes that are thrown away, ``E`` is answered
once all of them have come. Nothing is kept, and no more is sent than the caller allows.
"""

from __future__ import annotations

import os
import statistics
import struct
import subprocess
import threading
import time
from typing import IO, Any, cast

from . import channel
from .errors import NotReached, XdrError
from .site import Peer

_QUESTION = struct.Struct(">cI")
_PING, _DATA, _END = b"P", b"D", b"E"
_CHUNK = 1 << 16
_FIRST = 1 << 18  # bytes; each burst is twice the one before, so that a slow link is not kept busy for long
ROUNDS = 5
LONGEST = 0.5  # seconds of sending
WITHIN = 15.0  # seconds for all of it


def serve(reader: IO[bytes], writer: IO[bytes]) -> int:
    """The far end: answer until the other side closes. The exit code; 2 for what is no question."""
    while head := _exactly(reader, _QUESTION.size):
        kind, length = _QUESTION.unpack(head)
        if kind == _DATA and length <= _CHUNK:
            _exactly(reader, length)
        elif kind in (_PING, _END):
            writer.write(kind)
            writer.flush()
        else:
            return 2
    return 0


def _exactly(reader: IO[bytes], length: int) -> bytes:
    """Empty where the stream ends before."""
    parts = b""
    while len(parts) < length:
        more = reader.read(length - len(parts))
        if not more:
            return b""
        parts += more
    return parts


def measure(peer: Peer, nbytes: int, *, within: float = WITHIN) -> dict[str, Any]:
    """``{"latency_ms"}``, the median of five round trips over an open channel; with ``nbytes`` > 0 also ``{"bytes_per_s", "bytes_sent"}``
    of incompressible bytes from here to there, at most so many and for about half a second.

    Raises XdrError, NotReached where the channel does not open or takes too long.
    """
    process = channel.open_channel(peer, "measure")
    late = threading.Timer(within, process.kill)
    late.start()
    try:
        there, back = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)  # open_channel makes pipes
        found = _asked(there, back, nbytes)
        there.close()
        process.wait()
        return found
    except (BrokenPipeError, EOFError) as error:
        raise _failure(peer, process, late, within) from error
    finally:
        late.cancel()
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()


def _failure(peer: Peer, process: subprocess.Popen[bytes], late: threading.Timer, within: float) -> XdrError:
    if not late.is_alive():
        return NotReached(f"the measurement of the channel took longer than {within:g} s", where=peer.name, todo="Look at the network")
    errors = process.stderr.read().decode(errors="replace") if process.stderr else ""
    code = process.wait()
    if "invalid choice" in errors:
        return XdrError("its agent is older and measures nothing", where=peer.name, todo="Apply the role site_agent to it")
    return channel.failure(peer, code, errors)


def _asked(there: IO[bytes], back: IO[bytes], nbytes: int) -> dict[str, Any]:
    _round_trip(there, back, _PING)  # ssh has logged in when this is answered
    trips = [_round_trip(there, back, _PING) for _ in range(ROUNDS)]
    found: dict[str, Any] = {"latency_ms": round(statistics.median(trips) * 1000, 3)}
    return {**found, **_throughput(there, back, nbytes)} if nbytes else found


def _round_trip(there: IO[bytes], back: IO[bytes], kind: bytes) -> float:
    """Seconds. Raises EOFError."""
    began = time.monotonic()
    there.write(_QUESTION.pack(kind, 0))
    there.flush()
    if _exactly(back, 1) != kind:
        raise EOFError
    return time.monotonic() - began


def _throughput(there: IO[bytes], back: IO[bytes], nbytes: int) -> dict[str, Any]:
    """Of the largest burst, from its first byte to the answer that the last has come."""
    piece = _QUESTION.pack(_DATA, _CHUNK) + os.urandom(_CHUNK)
    began, sent, burst, rate = time.monotonic(), 0, min(_FIRST, nbytes), 0.0
    while burst > 0:
        pieces = max(1, burst // _CHUNK)
        since = time.monotonic()
        for _ in range(pieces):
            _write(there, piece)
        _round_trip(there, back, _END)
        sent += pieces * _CHUNK
        rate = pieces * _CHUNK / max(time.monotonic() - since, 1e-6)
        burst = min(2 * burst, nbytes - sent) if time.monotonic() - began < LONGEST else 0
        burst = burst if burst >= _CHUNK else 0
    return {"bytes_per_s": round(rate), "bytes_sent": sent}


def _write(there: IO[bytes], piece: bytes) -> None:
    """All of it: the pipe is unbuffered."""
    left = memoryview(piece)
    while left:
        left = left[there.write(left) or 0 :]
