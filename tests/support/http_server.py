# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A tiny HTTP server as a process of its own: answers 200 with X-XDR-Site: NAME, and 503 for /sick.

usage: http_server.py ADDRESS PORT NAME
"""

from __future__ import annotations

import contextlib
import http.server
import sys
from collections.abc import Iterator
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    site = ""

    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/sick" else 200)
        self.send_header("X-XDR-Site", self.site)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextlib.contextmanager
def http_server(folder: Path, site: str, port: int = 0, address: str = "127.0.0.1") -> Iterator[int]:
    """Yields its port."""
    from tests.support.processes import free_port, listens, running

    port = port or free_port(address)
    argv = [sys.executable, __file__, address, str(port), site]
    with running(argv, log=folder / f"http-{port}.log", ready=lambda: listens(address, port)):
        yield port


if __name__ == "__main__":
    Handler.site = sys.argv[3]
    http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
