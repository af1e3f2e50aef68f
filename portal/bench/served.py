# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Where the portal is measured: a copy of a filled store, and the portal itself over it, as ``xdr portal`` starts it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json, write_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .. import processes
from ..store import Store, accounts, address, tables
from . import seed
from .seed import Seeded, Size, Tell
from .started import failure, started

SHAPE = 1  # of what seed.py writes: a seed of another one is made anew
READY_TIMEOUT = 300.0  # seconds
STORE = "xdr.sqlite"


@dataclass(frozen=True)
class Served:
    """A portal that runs: its process and port, the store that it serves, and how its user logs in."""

    pid: int
    port: int
    store: Store
    password: str
    start_s: float

    @property
    def cpu_s(self) -> float:
        """Seconds of a core that it has taken so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def seeded(root: Path, size: Size, tell: Tell) -> tuple[Path, Seeded]:
    """The folder of a filled store and its inventory, made where the one that is kept was made for other numbers."""
    folder = root / "portal-seed"
    made_for = {**size.to_json(), "shape": SHAPE, "store": tables.VERSION}
    kept = read_json(folder / "seed.json") or {}
    if kept.get("made_for") == made_for:
        return folder, Seeded(**kept["seeded"])
    shutil.rmtree(folder, ignore_errors=True)
    tell(f"fills a store: {size.plans} plans of {size.resources} resources, {size.events} events; it is kept for the next time")
    size.estate.write(folder / "inventory")
    with contextlib.closing(Store.open(f"sqlite:///{folder / STORE}")) as store:
        made = seed.fill(store, size, secrets.token_urlsafe(20), tell)
    write_json(folder / "seed.json", {"made_for": made_for, "seeded": asdict(made)})
    return folder, made


@contextlib.contextmanager
def served(root: Path, source: Path) -> Iterator[Served]:
    """The portal over a copy of the seed below ``root``; at the end nothing is left of either."""
    folder = Path(tempfile.mkdtemp(prefix="served-", dir=root.resolve()))
    try:
        shutil.copyfile(source / STORE, folder / STORE)
        with contextlib.closing(Store.open(f"sqlite:///{folder / STORE}")) as store:
            password = accounts.set_password(store, seed.USER)
            begin = time.monotonic()
            with _portal(folder, source / "inventory") as (process, port):
                yield Served(process.pid, port, store, password, time.monotonic() - begin)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clear_leftovers(root: Path) -> None:
    """What a bench left that was killed; the caller knows that none is running."""
    for folder in root.glob("served-*"):
        left = read_json(folder / "process.json") or {"pid": 0, "started": 0}
        if processes.process(left["pid"]) == processes.Process(left["pid"], left["started"]):
            processes.end(processes.tree(left["pid"]), 2.0)
        shutil.rmtree(folder)


@contextlib.contextmanager
def _portal(folder: Path, inventory: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    argv = [str(Path(sys.executable).parent / "xdr"), "portal", "--inventory", str(inventory), "--port", "0"]
    own = {name: value for name, value in os.environ.items() if name != address.VARIABLE} | {"XDR_VAR": str(folder)}
    with (folder / "portal.log").open("wb") as log, started(argv, stdout=subprocess.PIPE, stderr=log, env=own) as process:
        mark = processes.process(process.pid)
        write_json(folder / "process.json", {"pid": process.pid, "started": mark.started if mark else 0})
        _pin(process.pid)
        yield process, _port(process, folder / "portal.log")


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port that it says it listens on. Raises XdrError when it does not come so far."""
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    deadline, said = time.monotonic() + READY_TIMEOUT, b""
    while time.monotonic() < deadline and process.poll() is None:
        if select.select([process.stdout], [], [], 0.5)[0]:
            said += os.read(process.stdout.fileno(), 4096)
            if found := re.search(rb"http://[^/]*:(\d+)/", said):
                return int(found[1])
    if process.poll() is None:
        raise XdrError(f"the portal did not start within {READY_TIMEOUT:g} s", todo="Look at the machine's load")
    raise failure("xdr portal", process.returncode, log.read_bytes())


def _pin(pid: int) -> None:
    """The portal has one core for itself, and the others, of which there must be some, are for those who watch it."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(pid, cores[:1])


def others() -> set[int]:
    """The cores for who watches."""
    cores = sorted(os.sched_getaffinity(0))
    return set(cores[1:] or cores)


def ask(process: subprocess.Popen[bytes], document: object) -> None:
    """A line of JSON for a program that waits for it."""
    assert process.stdin is not None  # noqa: S101 - a pipe was asked for
    process.stdin.write(json.dumps(document).encode() + b"\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[bytes], what: str, timeout: float) -> object:
    """Its line of JSON. Raises XdrError when none comes."""
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    assert process.stderr is not None  # noqa: S101 - and another
    deadline, said = time.monotonic() + timeout, b""
    while not said.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise XdrError(f"{what} did not answer within {timeout:g} s", where="the bench", todo="Look at the machine's load")
        if select.select([process.stdout], [], [], left)[0]:
            part = os.read(process.stdout.fileno(), 1 << 20)
            if not part:
                raise failure(what, process.wait(), process.stderr.read())
            said += part
    return json.loads(said)
