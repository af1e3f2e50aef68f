# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Channels that are opened before they are needed: ssh is up, the far Python has started, and a downtime pays for neither.

``keep`` leaves a process behind that has the channel open and waits at a socket of this plan. Whoever takes the channel gets
its file descriptors; the process then only waits for ssh to end and says how it did. An idle channel ends by itself. It has no
rights of its own: the far end judges the pair of whoever uses it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from . import channel
from .errors import NotReached, XdrError
from .site import Peer, checked_name, plan_dir

SLOTS = ("1", "2")  # one for the final sync, one for the proof that follows
IDLE = 3600.0  # seconds after which nobody is expected any more
READY_WITHIN = 30.0
_ENDS_WITHIN = 10.0
_SAID_AT_MOST = 4096
_CREDENTIALS = struct.Struct("3i")


class Held:
    """A channel that was taken over: file objects like a process's, and the way to its end."""

    def __init__(self, line: socket.socket, fds: list[int]) -> None:
        self._line = line
        self.stdin: BinaryIO = os.fdopen(fds[0], "wb", 0)
        self.stdout: BinaryIO = os.fdopen(fds[1], "rb", 0)

    def end(self) -> tuple[int, str]:
        """Close it; ssh's exit code, and what it said on stderr."""
        for stream in (self.stdin, self.stdout):
            with contextlib.suppress(OSError):
                stream.close()
        with self._line:
            self._line.settimeout(_ENDS_WITHIN + 5)
            try:
                told = b"".join(iter(lambda: self._line.recv(_SAID_AT_MOST), b""))
                document = json.loads(told)
                return int(document["code"]), str(document["said"])
            except (OSError, ValueError, KeyError):
                return 0, ""


def keep(state_dir: Path, plan: str, peer: Peer, *, idle: float = IDLE) -> bool:
    """Have channels to the peer kept, those that are not there yet; whether one was opened. Raises what the opening failed with."""
    with _folder(state_dir, plan) as folder:
        missing = [slot for slot in SLOTS if not _is_kept(folder, peer.name, slot)]
        for slot in missing:
            _start_keeper(folder, peer, slot, idle)
    return bool(missing)


def _start_keeper(folder: int, peer: Peer, slot: str, idle: float) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _become_keeper(folder, peer, slot, writing, idle)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as answer:
        told = json.loads(answer.read() or b'{"what": "the process that was to keep the channel died"}')
    if told:
        kind = NotReached if told.pop("not_reached", False) else XdrError
        raise kind(told.pop("what"), **told)


def take(state_dir: Path, plan: str, peer: Peer) -> Held | None:
    """A channel that is kept for this peer, None where there is none."""
    if not _path(state_dir, plan).is_dir():
        return None
    with _folder(state_dir, plan) as folder:
        for slot in SLOTS:
            line = _connected(folder, peer.name, slot)
            held = _handed_over(line) if line else None
            if held:
                return held
    return None


def _handed_over(line: socket.socket) -> Held | None:
    with contextlib.suppress(OSError):
        line.settimeout(_ENDS_WITHIN)
        _, fds, _, _ = socket.recv_fds(line, 1, 2)
        if len(fds) == 2:
            return Held(line, fds)
    line.close()
    return None


def drop(state_dir: Path, plan: str) -> None:
    """End all channels that are kept for the plan."""
    folder = _path(state_dir, plan)
    for path in folder.glob("*.sock") if folder.is_dir() else []:
        peer, _, slot = path.stem.rpartition(".")
        with _folder(state_dir, plan) as fd:
            line = _connected(fd, peer, slot)
        if line:
            line.close()


def _path(state_dir: Path, plan: str) -> Path:
    return plan_dir(state_dir, plan) / "channels"


@contextlib.contextmanager
def _folder(state_dir: Path, plan: str) -> Iterator[int]:
    """A descriptor: the path of a socket may only have 107 bytes, and /proc/self/fd makes any folder's short."""
    path = _path(state_dir, plan)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def _file(folder: int, peer: str, slot: str, ending: str) -> str:
    return f"/proc/self/fd/{folder}/{checked_name(peer, 'peer')[:40]}.{slot}.{ending}"


