# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Where the lab listens: loopback addresses of its own, and ports that are free on all of them."""

from __future__ import annotations

import errno
import socket
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

HOSTS = ("fra-hv1", "ams-hv1", "edge1")
SITES = HOSTS[:2]
BALANCER = "edge1"
SSH_PORT, BALANCER_PORT = 2222, 8080
PORTS_TRIED = 20
NETWORKS_TRIED = 50

Free = Callable[[str, int], bool]


@dataclass(frozen=True)
class Choice:
    """``offset`` is what is added to the ports of the plan's health checks."""

    addresses: dict[str, str]
    ssh_port: int
    balancer_port: int
    offset: int = 0


def free(address: str, port: int) -> bool:
    """Whether a server could listen there now. A listener on all addresses takes the port on each of them."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
        return True


def addresses(network: int) -> dict[str, str]:
    return {host: f"127.77.{network}.{10 + number}" for number, host in enumerate(HOSTS, 1)}


def choose(name: str, service_ports: Sequence[int], is_free: Free = free) -> Choice:
    """The first network of 127.77.0.0/16, beginning at one that the name decides, where the usual ports are free.

    What a listener on all addresses has taken is taken in each network: then the ports move, not the network.
    """
    start = zlib.crc32(name.encode())
    for step in range(NETWORKS_TRIED):
        hosts = addresses(1 + (start + step) % 250)
        if _listeners_of_another(hosts, service_ports, is_free):
            continue
        ssh_port = _first_free(SSH_PORT, hosts.values(), is_free)
        balancer_port = _first_free(BALANCER_PORT, [hosts[BALANCER]], is_free)
        return Choice(hosts, ssh_port, balancer_port, offset(service_ports, [hosts[site] for site in SITES], is_free))
    raise XdrError(
        f"no free loopback addresses were found in {NETWORKS_TRIED} networks of 127.77.0.0/16",
        where=f"lab {name}",
        todo="Take down labs that are not needed any more",
    )


def _listeners_of_another(hosts: dict[str, str], service_ports: Sequence[int], is_free: Free) -> bool:
    """Whether a port is taken on these addresses but free on the loopback address beside them: then only these are in use."""
    ports = [SSH_PORT, BALANCER_PORT, *service_ports]
    return any(not is_free(address, port) and is_free("127.77.255.254", port) for address in hosts.values() for port in ports)


def _first_free(first: int, on: Iterable[str], is_free: Free) -> int:
    places = list(on)
    for port in range(first, first + PORTS_TRIED):
        if all(is_free(address, port) for address in places):
            return port
    raise XdrError(
        f"the ports {first} to {first + PORTS_TRIED - 1} are all taken", where="the lab", todo="End what listens there: ss -ltnp"
    )


def offset(service_ports: Sequence[int], on: Sequence[str], is_free: Free = free) -> int:
    """What to add to each port so that all are free on all addresses."""
    for step in range(PORTS_TRIED):
        if all(is_free(address, port + 100 * step) for address in on for port in service_ports):
            return 100 * step
    taken = ", ".join(str(port) for port in service_ports if not all(is_free(address, port) for address in on))
    raise _all_taken(f"the services' ports are taken ({taken}), and so are those up to {100 * (PORTS_TRIED - 1)} above")


def _all_taken(what: str) -> XdrError:
    return XdrError(what, where="the lab", todo="End what listens there: ss -ltnp shows it")


def usable(choice: Choice, service_ports: Sequence[int], is_free: Free = free) -> bool:
    """Whether an earlier choice can be kept; ``service_ports`` as they are in the plan that goes with it."""
    return (
        all(is_free(choice.addresses[host], choice.ssh_port) for host in HOSTS)
        and is_free(choice.addresses[BALANCER], choice.balancer_port)
        and all(is_free(choice.addresses[site], port) for site in SITES for port in service_ports)
    )
