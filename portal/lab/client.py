# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The lab's customer: posts numbered orders through the load balancer all the time and logs what became of each.

A number is sent once and never again, whatever the answer. Run as a program it is the writer itself; it ends by itself when
the process that started it is gone, or after ``LONGEST`` seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from .orders import read_log

RATE = 50.0  # orders a second at most
TIMEOUT = 1.0  # seconds for one order
PAUSE = 0.04  # seconds after a failure
LONGEST = 1800.0


class Client:
    """Starts and stops the writer. A log that is there already is continued, with numbers that were never sent."""

    def __init__(self, url: str, log: Path, rate: float = RATE, before: Sequence[str] = ()) -> None:
        """``before`` goes before the writer's command line, and becomes it."""
        self.url, self.log, self.rate, self.before = url, log, rate, before
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        options = ["--rate", str(self.rate), "--parent", str(os.getpid())]
        argv = [*self.before, sys.executable, "-m", "portal.lab.client", self.url, str(self.log), *options]
        with self.log.with_suffix(".err").open("wb") as errors:
            self._process = subprocess.Popen(
                argv,
                cwd=Path(__file__).resolve().parent.parent.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # Ctrl-C at the terminal is for the story, which ends the client last
            )

    def stop(self) -> None:
        """Let it finish the order in hand."""
        if not self._process:
            return
        self._process.terminate()
        try:
            self._process.wait(TIMEOUT + 2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> Client:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_for(self, acknowledged: int, timeout: float = 10.0) -> bool:
        """Whether so many orders were acknowledged in all, in time."""
        deadline = time.monotonic() + timeout
        while len(read_log(self.log).acks) < acknowledged:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def post(host: str, port: int, number: int) -> str:
    """Empty when the order was acknowledged, else why not."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("POST", "/orders", json.dumps({"number": number}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return "" if answer.status == 200 else f"status {answer.status}"
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()


def write_orders(url: str, log: IO[str], first: int, rate: float, parent: int) -> None:
    """Post until SIGTERM, the parent's end or the longest time."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    where = urlsplit(url)
    assert where.hostname  # noqa: S101 - the caller's own URL
    number, end = first, time.monotonic() + LONGEST
    while not stopped and os.getppid() == parent and time.monotonic() < end:
        begun = time.monotonic()
        why = post(where.hostname, where.port or 80, number)
        entry: dict[str, Any] = {"number": number, "monotonic": time.monotonic(), "wall": time.time()}
        log.write(json.dumps({**entry, "why": why} if why else entry) + "\n")
        log.flush()
        number += 1
        time.sleep(PAUSE if why else max(0.0, begun + 1 / rate - time.monotonic()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Post numbered orders until told to stop")
    parser.add_argument("url")
    parser.add_argument("log", type=Path)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args()
    earlier = read_log(options.log)
    with options.log.open("a", encoding="utf-8") as log, contextlib.suppress(KeyboardInterrupt):
        if earlier.torn:
            log.write("\n")
        # the one after the last in the log may have been sent, and its answer not logged
        write_orders(options.url, log, earlier.last + 2 if earlier.last else 1, options.rate, options.parent)


if __name__ == "__main__":
    main()
