# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Hosts in network namespaces of their own, a veth pair between any two; each link can be cut, cut one way, slowed and healed."""

from __future__ import annotations

import os
import signal
import subprocess
import zlib
from itertools import combinations
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from ..processes import Process, process, wait_gone

CONTROLLER = "controller"
FOLDER = Path("/run/netns")
NOWHERE = "02:00:00:00:00:01"  # no interface has it: what is sent there vanishes as in a cut cable, without an error for anyone
BURST = "16kb"


class Network:
    """``nodes``: the controller and the lab's hosts. Needs root."""

    def __init__(self, name: str, hosts: tuple[str, ...]) -> None:
        self.name, self.nodes = name, (CONTROLLER, *hosts)
        third = zlib.crc32(name.encode()) % 250 + 1
        self.addresses = {node: f"10.77.{third}.{10 + number}" for number, node in enumerate(self.nodes)}

    def namespace(self, node: str) -> str:
        return f"xdr-{self.name}-{node}"

    @property
    def is_there(self) -> bool:
        return all((FOLDER / self.namespace(node)).exists() for node in self.nodes)

    def inside(self, node: str) -> list[str]:
        """What goes before a command that is to run on this node; nothing where the network is not there."""
        file = FOLDER / self.namespace(node)
        return ["nsenter", f"--net={file}", "--"] if file.exists() else []

    # -- there and gone

    def make(self) -> None:
        self.remove()
        for node in self.nodes:
            _run("ip", "netns", "add", self.namespace(node))
            self._ip(node, "link", "set", "lo", "up")
            self._ip(node, "address", "add", f"{self.addresses[node]}/32", "dev", "lo")
        for one, other in combinations(self.nodes, 2):
            ends = ["type", "veth", "peer", "name", _to(one), "netns", self.namespace(other)]
            self._ip(one, "link", "add", _to(other), *ends)
            for here, there in ((one, other), (other, one)):
                self._ip(here, "link", "set", _to(there), "up")
                self._ip(here, "route", "add", f"{self.addresses[there]}/32", "dev", _to(there), "src", self.addresses[here])

    def remove(self) -> None:
        """End all that runs in the namespaces, and remove them. Raises XdrError for a process that cannot be ended."""
        for node in self.nodes:
            left = self.processes(node)
            for one in left:
                one.signal(signal.SIGKILL)
            if stuck := wait_gone(left, 5.0):
                raise XdrError(f"process {min(stuck).pid} cannot be ended", where=self.namespace(node), todo="Look at what it waits for")
            if (FOLDER / self.namespace(node)).exists():
                _run("ip", "netns", "delete", self.namespace(node))

    def processes(self, node: str) -> set[Process]:
        """All that runs on a node."""
        file = FOLDER / self.namespace(node)
        if not file.exists():
            return set()
        listed = _run("ip", "netns", "pids", self.namespace(node)).split()
        return {found for pid in listed if int(pid) != os.getpid() and (found := process(int(pid)))}

    # -- faults of links

    def cut(self, one: str, other: str) -> None:
        self.cut_way(one, other)
        self.cut_way(other, one)

    def cut_way(self, sender: str, receiver: str) -> None:
        """What ``sender`` sends to ``receiver`` vanishes; the other direction works."""
        neighbour = [self.addresses[receiver], "lladdr", NOWHERE, "dev", _to(receiver), "nud", "permanent"]
        self._ip(sender, "neighbour", "replace", *neighbour)

    def isolate(self, node: str) -> None:
        for other in self.nodes:
            if other != node:
                self.cut(node, other)

    def slow(self, one: str, other: str, kbit: int) -> None:
        for here, there in ((one, other), (other, one)):
            rate = ["rate", f"{kbit}kbit", "burst", BURST, "latency", "2s"]
            _run("tc", "-n", self.namespace(here), "qdisc", "replace", "dev", _to(there), "root", "tbf", *rate)

    def heal(self) -> None:
        """All links are whole and fast again."""
        for here in self.nodes:
            for there in self.nodes:
                if here != there:
                    self._heal_way(here, there)

    def _heal_way(self, here: str, there: str) -> None:
        if NOWHERE in self._ip(here, "neighbour", "show", self.addresses[there], "dev", _to(there)):
            self._ip(here, "neighbour", "delete", self.addresses[there], "dev", _to(there))
        if "tbf" in _run("tc", "-n", self.namespace(here), "qdisc", "show", "dev", _to(there)):
            _run("tc", "-n", self.namespace(here), "qdisc", "delete", "dev", _to(there), "root")

    def _ip(self, node: str, *words: str) -> str:
        return _run("ip", "-n", self.namespace(node), *words)


def _to(node: str) -> str:
    """The interface that leads there; a name has less than 16 characters."""
    return f"to-{node}"[:15]


def _run(*argv: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    try:
        done = subprocess.run(argv, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError as error:
        raise XdrError(
            f"there is no program {argv[0]}", where="the fault lab", todo="Install it; on Debian: iproute2, util-linux"
        ) from error
    if done.returncode:
        raise XdrError(
            f"{' '.join(argv[:6])} failed: {done.stderr.strip()}", where="the fault lab", todo="Is this root of the whole machine?"
        )
    return done.stdout
