# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""HAProxy, moved between the sites through its runtime socket (``stats socket … level admin``).

Item: ``name``, ``socket``, ``backend``, ``servers: {primary: [names], dr: [names]}``, and optionally
``verify: {url, header, values: {primary, dr}}``: what a request through the balancer is answered with.
"""

from __future__ import annotations

import contextlib
import csv
import http.client
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ..errors import NotReached, XdrError
from ..waiting import Deadline
from .interface import OTHER, Gate, Occasion, Seen, Switch

ANSWERS_WITHIN = 5.0  # seconds, for one command or one request
MAINT, DRAIN = 0x01 | 0x02 | 0x20 | 0x40, 0x08 | 0x10  # srv_admin_state: forced, inherited, by resolution, by name
UP = "2"  # srv_op_state


class HAProxy:
    """The traffic driver ``haproxy``. After a restart HAProxy has the states of its configuration again, unless it loads a state file."""

    def __init__(self, item: Mapping[str, Any], occasion: Occasion | None = None) -> None:
        self._name, self._socket, self._backend = str(item["name"]), str(item["socket"]), str(item["backend"])
        self._servers: dict[str, list[str]] = {side: list(item["servers"][side]) for side in OTHER}
        self._verify: Mapping[str, Any] = item.get("verify") or {}

    def side(self) -> str:
        states = self._states()
        return which_side({name: admin for name, (admin, _) in states.items()}, self._servers)

    def check(self) -> str:
        """A server that there is not is set: HAProxy looks at the socket's level first."""
        self.side()
        self._ask(f"set server {self._backend}/ state ready")
        return ""

    def plan(self, to: str) -> list[Switch]:
        states = self._states()
        return plan_switches({name: admin for name, (admin, _) in states.items()}, self._servers, to)

    def switch(self, switches: Sequence[Switch], to: str, deadline: float, gate: Gate = contextlib.nullcontext) -> list[Seen]:
        limit = Deadline(deadline)
        if switches:
            with gate():
                for each in switches:
                    self._set(each)
        if not limit.wait_for(lambda: self._all_up(to)):
            raise self._error(f"the servers of {to} are not up after {deadline:g} s ({self._not_up(to)})", f"Look at the services of {to}")
        return self._verified(to, limit) if self._verify else []

    # the runtime socket

    def _states(self) -> dict[str, tuple[str, str]]:
        """(ready, drain or maint; operational state) of each server of the plan."""
        found = parse_states(self._ask(f"show servers state {self._backend}"))
        for name in (name for names in self._servers.values() for name in names):
            if name not in found:
                known = ", ".join(found) or "none"
                raise self._error(f"backend {self._backend} has no server '{name}'", f"Correct the plan's servers; it has: {known}")
        return found

    def _set(self, switch: Switch) -> None:
        answer = self._ask(f"set server {self._backend}/{switch.server} state {switch.after}").strip()
        if answer:
            raise self._error(
                f"HAProxy did not set server {switch.server} to {switch.after} ({answer})", "Look at its configuration and log"
            )

    def _ask(self, command: str) -> str:
        """One command, one connection. HAProxy tells of an error in its answer."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.settimeout(ANSWERS_WITHIN)
                sock.connect(self._socket)
                sock.sendall(command.encode() + b"\n")
                answer = b"".join(iter(lambda: sock.recv(65536), b"")).decode(errors="replace")
        except OSError as error:
            raise NotReached(
                f"HAProxy does not answer at its runtime socket {self._socket} ({error.strerror or error})",
                where=self._where,
                todo="Start HAProxy, give this account access to the socket, or correct the socket's path in the inventory",
            ) from error
        if "Can't find backend" in answer:
            raise self._error(f"HAProxy has no backend '{self._backend}'", "Correct the backend's name in the plan")
        if "Permission denied" in answer:
            raise self._error(f"HAProxy refused '{command}'", "Give its stats socket 'level admin'")
        return answer

    # waiting

    def _all_up(self, to: str) -> bool:
        states = self._states()
        return all(states[name] == ("ready", UP) for name in self._servers[to])

    def _not_up(self, to: str) -> str:
        rows = csv.DictReader(self._ask("show stat").lstrip("# ").splitlines())
        wanted = [row for row in rows if row["pxname"] == self._backend and row["svname"] in self._servers[to]]
        bad = [row for row in wanted if not row["status"].startswith(("UP", "no check"))]
        return (
            "; ".join(f"{row['svname']} is {row['status']} {row['last_chk'] or row['check_status']}".rstrip() for row in bad)
            or "some of them flap"
        )

    def _verified(self, to: str, limit: Deadline) -> list[Seen]:
        url, header, expected = self._verify["url"], self._verify["header"], str(self._verify["values"][to])
        last = [""]

        def answered() -> bool:
            last[0] = read_header(url, header, max(0.5, min(ANSWERS_WITHIN, limit.left)))
            return last[0] == f"{header}: {expected}"

        if not limit.wait_for(answered):
            raise self._error(
                f"{url} was not answered with {header}: {expected} in {limit.seconds:g} s, the last answer was {last[0]}",
                f"Look at HAProxy's backend {self._backend} and at the services of {to}",
            )
        return [Seen(f"GET {url}", last[0])]

    @property
    def _where(self) -> str:
        return f"load balancer {self._name}"

    def _error(self, what: str, todo: str) -> XdrError:
        return XdrError(what, where=self._where, todo=todo)


def parse_states(text: str) -> dict[str, tuple[str, str]]:
    """Server name → (ready, drain or maint; operational state) from ``show servers state``. Pure."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    header = next((line[1:] for line in lines if line[0] == "#"), [])
    rows = [dict(zip(header, line)) for line in lines if line[0] != "#" and len(line) >= len(header) > 0]
    return {row["srv_name"]: (admin_state(int(row["srv_admin_state"])), row["srv_op_state"]) for row in rows}


def admin_state(bits: int) -> str:
    if bits & MAINT:
        return "maint"
    return "drain" if bits & DRAIN else "ready"


def which_side(states: Mapping[str, str], servers: Mapping[str, Sequence[str]]) -> str:
    """``primary``, ``dr``, ``both``, ``none`` or ``partly`` from the servers' admin states. Pure."""
    ready = {side: [states[name] == "ready" for name in names] for side, names in servers.items()}
    if any(any(some) and not all(some) for some in ready.values()):
        return "partly"
    sides = [side for side, some in ready.items() if any(some)]
    return {0: "none", 1: sides[0] if sides else "", 2: "both"}[len(sides)]


def plan_switches(states: Mapping[str, str], servers: Mapping[str, Sequence[str]], to: str) -> list[Switch]:
    """First the other side's servers out of service, then this side's in: no client ever reaches both. Pure."""
    away = [Switch(name, states[name], "maint") for name in servers[OTHER[to]] if states[name] != "maint"]
    home = [Switch(name, states[name], "ready") for name in servers[to] if states[name] != "ready"]
    return away + home


def read_header(url: str, header: str, timeout: float) -> str:
    """``Header: value`` of the answer to a GET, or what there was instead."""
    parts = urlsplit(url)
    kinds: dict[str, Callable[..., http.client.HTTPConnection]] = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not parts.hostname:
        raise XdrError(f"'{url}' is no http or https address", todo="Correct verify of the load balancer in the plan")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        with contextlib.closing(kinds[parts.scheme](parts.hostname, parts.port, timeout=timeout)) as connection:
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            value = answer.getheader(header)
            return f"HTTP status {answer.status} without {header}" if value is None else f"{header}: {value}"
    except (OSError, http.client.HTTPException) as error:
        return str(error) or repr(error)
