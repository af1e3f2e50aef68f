# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The network of the fault lab: real namespaces, real links."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.faults.network import Network
from tests.support.labs import named
from tests.support.processes import running, wait_until

pytestmark = pytest.mark.namespaces

PORT = 7000
# Writes each datagram that comes to its output, and sends it back.
ECHO = f"""\
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], {PORT}))
print("ready", flush=True)
while True:
    data, sender = s.recvfrom(64)
    print(data.decode(), flush=True)
    s.sendto(data, sender)
"""
# Sends a word until the answer comes, so many times at most; the exit code says whether it came.
CALL = f"""\
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.2)
for _ in range(int(sys.argv[3])):
    s.sendto(sys.argv[2].encode(), (sys.argv[1], {PORT}))
    try:
        while s.recv(64).decode() != sys.argv[2]:
            pass
        sys.exit(0)
    except TimeoutError:
        pass
sys.exit(1)
"""


class Echo:
    """``two`` answers ``one``."""

    def __init__(self, network: Network, log: Path) -> None:
        self.network, self.log = network, log

    def heard(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def answers(self, word: str, tries: int = 25) -> bool:
        argv = [*self.network.inside("one"), sys.executable, "-c", CALL, self.network.addresses["two"], word, str(tries)]
        return subprocess.run(argv, timeout=60, check=False).returncode == 0


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network(named("net"), ("one", "two"))
    made.make()
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def echo(network: Network, tmp_path: Path) -> Iterator[Echo]:
    log = tmp_path / "echo.log"
    argv = [*network.inside("two"), sys.executable, "-c", ECHO, network.addresses["two"]]
    with running(argv, log=log, ready=lambda: log.read_text().startswith("ready")):
        yield Echo(network, log)


def test_a_link_is_cut_and_healed(network: Network, echo: Echo) -> None:
    assert echo.answers("whole")
    network.cut("one", "two")
    assert not echo.answers("cut", tries=2)
    assert "cut" not in echo.heard()
    network.heal()
    assert echo.answers("healed")


def test_a_link_is_cut_one_way(network: Network, echo: Echo) -> None:
    """The request arrives, its answer does not."""
    network.cut_way("two", "one")
    assert not echo.answers("asked", tries=2)
    assert "asked" in echo.heard()
    network.heal()
    assert echo.answers("healed")


def test_an_isolated_host_is_cut_from_all(network: Network, echo: Echo) -> None:
    network.isolate("two")
    assert not echo.answers("isolated", tries=2)
    assert "isolated" not in echo.heard()


def test_a_slow_link_is_slow_until_it_is_healed(network: Network, echo: Echo) -> None:
    network.slow("one", "two", 1000)
    assert echo.answers("slow")
    assert "rate 1Mbit" in shaped(network)
    network.heal()
    assert "tbf" not in shaped(network)


def shaped(network: Network) -> str:
    argv = ["tc", "-n", network.namespace("one"), "qdisc", "show", "dev", "to-two"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_nothing_that_runs_there_outlives_it(network: Network) -> None:
    with contextlib.ExitStack() as ending:
        process = subprocess.Popen([*network.inside("one"), sys.executable, "-c", "import signal; signal.pause()"])
        ending.callback(process.wait, 10)
        ending.callback(process.kill)
        wait_until(lambda: process.pid in {one.pid for one in network.processes("one")}, "it is inside", 10)
        network.remove()
        assert process.wait(10) == -9
    assert not network.is_there
    network.remove()  # again, when it is gone
