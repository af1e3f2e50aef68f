# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Health checks of resources: a TCP connection, an HTTP answer, a command; tried again until they pass or a deadline ends."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .errors import XdrError
from .parallel import each
from .waiting import Deadline

ONE_TRY = 5.0  # seconds at most
KINDS = ("tcp", "http", "command")


@dataclass(frozen=True)
class Check:
    """One check of a resource. ``target``: a port, ``{"port", "path", "status"}``, or argv."""

    resource: str
    address: str
    kind: str
    target: Any

    @property
    def label(self) -> str:
        if self.kind == "tcp":
            return f"tcp {self.address}:{self.target}"
        if self.kind == "http":
            return f"http http://{self.address}:{self.target['port']}{self.target['path']}"
        return f"command {' '.join(self.target)}"


@dataclass(frozen=True)
class Result:
    """``why``: why the last try failed, empty where it passed. ``seconds``: from the first try's start to the last one's end."""

    check: str
    ok: bool
    why: str
    seconds: float
    tries: int


def read_checks(resources: Sequence[Mapping[str, Any]]) -> list[Check]:
    """The checks of ``[{"name", "address", "checks": [{"tcp": port} | {"http": {…}} | {"command": argv}]}]``. Pure.

    Raises XdrError for another shape.
    """
    return [
        _read_check(str(resource["name"]), resource.get("address") or "127.0.0.1", check)
        for resource in resources
        for check in resource.get("checks") or []
    ]


def _read_check(resource: str, address: str, check: Mapping[str, Any]) -> Check:
    given = {kind: check[kind] for kind in KINDS if check.get(kind) is not None}
    try:
        if len(given) != 1 or set(check) - set(KINDS):
            raise ValueError(f"give one of {', '.join(KINDS)}")
        kind, target = next(iter(given.items()))
        return Check(resource, address, kind, _READERS[kind](target))
    except (KeyError, TypeError, ValueError) as error:
        raise XdrError(
            f"the health check {dict(check)} is not one ({error})",
            where=resource,
            todo="Write {tcp: 5432}, {http: {port: 80, path: /}} or {command: [prog, arg]}",
        ) from error


def _read_http(target: Mapping[str, Any]) -> dict[str, Any]:
    return {"port": int(target["port"]), "path": str(target.get("path") or "/"), "status": int(target.get("status") or 200)}


def _read_command(target: Any) -> list[str]:
    if not isinstance(target, list) or not target:
        raise ValueError("a command is a list of its words")
    return [str(word) for word in target]


_READERS: dict[str, Callable[[Any], Any]] = {"tcp": int, "http": _read_http, "command": _read_command}


Ended = Callable[[str], str]
"""Why the instance of a resource has ended, empty while it has not."""


def run_checks(checks: Sequence[Check], seconds: float, interval: float, ended: Ended = lambda resource: "") -> list[Result]:
    """All checks at once, each until it passes, its instance has ended or ``seconds`` are over; at least one try of each."""
    deadline = Deadline(seconds)
    return each(lambda check: _until_passed(check, deadline, interval, ended), checks)


def _until_passed(check: Check, deadline: Deadline, interval: float, ended: Ended) -> Result:
    began, tries = time.monotonic(), 0
    while True:
        tries += 1
        why = try_once(check, max(0.5, min(ONE_TRY, deadline.left)))
        gone = ended(check.resource)  # asked after a pass, too: what answered may be another program
        why = gone or why
        if gone or not why or deadline.left <= interval:
            return Result(check.label, not why, why, round(time.monotonic() - began, 3), tries)
        time.sleep(interval)


def try_once(check: Check, timeout: float) -> str:
    """Why it failed; empty when it passed."""
    try:
        if check.kind == "tcp":
            return _tcp(check.address, check.target, timeout)
        if check.kind == "http":
            return _http(check.address, check.target, timeout)
        return _command(check.target, timeout)
    except socket.timeout:
        return f"no answer in {timeout:.1f} s"
    except (OSError, http.client.HTTPException) as error:
        return (error.strerror if isinstance(error, OSError) else None) or repr(error)


def _tcp(address: str, port: int, timeout: float) -> str:
    with socket.create_connection((address, port), timeout):
        return ""


def _http(address: str, target: Mapping[str, Any], timeout: float) -> str:
    connection = http.client.HTTPConnection(address, target["port"], timeout=timeout)
    with contextlib.closing(connection):
        connection.request("GET", target["path"], headers={"Connection": "close"})
        status = connection.getresponse().status
        return "" if status == target["status"] else f"HTTP status {status}, expected {target['status']}"


def _command(argv: Sequence[str], timeout: float) -> str:
    """Output goes to a file: a child of the command that keeps a pipe open would hold us up beyond the timeout."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return f"it had not ended after {timeout:.1f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if status == 0:
            return ""
        output.seek(0)
        lines = output.read(65536).decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f"exit status {status}" + (f", it said: {said[-1][:200]}" if said else "")


def by_resource(resources: Sequence[Mapping[str, Any]], checks: Sequence[Check], results: Sequence[Result]) -> list[dict[str, Any]]:
    """``[{"name", "resource_state", "checks": [{"check", "ok", "why", "seconds", "tries"}]}]``. Pure. No checks: Validated."""
    answer = []
    for resource in resources:
        own = [result for check, result in zip(checks, results) if check.resource == str(resource["name"])]
        state = "Validated" if all(result.ok for result in own) else "Failed"
        answer.append({"name": str(resource["name"]), "resource_state": state, "checks": [asdict(result) for result in own]})
    return answer


def require_all(results: Sequence[Mapping[str, Any]], seconds: float, where: str = "") -> None:
    """Raises XdrError (``unhealthy``) that names each check that did not pass and why its last try failed."""
    failed = [(entry["name"], check) for entry in results for check in entry["checks"] if not check["ok"]]
    if failed:
        told = "; ".join(f"{name}: {check['check']} did not pass ({check['why']})" for name, check in failed[:5])
        more = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
        raise XdrError(
            f"{told}{more}; the deadline was {seconds:g} s",
            where=where,
            todo="Read the log of the resource, or give its check the right address and port in the plan",
            code="unhealthy",
        )
