# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What became of the orders: the client's log held against the database. Pure but for the readers at the end."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError


@dataclass(frozen=True)
class Ack:
    """An order that was acknowledged; ``monotonic`` and ``wall`` in seconds, when the answer had come."""

    number: int
    monotonic: float
    wall: float


@dataclass
class Log:
    """``sent`` counts all orders, ``last`` is the highest number, ``torn``: the writer was killed within a line."""

    acks: list[Ack] = field(default_factory=list)
    sent: int = 0
    last: int = 0
    torn: bool = False

    @property
    def failed(self) -> int:
        return self.sent - len(self.acks)


def read_log(path: Path) -> Log:
    """The client's log; empty where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Log()
    log = Log(torn=bool(text) and not text.endswith("\n"))
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            ack = Ack(int(entry["number"]), float(entry["monotonic"]), float(entry["wall"]))
        except (ValueError, KeyError, TypeError):
            continue  # the torn line
        log.sent += 1
        log.last = max(log.last, ack.number)
        if not entry.get("why"):
            log.acks.append(ack)
    return log


def acknowledged(acks: Iterable[Ack]) -> set[int]:
    return {ack.number for ack in acks}


def outage(acks: Sequence[Ack], since: float, until: float) -> float:
    """The longest time without an acknowledgement in the window, in seconds of the monotonic clock.

    A gap that reaches over an edge of the window counts in full; where nothing was acknowledged before or after, the edge itself counts.
    """
    times = sorted(ack.monotonic for ack in acks)
    before = [at for at in times if at <= since][-1:] or [since]
    after = [at for at in times if at >= until][:1] or [until]
    within = [at for at in times if since < at < until]
    return max(later - earlier for earlier, later in pairwise([*before, *within, *after]))


def lost(acks: Iterable[Ack], numbers: Iterable[int]) -> list[int]:
    """Acknowledged, and not in the database."""
    return sorted(acknowledged(acks) - set(numbers))


def duplicated(numbers: Iterable[int]) -> list[int]:
    """In the database more than once."""
    return sorted(number for number, count in Counter(numbers).items() if count > 1)


def numbers_of_service(url: str, timeout: float = 5.0) -> list[int]:
    """The numbers in the orders database behind a running orders-db service (``http://address:port``)."""
    try:
        with urllib.request.urlopen(f"{url}/orders/numbers", timeout=timeout) as answer:  # noqa: S310 - the lab's own http URL
            return [int(number) for number in json.load(answer)["numbers"]]
    except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
        raise XdrError(f"the orders database did not answer ({error})", where=url, todo="Look at its log in the site's folder") from error


def numbers_in_file(volume: Path) -> list[int]:
    """The numbers in a database file that no service has open. A copy is read, so that the file stays as it is."""
    with tempfile.TemporaryDirectory(prefix="xdr-orders-") as folder:
        copy = Path(folder) / volume.name
        try:
            shutil.copy(volume, copy)
            journal = volume.with_name(volume.name + "-journal")
            if journal.exists() and _journal_belongs(volume):
                shutil.copy(journal, copy.with_name(journal.name))
            with closing(sqlite3.connect(copy)) as database:
                return [int(row[0]) for row in database.execute("SELECT number FROM orders ORDER BY id")]
        except (OSError, sqlite3.Error) as error:
            raise XdrError(f"the orders database cannot be read ({error})", where=str(volume), todo="Look at the volume") from error


def _journal_belongs(volume: Path) -> bool:
    """As the service judges it: a journal from before the volume was replaced is no part of it."""
    started = volume.with_name(volume.name + "-started")
    with volume.open("rb") as stream:
        return started.exists() and started.read_text(encoding="ascii") == stream.read(64)[60:64].hex()
