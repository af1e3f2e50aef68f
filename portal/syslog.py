# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Lines to a syslog server, by the standard library's handler."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from logging.handlers import SysLogHandler

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

PORT = 514
PROTOCOLS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
FORM = "Give HOST, HOST:PORT, udp://HOST:PORT, tcp://HOST:PORT, or the path of a socket such as /dev/log"


class _Handler(SysLogHandler):
    """A line that cannot be sent is an error of the caller's; TCP's lines end with a newline (RFC 6587, 3.4.2)."""

    append_nul = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = sys.exception()
        assert error  # noqa: S101 - logging calls it in an except clause
        raise error


@contextlib.contextmanager
def sending(address: str, program: str) -> Iterator[Callable[[str], None]]:
    """Gives what sends a line, as ``program``, with the facility authpriv. Raises XdrError: usage, not_reached."""
    where, kind = _parsed(address)
    try:
        handler = _Handler(where, SysLogHandler.LOG_AUTHPRIV, kind)
        handler.ident = f"{program}: "
        end = "\n" * (kind == socket.SOCK_STREAM)
        with contextlib.closing(handler):
            yield lambda line: handler.emit(logging.makeLogRecord({"msg": line + end, "levelno": logging.INFO, "levelname": "INFO"}))
    except OSError as error:
        raise XdrError(
            f"the syslog server does not take it ({error})", where=address, todo="See that it listens there", code="not_reached"
        ) from error


def _parsed(address: str) -> tuple[str | tuple[str, int], socket.SocketKind | None]:
    if address.startswith("/"):
        return address, None
    protocol, separator, rest = address.partition("://")
    if not separator:
        protocol, rest = "udp", address
    host, _, port = rest.rpartition(":") if ":" in rest else (rest, "", str(PORT))
    if protocol not in PROTOCOLS or not host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise XdrError(f"{address!r} is no address of a syslog server", todo=FORM, code="usage")
    return (host.strip("[]"), int(port)), PROTOCOLS[protocol]
