# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The lab's services and the freeze of its database, as the processes they are."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.lab.client import Client
from portal.lab.inventory import PROJECT
from portal.lab.orders import duplicated, lost, numbers_in_file, numbers_of_service, read_log
from tests.support.processes import free_port, listens, running, wait_until

GROUND = PROJECT / "roles" / "lab_controller" / "files" / "lab_ground.py"
PROGRAMS = PROJECT / "roles" / "lab_site" / "files" / "bin"
PYTHON = "/usr/bin/python3"
ADDRESS = "127.77.254.1"


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    make(tmp_path, "--volume", f"orders:1:{tmp_path}/orders.img")
    return tmp_path / "orders.img"


def make(folder: Path, *volumes: str) -> str:
    argv = [PYTHON, "-B", str(PROGRAMS / "lab_make.py"), str(folder), "--name", "fra-hv1", "--login", "ssh-ed25519 AAAA controller"]
    argv += ["--programs", str(PROGRAMS), *volumes]
    return subprocess.run(argv, check=True, input="{}", capture_output=True, text=True, timeout=30).stdout


def test_the_ground_is_made_once_and_mended(tmp_path: Path) -> None:
    root = tmp_path / "lab"
    argv = [PYTHON, "-B", str(GROUND), str(root), "--account", getpass.getuser(), "--programs", str(PROGRAMS), "fra-hv1", "edge1"]

    def made() -> list[str]:
        done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30)
        return [str(Path(line).relative_to(root)) for line in done.stdout.splitlines()]

    assert {"controller/id_ed25519", "bin/lab_daemon.py", "fra-hv1", "edge1"} < set(made())
    assert made() == []
    (root / "bin" / "lab_daemon.py").write_text("old")
    (root / "controller" / "id_ed25519.pub").unlink()  # ended in the middle
    (root / "edge1").chmod(0o755)
    assert set(made()) == {"controller/id_ed25519", "bin/lab_daemon.py", "edge1"}
    assert (root / "edge1").stat().st_mode & 0o777 == 0o700


