# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A client of a qemu process's QMP monitor: one JSON message a line, over a unix socket."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from ....errors import NotReached, XdrError
from ....waiting import Deadline

ANSWERS_WITHIN = 30.0  # seconds for one command; a monitor has one client at a time, so the greeting may wait for another's end
_LONGEST = 64 * 1024 * 1024  # bytes of one message


class QmpRefused(XdrError):  # noqa: N818
    """The process understood the command and will not carry it out; ``what`` is its own sentence."""


class Qmp:
    """One connection, greeted and ready for commands; not for several threads at once.

    ``where`` names the process in errors. NotReached where the other end does not answer in time, or has ended.
    """

    def __init__(self, channel: socket.socket, where: str) -> None:
        self._channel, self._where, self._received = channel, where, b""
        if "QMP" not in self._message(Deadline(ANSWERS_WITHIN)):
            raise NotReached("what answers is no QMP monitor", where=where, todo="Correct the socket's path")
        self.execute("qmp_capabilities")

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """What the command returns. QmpRefused for an error that the process tells."""
        limit = Deadline(ANSWERS_WITHIN)
        request = json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n"
        try:
            self._channel.settimeout(ANSWERS_WITHIN)
            self._channel.sendall(request)
        except OSError as error:
            raise self._lost(str(error)) from error
        while True:
            message = self._message(limit)
            if "return" in message:
                return message["return"]
            if "error" in message:
                raise QmpRefused(str(message["error"].get("desc")), where=f"{self._where}: {command}", code="qmp_refused")

    def close(self) -> None:
        self._channel.close()

    def _message(self, limit: Deadline) -> dict[str, Any]:
        try:
            document = json.loads(self._line(limit))
        except ValueError as error:
            raise NotReached("what answers is no QMP monitor", where=self._where, todo="Correct the socket's path") from error
        return document if isinstance(document, dict) else {}

    def _line(self, limit: Deadline) -> bytes:
        parts = [self._received]
        while b"\n" not in parts[-1]:
            if sum(map(len, parts)) > _LONGEST:
                raise self._lost("its answer is too long")
            parts.append(self._some(limit))
        line, _, self._received = b"".join(parts).partition(b"\n")
        return line

    def _some(self, limit: Deadline) -> bytes:
        try:
            self._channel.settimeout(limit.left or 0.001)
            data = self._channel.recv(1 << 16)
        except socket.timeout as error:
            raise self._lost(f"no answer within {limit.seconds:g} s; another client may hold its monitor") from error
        except OSError as error:
            raise self._lost(str(error)) from error
        if not data:
            raise self._lost("it has ended")
        return data

    def _lost(self, why: str) -> NotReached:
        return NotReached(
            f"the qemu process does not answer ({why})", where=self._where, todo="Look at that process, then run the step again"
        )


def connected(path: Path) -> Qmp | None:
    """The monitor that listens at a unix socket; None where no process does so."""
    channel = socket.socket(socket.AF_UNIX)
    try:
        channel.settimeout(ANSWERS_WITHIN)
        channel.connect(str(path))
        return Qmp(channel, str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        channel.close()
        return None
    except OSError as error:
        channel.close()
        todo = "Correct the path of the QMP socket, or its permissions"
        raise NotReached(f"the QMP socket cannot be used ({error})", where=str(path), todo=todo) from error
    except XdrError:
        channel.close()
        raise
