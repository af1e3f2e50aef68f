#!/usr/bin/python3
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""One service of the lab's web shop. Each keeps its state in a volume of its own, and answers only when it is on disk.

orders  a SQLite database, which is the volume; POST /orders {"number": n} commits durably, then answers 200
store   an image file; POST /records adds a record
api     POST /orders goes to the orders database, then a record of its own; now and then the other stores get one
web     POST /orders goes to the api, then a record of its own

All: GET /health, and the response header X-XDR-Site.
Orders: GET /orders/count, GET /orders/numbers.
"""

from __future__ import annotations

import argparse
import fcntl
import http.client
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SLOT = 4096  # bytes of a record in an image
TOUCH_EVERY = 10  # orders between two records for the stores beside the request's path


def log(text: str) -> None:
    """One line with both clocks: the monotonic one is the same for all processes of this machine."""
    print(f"{time.time():.3f} monotonic={time.monotonic():.3f} {text}", flush=True)


class Sighting:
    """For an observer who does not trust the orchestrator: a line for each start, first health answer and stop, and a lock of the
    resource, one for all sites, held for as long as this process can write. A second holder says so and goes on: it is no fence."""

    def __init__(self, folder: str, name: str, site: str) -> None:
        self.name, self.site, self.was_healthy = name, site, False
        self.journal = os.open(f"{folder}/{name}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.held = os.open(f"{folder}/{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.tell("breach")
        self.tell("start")

    def tell(self, event: str) -> None:
        line = {"event": event, "resource": self.name, "site": self.site, "pid": os.getpid(), "monotonic": time.monotonic()}
        os.write(self.journal, json.dumps(line).encode() + b"\n")

    def healthy(self) -> None:
        if not self.was_healthy:
            self.was_healthy = True
            self.tell("healthy")


class Image:
    """A ring of records of one size in a file of fixed size; slot 0 says how many were ever written.

    A record is written under a lock of the file, so that lab_freeze.py can hold the volume still.
    """

    def __init__(self, path: str, slot: int) -> None:
        self.fd, self.slot = os.open(path, os.O_RDWR | os.O_CLOEXEC), slot
        self.slots = os.fstat(self.fd).st_size // slot - 1
        if self.slots < 1:
            raise OSError(f"{path} is smaller than two records ({2 * slot} bytes)")
        self.written = int(os.pread(self.fd, 20, 0).rstrip(b"\0\n ") or b"0")
        self.lock = threading.Lock()

    def add(self, text: str) -> None:
        with self.lock:
            fcntl.flock(self.fd, fcntl.LOCK_EX)
            try:
                self._write(self.written + 1, text)
            finally:
                fcntl.flock(self.fd, fcntl.LOCK_UN)

    def _write(self, count: int, text: str) -> None:
        record = f"{count} {time.time():.6f} {text}\n".encode()[: self.slot]
        os.pwrite(self.fd, record.ljust(self.slot, b"."), (1 + self.written % self.slots) * self.slot)
        os.pwrite(self.fd, f"{count:<19}\n".encode(), 0)
        os.fdatasync(self.fd)
        self.written = count

    def close(self) -> None:
        """After the write in hand; one that waits for a held volume has written nothing, and nobody was answered."""
        if self.lock.acquire(timeout=1.0):
            os.close(self.fd)


class Orders:
    """The orders database. Numbers are not unique, so that an order taken twice shows."""

    def __init__(self, path: str) -> None:
        os.stat(path)  # sqlite would make a missing one
        self.path = path
        self._drop_foreign_journal()
        self.database = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        self.database.execute("PRAGMA journal_mode=DELETE")
        self.database.execute("PRAGMA synchronous=FULL")
        self._mark()
        self.lock = threading.Lock()

    def _drop_foreign_journal(self) -> None:
        """A journal left by a crash belongs to the content of its day. If the volume was replicated over since, rolling
        it back would destroy the database, so each start marks content and folder alike and only a matching journal counts."""
        journal = self.path + "-journal"
        if not os.path.exists(journal):
            return
        with open(self.path, "rb") as stream:
            content = stream.read(64)[60:64].hex()  # user_version in SQLite's header
        try:
            with open(self.path + "-started", encoding="ascii") as stream:
                here = stream.read()
        except FileNotFoundError:
            here = ""
        if content != here:
            log(f"dropping {journal}: it belongs to other content")
            os.unlink(journal)

    def _mark(self) -> None:
        mark = int.from_bytes(os.urandom(4), "big") >> 1
        fresh = f"{self.path}-started.new"
        self.database.execute(f"PRAGMA user_version={mark}")
        with open(fresh, "w", encoding="ascii") as stream:
            stream.write(mark.to_bytes(4, "big").hex())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(fresh, f"{self.path}-started")

    def add(self, number: int) -> None:
        with self.lock:
            self.database.execute("INSERT INTO orders(number, at) VALUES (?, ?)", (number, time.time()))

    def count(self) -> int:
        with self.lock:
            return int(self.database.execute("SELECT count(*) FROM orders").fetchone()[0])

    def numbers(self) -> list[int]:
        with self.lock:
            return [row[0] for row in self.database.execute("SELECT number FROM orders ORDER BY id")]

    def close(self) -> None:
        with self.lock:
            self.database.close()


class Service:
    """A volume, and the ports of the services behind this one."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.sighting = Sighting(options.observed, options.name, options.site) if options.observed else None
        self.volume: Any = Orders(options.volume) if options.kind == "orders" else Image(options.volume, options.slot)

    def post_orders(self, document: dict[str, Any]) -> None:
        number = int(document["number"])
        if self.options.kind == "orders":
            self.volume.add(number)
            return
        if self.options.kind == "store":
            raise LookupError("a store takes records, not orders")
        self.forward(self.options.to, "/orders", document)
        self.volume.add(f"order {number}")
        if number % TOUCH_EVERY == 0:
            for port in self.options.touch:
                self.touch(port, number)

    def post_records(self, document: dict[str, Any]) -> None:
        if self.options.kind == "orders":
            raise LookupError("the orders database takes orders only")
        self.volume.add(str(document.get("text", "")))

    def touch(self, port: int, number: int) -> None:
        try:
            self.forward(port, "/records", {"text": f"order {number}"}, timeout=0.3)
        except OSError as error:  # the order itself is safe: it was committed before
            log(f"order {number}: {error}")

    def forward(self, port: int, path: str, document: dict[str, Any], timeout: float = 5.0) -> None:
        connection = http.client.HTTPConnection(self.options.address, port, timeout=timeout)
        try:
            connection.request("POST", path, json.dumps(document), {"Connection": "close"})
            answer = connection.getresponse()
            answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"port {port} broke off: {error!r}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise OSError(f"port {port} answered {answer.status}")


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.0: one request a connection, so nothing lingers when the service stops."""

    service: Service
    timeout = 10

    def do_GET(self) -> None:
        if self.path == "/health":
            if self.service.sighting:
                self.service.sighting.healthy()
            self.reply(200, {"name": self.service.options.name, "status": "ok"})
        elif self.path == "/orders/count" and self.service.options.kind == "orders":
            self.reply(200, {"count": self.service.volume.count()})
        elif self.path == "/orders/numbers" and self.service.options.kind == "orders":
            self.reply(200, {"numbers": self.service.volume.numbers()})
        else:
            self.reply(404, {"error": f"no such thing: {self.path}"})

    def do_POST(self) -> None:
        action = {"/orders": self.service.post_orders, "/records": self.service.post_records}.get(self.path)
        if action is None:
            self.reply(404, {"error": f"no such thing: {self.path}"})
            return
        try:
            document = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
            action(document)
        except (ValueError, KeyError, TypeError, LookupError) as error:
            self.reply(400, {"error": f"{type(error).__name__}: {error}"})
        except (OSError, sqlite3.Error) as error:
            self.reply(503, {"error": str(error)})
        else:
            self.reply(200, {"ok": True})

    def reply(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("X-XDR-Site", self.service.options.site)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Nothing per request: there are fifty a second."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            log(f"{client_address[0]}: {error!r}")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["orders", "store", "api", "web"])
    parser.add_argument("--name", required=True)
    parser.add_argument("--site", required=True, help="the site's display name")
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--volume", required=True)
    parser.add_argument("--to", type=int, help="port of the service that orders are passed on to")
    parser.add_argument("--touch", type=int, action="append", default=[], help="port of a store that gets a record now and then")
    parser.add_argument("--slot", type=int, default=SLOT, help="bytes of each record in an image")
    parser.add_argument("--observed", help="a folder for an observer: a journal and a lock of each resource")
    chosen = parser.parse_args()
    if chosen.kind in ("api", "web") and chosen.to is None:
        parser.error(f"{chosen.kind} needs --to")
    return chosen


def main() -> int:
    chosen = options()
    end = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, end)
    try:
        Handler.service = service = Service(chosen)
    except (OSError, ValueError, sqlite3.Error) as error:
        log(f"{chosen.name} cannot open its volume {chosen.volume}: {error}")
        return 1
    try:
        server = Server((chosen.address, chosen.port), Handler)
    except OSError as error:
        log(f"{chosen.name} cannot listen on {chosen.address}:{chosen.port}: {error}")
        return 1
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    log(f"{chosen.name} started on {chosen.address}:{chosen.port}")
    signal.sigwait(end)
    server.shutdown()
    server.server_close()
    service.volume.close()  # waits for the write in hand
    if service.sighting:
        service.sighting.tell("stop")
    log(f"{chosen.name} stopped")
    os._exit(0)  # not for threads that wait for a neighbour


if __name__ == "__main__":
    sys.exit(main())