@contextlib.contextmanager
def service(kind: str, volume: Path, port: int, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = [PYTHON, "-B", str(PROGRAMS / "lab_service.py"), kind, "--name", kind, "--site", "frankfurt", "--address", ADDRESS]
    argv += ["--port", str(port), "--volume", str(volume), *more]
    with running(argv, log=volume.with_suffix(f".{kind}.log"), ready=lambda: listens(ADDRESS, port)) as process:
        yield process


def ask(port: int, path: str, document: Any = None, timeout: float = 5.0) -> tuple[int, dict[str, Any], str]:
    """Status, answer, and the site's name."""
    data = None if document is None else json.dumps(document).encode()
    try:
        with urllib.request.urlopen(f"http://{ADDRESS}:{port}{path}", data=data, timeout=timeout) as answer:
            return answer.status, json.load(answer), answer.headers["X-XDR-Site"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error), error.headers["X-XDR-Site"]


def freeze(action: str, volume: Path, *more: str) -> subprocess.CompletedProcess[str]:
    argv = [PYTHON, "-B", str(PROGRAMS / "lab_freeze.py"), action, str(volume), *more]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


def test_second_make_makes_nothing(tmp_path: Path) -> None:
    volume = f"image:8:{tmp_path}/volumes/cart.img"
    assert "cart.img" in make(tmp_path, "--volume", volume)
    assert make(tmp_path, "--volume", volume) == ""
    image = (tmp_path / "volumes" / "cart.img").stat()
    assert image.st_size == 8 << 20
    assert 0.1 < image.st_blocks * 512 / image.st_size < 0.15  # an eighth is data, the rest are holes


def test_order_goes_through_all_three_and_each_keeps_it(orders: Path) -> None:
    make(orders.parent, *(part for name in ("api", "web", "cart") for part in ("--volume", f"image:1:{orders.parent}/{name}.img")))
    database, store, api, web = (free_port(ADDRESS) for _ in range(4))
    with (
        service("orders", orders, database),
        service("store", orders.with_name("cart.img"), store),
        service("api", orders.with_name("api.img"), api, "--to", str(database), "--touch", str(store)),
        service("web", orders.with_name("web.img"), web, "--to", str(api)),
    ):
        assert [ask(web, "/orders", {"number": number})[0] for number in (10, 10, 7)] == [200, 200, 200]
        assert ask(database, "/orders/count") == (200, {"count": 3}, "frankfurt")
        assert numbers_of_service(f"http://{ADDRESS}:{database}") == [10, 10, 7]
        assert [ask(port, "/health")[0] for port in (database, store, api, web)] == [200] * 4
        assert ask(web, "/orders", {"number": "seven"})[0] == 400
        assert ask(database, "/orders", {})[0] == 400
        assert ask(web, "/nothing")[0] == 404
    written = [orders.with_name(f"{name}.img").read_bytes()[:4096].split()[0] for name in ("api", "web", "cart")]
    assert written == [b"3", b"3", b"2"]


def test_service_without_its_volume_says_so(tmp_path: Path) -> None:
    argv = [PYTHON, str(PROGRAMS / "lab_service.py"), "orders", "--name", "orders-db", "--site", "x", "--address", ADDRESS, "--port", "1"]
    done = subprocess.run([*argv, "--volume", str(tmp_path / "none.img")], capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 1
    assert "cannot open its volume" in done.stdout
    assert not list(tmp_path.iterdir())


def test_order_waits_while_frozen_and_the_service_stops_at_once(orders: Path) -> None:
    port = free_port(ADDRESS)
    with service("orders", orders, port) as process:
        assert freeze("hold", orders).returncode == 0
        frozen = orders.read_bytes()
        with pytest.raises(TimeoutError):
            ask(port, "/orders", {"number": 1}, timeout=0.3)
        assert orders.read_bytes() == frozen
        assert freeze("release", orders).returncode == 0
        assert ask(port, "/orders", {"number": 2})[0] == 200
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert time.monotonic() - begun < 1.0
    assert 2 in numbers_in_file(orders)


def test_hold_lets_go_by_itself_and_release_says_so(orders: Path) -> None:
    assert freeze("hold", orders, "--longest", "0.1").returncode == 0

    def writable() -> bool:
        with contextlib.closing(sqlite3.connect(orders, timeout=0)) as database, contextlib.suppress(sqlite3.OperationalError):
            database.execute("BEGIN IMMEDIATE")
            return True
        return False

    wait_until(writable, "the hold has run out")
    late = freeze("release", orders)
    assert late.returncode == 1
    assert "was not held any more" in late.stderr


def test_record_waits_while_the_image_is_held_and_the_service_stops_all_the_same(tmp_path: Path) -> None:
    make(tmp_path, "--volume", f"image:1:{tmp_path}/cart.img")
    volume, port = tmp_path / "cart.img", free_port(ADDRESS)
    with service("store", volume, port) as process:
        assert ask(port, "/records", {"text": "before"})[0] == 200
        assert freeze("hold", volume).returncode == 0
        held = volume.read_bytes()
        with pytest.raises(TimeoutError):
            ask(port, "/records", {"text": "meanwhile"}, timeout=0.3)
        assert volume.read_bytes() == held
        assert freeze("release", volume).returncode == 0
        assert ask(port, "/records", {"text": "after"})[0] == 200
        assert freeze("hold", volume).returncode == 0
        with pytest.raises(TimeoutError):
            ask(port, "/records", {"text": "too late"}, timeout=0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert freeze("release", volume).returncode == 0
    assert volume.read_bytes()[:4096].split()[0] == b"3"
    assert freeze("release", volume).returncode == 1


def test_hold_of_nothing_is_one_sentence(tmp_path: Path) -> None:
    done = freeze("hold", tmp_path / "none.img")
    assert done.returncode == 1
    assert "there is no such volume" in done.stderr
    assert not list(tmp_path.iterdir())


def crash_in_a_transaction(volume: Path) -> None:
    """Leave a hot journal and pages that it undoes."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        database = sqlite3.connect(volume, isolation_level=None)
        database.execute("PRAGMA cache_size=1")  # spill into the file before the commit
        database.execute("BEGIN")
        database.execute("UPDATE customers SET data = zeroblob(65536)")
        os.write(writing, b"x")
        signal.pause()
    os.read(reading, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
    assert volume.with_name(volume.name + "-journal").stat().st_size > 0


def check(volume: Path) -> tuple[str, int]:
    """Integrity, and how many rows the crash has changed."""
    with contextlib.closing(sqlite3.connect(volume)) as database:
        intact = database.execute("PRAGMA integrity_check").fetchone()[0]
        return intact, database.execute("SELECT count(*) FROM customers WHERE data = zeroblob(65536)").fetchone()[0]


def test_crashed_transaction_is_rolled_back(orders: Path) -> None:
    port = free_port(ADDRESS)
    with service("orders", orders, port):
        pass
    crash_in_a_transaction(orders)
    with service("orders", orders, port):
        assert ask(port, "/orders", {"number": 1})[0] == 200
    assert check(orders) == ("ok", 0)


def test_journal_of_other_content_is_dropped(orders: Path) -> None:
    """A site crashes, its volume is replaced by the other site's: the journal that is left would destroy it."""
    port = free_port(ADDRESS)
    with service("orders", orders, port):
        pass
    other = orders.with_name("other.img")
    shutil.copy(orders, other)
    with service("orders", other, port):
        for number in range(5):
            ask(port, "/orders", {"number": number})
    crash_in_a_transaction(orders)
    shutil.copy(other, orders)  # what replication does
    with service("orders", orders, port):
        assert numbers_of_service(f"http://{ADDRESS}:{port}") == [0, 1, 2, 3, 4]
    assert check(orders) == ("ok", 0)


def test_client_never_sends_a_number_twice_over_a_crash(orders: Path) -> None:
    port, log = free_port(ADDRESS), orders.with_name("orders.jsonl")
    client = Client(f"http://{ADDRESS}:{port}", log, rate=200)
    with service("orders", orders, port) as process:
        client.start()
        assert client.wait_for(20)
        process.kill()
        process.wait(5)
        wait_until(lambda: read_log(log).failed > 3, "the outage is noticed")
    client.stop()
    before = len(read_log(log).acks)
    with service("orders", orders, port), client:
        assert client.wait_for(before + 20)
    stored = numbers_in_file(orders)
    assert lost(read_log(log).acks, stored) == []
    assert duplicated(stored) == []