def _connected(folder: int, peer: str, slot: str) -> socket.socket | None:
    line = socket.socket(socket.AF_UNIX)
    try:
        line.connect(_file(folder, peer, slot, "sock"))
        return line
    except OSError:
        line.close()
        return None


def _is_kept(folder: int, peer: str, slot: str) -> bool:
    """Whether a keeper lives; asked by its lock, for a connection would take its channel."""
    try:
        fd = os.open(_file(folder, peer, slot, "pid"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


# -- the process that keeps it ---------------------------------------------------------------------------------------


def _become_keeper(folder: int, peer: Peer, slot: str, report: int, idle: float) -> None:
    """A process of its own session, which nobody waits for; never returns."""
    code = 1
    try:
        os.setsid()
        if os.fork():
            code = 0
            return
        _let_go_of_all_but({folder, report})
        code = _keeper(folder, peer, slot, report, idle)
    finally:
        os._exit(code)


def _let_go_of_all_but(wanted: set[int]) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    for fd in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if fd > 2 and fd not in wanted:
            with contextlib.suppress(OSError):
                os.close(fd)


def _keeper(folder: int, peer: Peer, slot: str, report: int, idle: float) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    mine = os.open(_file(folder, peer.name, slot, "pid"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    listener = socket.socket(socket.AF_UNIX)
    try:
        fcntl.flock(mine, fcntl.LOCK_EX)
        process = _opened(peer)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_file(folder, peer.name, slot, "sock"))  # noqa: PTH108 - below a descriptor
        listener.bind(_file(folder, peer.name, slot, "sock"))
        listener.listen(1)
    except XdrError as error:
        told = {"what": error.what, "where": error.where, "todo": error.todo, "code": error.code}
        os.write(report, json.dumps({**told, "not_reached": isinstance(error, NotReached)}).encode())
        return 1
    os.write(report, b"null")
    os.close(report)
    line = _user(listener, process, idle)
    with contextlib.suppress(OSError):
        os.unlink(_file(folder, peer.name, slot, "sock"))  # noqa: PTH108
    os.close(mine)  # the slot is free for another keeper
    if line is None:
        process.kill()
        process.wait()
        return 0
    with line:
        _hand_over(line, process)
    return 0


def _opened(peer: Peer) -> subprocess.Popen[bytes]:
    """The channel, once the far end greets."""
    process = channel.open_channel(peer, "receive")
    if process.stdout is None or process.stderr is None:  # pipes were asked for
        raise AssertionError
    if select.select([process.stdout], [], [], READY_WITHIN)[0] and process.poll() is None:
        return process
    process.kill()
    code = process.wait()
    raise channel.failure(peer, code if code > 0 else 255, process.stderr.read(_SAID_AT_MOST).decode(errors="replace"))


def _user(listener: socket.socket, process: subprocess.Popen[bytes], idle: float) -> socket.socket | None:
    """Whoever comes for the channel; None where it died or nobody came."""
    until = time.monotonic() + idle
    with listener:
        while process.poll() is None and time.monotonic() < until:
            if not select.select([listener], [], [], 1.0)[0]:
                continue
            line, _ = listener.accept()
            if _is_ours(line):
                return line
            line.close()
    return None


def _is_ours(line: socket.socket) -> bool:
    credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1]) == os.geteuid()


def _hand_over(line: socket.socket, process: subprocess.Popen[bytes]) -> None:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise AssertionError
    with contextlib.suppress(OSError):
        socket.send_fds(line, [b"x"], [process.stdin.fileno(), process.stdout.fileno()])
    process.stdin.close()
    process.stdout.close()
    said = b"".join(iter(lambda: process.stderr.read(_SAID_AT_MOST), b""))[-_SAID_AT_MOST:]  # type: ignore[union-attr]
    code = process.wait()
    with contextlib.suppress(OSError):
        line.sendall(json.dumps({"code": code, "said": said.decode(errors="replace")}).encode())
