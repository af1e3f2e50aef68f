# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The progress of a run, tailed over a real sshd."""

from __future__ import annotations

import getpass
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.progress import Progress

from portal import tail
from portal.hosts import Host
from portal.processes import tree
from tests.support.processes import free_port, wait_until
from tests.support.sshd import Sshd, known_hosts_line, make_key, sshd

ADDRESS = "127.0.0.9"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("tail"), address=ADDRESS) as running:
        yield running


@pytest.fixture
def host(server: Sshd, tmp_path: Path) -> Host:
    return Host("fra", ADDRESS, server.port, server.user, str(server.key), str(server.known_hosts), str(tmp_path), [])


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "EVERY", 0.05)
    monkeypatch.setattr(tail, "RETRY", 0.1)


class Heard(list[tuple[str, dict[str, Any]]]):
    def take(self, host: str, line: dict[str, Any]) -> None:
        self.append((host, line))

    def done(self) -> list[int]:
        return [line["done"] for _, line in self]


def write(state_dir: Path, *done: int) -> None:
    progress = Progress(state_dir, "r1", "fra")
    progress.every = 0.0
    for one in done:
        progress.bytes("orders", one, 100)


def test_every_line_once_although_the_file_comes_late(host: Host, tmp_path: Path) -> None:
    heard = Heard()
    with tail.Tails(lambda: [host], "r1", heard.take):
        write(tmp_path, 1, 2)
        wait_until(lambda: heard.done() == [1, 2], "the first lines")
        write(tmp_path, 3)
        wait_until(lambda: heard.done() == [1, 2, 3], "the next line")
        write(tmp_path, 4)
    assert heard.done() == [1, 2, 3, 4]  # the last line was read at the end
    assert {name for name, _ in heard} == {"fra"}


def test_a_volume_that_is_done_is_told_once(tmp_path: Path) -> None:
    """And again when more of it, or the same anew, was to be done."""
    write(tmp_path, 50, 100, 100, 20, 100)
    told = [json.loads(line)["done"] for line in (tmp_path / "runs" / "r1.jsonl").read_text().splitlines()]
    assert told == [50, 100, 20, 100]


def test_half_a_line_waits_for_its_other_half(host: Host, tmp_path: Path) -> None:
    heard = Heard()
    (tmp_path / "runs").mkdir()
    path = tmp_path / "runs" / "r1.jsonl"
    with tail.Tails(lambda: [host], "r1", heard.take), path.open("a") as stream:
        for text in (json.dumps({"done": 7})[:5], json.dumps({"done": 7})[5:], "\nno json\n[1]\n", '{"done": 8}\n'):
            stream.write(text)
            stream.flush()
        wait_until(lambda: heard.done() == [7, 8], "both lines")


def test_a_site_that_comes_up_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port, folder, heard = free_port(ADDRESS), tmp_path / "ssh", Heard()
    monkeypatch.setattr("tests.support.sshd.free_port", lambda address: port)
    write(tmp_path, 1)
    host = Host("fra", ADDRESS, port, getpass.getuser(), str(folder / "client_key"), str(folder / "known_hosts"), str(tmp_path), [])
    with tail.Tails(lambda: [host], "r1", heard.take), sshd(folder, address=ADDRESS):
        wait_until(lambda: heard.done() == [1], "the line")


def test_a_lost_connection_is_made_again_and_goes_on_where_it_was(host: Host, server: Sshd, tmp_path: Path) -> None:
    heard = Heard()
    write(tmp_path, 1)
    with tail.Tails(lambda: [host], "r1", heard.take):
        wait_until(lambda: heard.done() == [1], "the line")
        daemon = int((server.folder / "sshd.pid").read_text())
        for session in {one for one in tree(daemon) if one.pid != daemon}:
            session.signal(signal.SIGKILL)
        write(tmp_path, 2)
        wait_until(lambda: heard.done() == [1, 2], "the next line")


def test_nothing_listens(tmp_path: Path) -> None:
    heard = Heard()
    dead = Host("fra", ADDRESS, free_port(ADDRESS), getpass.getuser(), "", str(tmp_path / "none"), str(tmp_path), [])
    with tail.Tails(lambda: [dead], "r1", heard.take):
        pass
    assert heard == []


def test_a_host_with_another_key_is_not_read(host: Host, tmp_path: Path) -> None:
    write(tmp_path, 1)
    wrong = tmp_path / "known_hosts"
    wrong.write_text(known_hosts_line(ADDRESS, host.port, make_key(tmp_path / "other")))
    heard = Heard()
    with tail.Tails(lambda: [replace(host, known_hosts=str(wrong))], "r1", heard.take):
        pass
    assert heard == []


def test_an_inventory_that_cannot_be_read_is_not_its_business() -> None:
    def hosts() -> list[Host]:
        raise XdrError("no inventory")

    with tail.Tails(hosts, "r1", lambda host, line: None):
        pass
