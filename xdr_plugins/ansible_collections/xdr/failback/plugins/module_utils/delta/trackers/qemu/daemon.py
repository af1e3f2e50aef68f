# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A qemu-storage-daemon of our own, such as for an image that no other process has open. Should this process die, it ends too."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ....errors import XdrError
from ....waiting import Deadline
from .qmp import Qmp

NODE = "image"
PROGRAM = "qemu-storage-daemon"
PROGRAMS = {PROGRAM: "qemu-system-common", "setpriv": "util-linux"}  # with their packages in Debian
FREE_WITHIN = 2.0  # seconds: another daemon of ours, for a look at the lag, has the image open for moments only
ENDS_WITHIN = 120.0  # seconds: on its way out it stores the bitmaps and syncs the volume


@contextlib.contextmanager
def storage_daemon(image: Path, *, writable: bool, todo: str) -> Iterator[Qmp]:
    """The monitor of a daemon that has the image open as node ``NODE``; afterwards the daemon has ended and stored its bitmaps.

    XdrError where a program is missing, where another process has the image open (``volume_in_use``) or where the image
    cannot be opened; then ``todo`` says what to do. Should this process die, the daemon ends too: it must not keep an
    instance from its volume.
    """
    _need_programs(image)
    limit = Deadline(FREE_WITHIN)
    with contextlib.ExitStack() as stack:
        qmp = None
        while qmp is None:
            try:
                qmp = stack.enter_context(_daemon(image, writable=writable, todo=todo))
            except XdrError as error:
                if error.code != "volume_in_use" or not limit.left:
                    raise
                time.sleep(0.05)
        yield qmp


@contextlib.contextmanager
def running(options: list[str], where: str) -> Iterator[Qmp]:
    """The monitor of a daemon that has done what its options say, until it has ended. XdrError with its own words where it cannot."""
    ours, theirs = socket.socketpair()
    with ours, tempfile.TemporaryFile() as said:
        with theirs:
            channel = f"socket,id=qmp,fd={theirs.fileno()},server=off"  # the monitor comes last: it answers when all is done
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", PROGRAM, *options, "--chardev", channel, "--monitor", "chardev=qmp"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            yield _greeted(ours, where, said)
        finally:
            _end(process, where)


def _greeted(channel: socket.socket, where: str, said: IO[bytes]) -> Qmp:
    try:
        return Qmp(channel, where)
    except XdrError as error:  # it writes its reason, then closes the channel
        said.seek(0)
        text = said.read().decode(errors="replace").strip()
        if not text:
            raise
        raise _Ended(text, where=where) from error


class _Ended(XdrError):  # noqa: N818
    """A daemon that ended at once; ``what`` is what it said."""


@contextlib.contextmanager
def _daemon(image: Path, *, writable: bool, todo: str) -> Iterator[Qmp]:
    node = {"driver": "qcow2", "node-name": NODE, "read-only": not writable, "file": {"driver": "file", "filename": str(image)}}
    with contextlib.ExitStack() as stack:
        try:
            qmp = stack.enter_context(running(["--blockdev", json.dumps(node)], str(image)))
        except _Ended as error:
            raise _not_opened(image, error.what, todo) from error
        yield qmp


def _not_opened(image: Path, text: str, todo: str) -> XdrError:
    if "lock" in text and "Is another process using the image" in text:
        stop = "Stop that process; if it is the volume's instance, let the plan name its QMP socket"
        return XdrError("another process has the image open", where=str(image), todo=stop, code="volume_in_use")
    why = text.splitlines()[0].rpartition("}: ")[2]
    return XdrError(f"qemu-storage-daemon cannot open the image ({why})", where=str(image), todo=todo, code="no_image")


def _end(process: subprocess.Popen[bytes], where: str) -> None:
    """SIGTERM ends it cleanly, the bitmaps stored."""
    process.terminate()
    try:
        process.wait(ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(ENDS_WITHIN)
        todo = "Look at the disk; the next cycle scans the volume"
        raise XdrError(f"qemu-storage-daemon had not ended after {ENDS_WITHIN:g} s", where=where, todo=todo) from None


def _need_programs(image: Path) -> None:
    for program, package in PROGRAMS.items():
        if not shutil.which(program):
            todo = f"Install Debian's package {package} on this host"
            raise XdrError(f"there is no {program}, which dirty bitmaps need", where=str(image), todo=todo, code="no_program")
