# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether one host reaches another, and if not, which leg of the way fails and what to do (module xdr_connectivity).

The legs in their order: TCP (a connection), SSH (the protocol), HOST_KEY (the pinned one), LOGIN (our key), AGENT (a command over there).
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from . import channel, measuring
from .errors import NotReached, XdrError
from .parallel import each
from .site import Peer, Site


class LegError(Exception):
    """``leg``: TCP, SSH, HOST_KEY, LOGIN or AGENT. ``why``: one sentence with what to do."""

    def __init__(self, leg: str, why: str) -> None:
        self.leg, self.why = leg, why
        super().__init__(why)


@dataclass(frozen=True)
class Way:
    """``result``: CONNECTED or the leg that failed. Times in milliseconds, None where that leg was not passed.

    ``tcp_ms``: to connect; ``ssh_ms``: handshake and login; ``ms``: from asking for a command over there to its end.
    From a site, ``ms`` is all of it: a new channel, the login and the agent's ping, which also tells ``version`` and how far its clock is
    ahead of this one (``clock_s``), give or take ``clock_error_s``. ``latency_ms`` (one round trip over an open channel) and
    ``bytes_per_s`` where they were measured; ``unmeasured`` says why they could not be.
    """

    start: str
    to: str
    result: str
    ms: float | None = None
    tcp_ms: float | None = None
    ssh_ms: float | None = None
    why: str = ""
    latency_ms: float | None = None
    bytes_per_s: int | None = None
    unmeasured: str = ""
    clock_s: float | None = None
    clock_error_s: float | None = None
    version: str = ""

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self)
        return {"from": fields.pop("start"), **fields}


class Stopwatch:
    def __init__(self) -> None:
        self._since = time.monotonic()

    def lap(self) -> float:
        """Milliseconds since the last lap."""
        now = time.monotonic()
        lap, self._since = (now - self._since) * 1000, now
        return round(lap, 2)


def connect(address: str, port: int, timeout: float) -> socket.socket:
    """Raises LegError for TCP."""
    where = f"{address} port {port}"
    try:
        return socket.create_connection((address, port), timeout)
    except socket.timeout:
        raise LegError(
            "TCP", f"{where} gave no answer in {timeout:g} s. See that the host is on and no firewall drops the packets"
        ) from None
    except ConnectionRefusedError:
        raise LegError("TCP", f"{where} refused the connection. Start sshd there, or correct the port in the inventory") from None
    except OSError as error:
        raise LegError("TCP", f"{where} is not reached ({error.strerror or error}). Correct the address, or mend the network") from None


def from_site(site: Site, names: Sequence[str], timeout: float) -> list[Way]:
    """This host to each of its peers over the site-to-site channel, all at once. XdrError for a name that is no peer."""
    return each(lambda peer: to_peer(site.host, peer, timeout), [_peer(site, name) for name in names])


def _peer(site: Site, name: str) -> Peer:
    if name not in site.peers:
        known = ", ".join(sorted(site.peers)) or "none"
        raise XdrError(
            f"'{name}' is no peer of this host; it has: {known}", where=site.host, todo="Apply the role site_agent with that host"
        )
    return site.peers[name]


def measured(site: Site, ways: Sequence[Way], names: Sequence[str], nbytes: int) -> list[Way]:
    """The ways, with what ``measuring.measure`` found of those to these peers: one after the other, for they share the line."""
    return [_measured(site.peers[way.to], way, nbytes) if way.to in names and way.result == "CONNECTED" else way for way in ways]


def _measured(peer: Peer, way: Way, nbytes: int) -> Way:
    try:
        found = measuring.measure(peer, nbytes)
    except XdrError as error:
        return replace(way, unmeasured=error.sentence())
    return replace(way, latency_ms=found["latency_ms"], bytes_per_s=found.get("bytes_per_s"))


def to_peer(here: str, peer: Peer, timeout: float) -> Way:
    watch = Stopwatch()
    try:
        connect(peer.address, peer.port, timeout).close()
    except LegError as failed:
        return Way(here, peer.name, failed.leg, why=failed.why)
    tcp_ms = watch.lap()
    asked = time.time()
    try:
        said = channel.run(peer, "ping", timeout=timeout)
    except XdrError as error:
        return Way(here, peer.name, leg_of(error), tcp_ms=tcp_ms, why=error.sentence())
    ms = watch.lap()
    return replace(Way(here, peer.name, "CONNECTED", ms=ms, tcp_ms=tcp_ms), **_told(said, asked, ms / 1000))


def _told(said: str, asked: float, took: float) -> dict[str, Any]:
    """Version and clock, of a ping's answer. Between ``asked`` and the end nobody knows when it looked at its clock."""
    try:
        answer = json.loads(said)
        ahead = float(answer["time"]) - (asked + took / 2)
    except (ValueError, KeyError, TypeError):
        return {}
    return {"version": str(answer.get("version", "")), "clock_s": round(ahead, 3), "clock_error_s": round(took / 2, 3)}


def leg_of(error: XdrError) -> str:
    """TCP has passed, so a channel that is not reached has failed in its protocol."""
    if isinstance(error, NotReached):
        return "SSH"
    return {"host_key": "HOST_KEY", "login": "LOGIN"}.get(error.code, "AGENT")


def require_all(ways: Iterable[Mapping[str, Any]]) -> None:
    """Raises NotReached (code ``no_connection``) that names each way that is not CONNECTED."""
    broken = [f"{way['from']} → {way['to']}, {way['result']}: {way['why']}" for way in ways if way["result"] != "CONNECTED"]
    if broken:
        raise NotReached("; ".join(broken), code="no_connection")
