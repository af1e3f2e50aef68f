# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Instances that are programs of a supervisord, reached over its unix socket by XML-RPC.

Item option: ``program``, the program's name (``group:program`` too); default the resource's name. The program has ``autostart=false``
and its command runs under the start guard, which marks its pid just before it becomes the program.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import xmlrpc.client
from collections.abc import Iterator
from typing import Any

from ..errors import NotReached, XdrError
from ..running import Mark, read_mark, remove_mark
from ..site import Site
from ..waiting import Deadline
from .interface import Gate, Item, Outcome, timeout_of

ENDED = ("STOPPED", "EXITED", "FATAL")
GIVEN_UP = ("EXITED", "FATAL", "UNKNOWN")  # UNKNOWN: supervisord could not signal the process, which may still run
ANSWERS_WITHIN = 10.0  # seconds for one call

BAD_NAME, NO_FILE, NOT_EXECUTABLE, SPAWN_ERROR, ALREADY_STARTED, NOT_RUNNING = 10, 20, 21, 50, 60, 70


class Supervisor:
    """The instance driver ``supervisor``."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def status(self, item: Item) -> Outcome:
        return self._look(item)

    def start(self, item: Item, gate: Gate = contextlib.nullcontext) -> Outcome:
        limit = Deadline(timeout_of(item, "start_timeout"))
        seen = self._look(item)
        if seen.state == "STOPPING":
            limit.wait_for(lambda: self._look(item).state != "STOPPING")
            seen = self._look(item)
        if seen.state == "STOPPING":
            raise self._error(
                item,
                f"it is still stopping: process {seen.pid} has not ended",
                f"Look at what process {seen.pid} waits for, end it, then start it again",
            )
        if seen.state == "RUNNING":
            return seen
        if seen.state == "ORPHANED":
            raise self._error(
                item,
                f"process {seen.pid} of it still runs outside supervisord",
                "Stop the instance first; two copies would write to the same volume",
            )
        with gate():
            self._request("startProcess", item)
        last = [seen]
        limit.wait_for(lambda: self._started(item, last))
        if last[0].state == "RUNNING":
            return Outcome("RUNNING", last[0].pid, changed=True, seconds=round(limit.elapsed, 3))
        raise self._not_started(item, last[0], limit.seconds)

    def stop(self, item: Item, gate: Gate = contextlib.nullcontext) -> Outcome:
        limit = Deadline(timeout_of(item, "stop_timeout"))
        seen = self._look(item)
        if seen.state in ENDED:
            self._forget(item)
            return Outcome("STOPPED", why=seen.why)
        with gate():
            self._end(item, seen)
        last = [seen]
        if not limit.wait_for(lambda: self._stopped(item, last)):
            raise self._error(
                item,
                f"it will not stop: process {last[0].pid} has not ended in {limit.seconds:g} s",
                f"Look at what process {last[0].pid} waits for, end it, then run this step again",
            )
        self._forget(item)
        return Outcome("STOPPED", changed=True, seconds=round(limit.elapsed, 3))

    # reading

    def _look(self, item: Item) -> Outcome:
        """The state as supervisord tells it, corrected by what the start guard has marked."""
        info = self._info(item)
        state, pid, mark = str(info["statename"]), int(info["pid"]), self._mark(item)
        if mark and mark.pid != pid and mark.alive():
            return Outcome("ORPHANED", mark.pid, why="it runs, but not under this supervisord")
        if state == "RUNNING" and not (mark and mark.pid == pid and mark.alive()):
            return Outcome("STARTING", pid, why="its start guard has not handed over")
        return Outcome(state, pid, why=_why(info) + (self._said(item) if state in GIVEN_UP else ""))

    def _started(self, item: Item, last: list[Outcome]) -> bool:
        last[0] = self._look(item)
        return last[0].state == "RUNNING" or last[0].state in GIVEN_UP

    def _stopped(self, item: Item, last: list[Outcome]) -> bool:
        now = self._look(item)
        last[0] = now if now.pid else Outcome(now.state, last[0].pid)
        return now.state in ENDED

    def _mark(self, item: Item) -> Mark | None:
        return read_mark(self._site.state_dir, str(item["plan"]), str(item["name"]))

    def _info(self, item: Item) -> dict[str, Any]:
        with self._server(item) as server:
            answer: Any = server.supervisor.getProcessInfo(_program(item))
            return dict(answer)

    # changing

    def _request(self, method: str, item: Item) -> None:
        """Ask supervisord and do not wait; that it is so already is no error."""
        with self._server(item, bad={ALREADY_STARTED, NOT_RUNNING}) as server:
            getattr(server.supervisor, method)(_program(item), False)

    def _end(self, item: Item, seen: Outcome) -> None:
        """Ask supervisord; a process that it has lost sight of (it was killed and started anew) gets SIGTERM from here."""
        self._request("stopProcess", item)
        mark = self._mark(item)
        if seen.state == "ORPHANED" and mark and mark.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(mark.pid, signal.SIGTERM)

    def _forget(self, item: Item) -> None:
        remove_mark(self._site.state_dir, str(item["plan"]), str(item["name"]))

    # telling

    def _not_started(self, item: Item, seen: Outcome, seconds: float) -> XdrError:
        if seen.state in GIVEN_UP:
            what, todo = (
                f"it did not start: supervisord says {seen.state} ({seen.why})",
                "Read the program's log, mend it, then run this step again",
            )
        else:
            what = f"it did not start in {seconds:g} s: {seen.why or 'state ' + seen.state}{self._said(item)}"
            todo = "Read the program's log; a start guard that waits needs its witness to answer"
        return self._error(item, what, todo)

    def _said(self, item: Item) -> str:
        """``; it said: …`` with the last line that the program wrote, from its error log or, where that goes into the other, its log."""
        for method in ("readProcessStderrLog", "readProcessStdoutLog"):
            try:
                with self._server(item) as server:
                    text: Any = getattr(server.supervisor, method)(_program(item), -2000, 0)
            except XdrError:
                continue
            lines = [line.strip() for line in str(text).splitlines() if line.strip()]
            if lines:
                return f"; it said: {lines[-1][:300]}"
        return ""

    def _error(self, item: Item, what: str, todo: str) -> XdrError:
        return XdrError(what, where=f"{self._site.host}: instance {item['name']}", todo=todo)

    @contextlib.contextmanager
    def _server(self, item: Item, bad: set[int] | frozenset[int] = frozenset()) -> Iterator[xmlrpc.client.ServerProxy]:
        """One connection for one call, as several threads ask at once. Faults with a code in ``bad`` are taken as done."""
        path = self._site.supervisor_socket
        try:
            with xmlrpc.client.ServerProxy("http://supervisor", transport=_UnixTransport(path)) as server:
                yield server
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in bad:
                raise self._fault(item, fault) from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise NotReached(
                f"supervisord does not answer at its socket {path} ({error})",
                where=self._site.host,
                todo="Start supervisord on this host, or correct xdr_supervisor_socket in the inventory",
            ) from error

    def _fault(self, item: Item, fault: xmlrpc.client.Fault) -> XdrError:
        program = _program(item)
        told = {
            BAD_NAME: (
                f"supervisord knows no program '{program}'",
                "Add it to supervisord's configuration and reread it, or correct instance.program in the plan",
            ),
            NO_FILE: (f"the command of program '{program}' does not exist ({fault.faultString})", "Correct its command"),
            NOT_EXECUTABLE: (f"the command of program '{program}' cannot be executed ({fault.faultString})", "Correct its file mode"),
            SPAWN_ERROR: (f"program '{program}' could not be spawned ({fault.faultString})", "Read supervisord's log"),
        }
        what, todo = told.get(fault.faultCode, (f"supervisord refused ({fault.faultString})", "Read supervisord's log"))
        return self._error(item, what, todo)


def _program(item: Item) -> str:
    return str(item.get("program") or item["name"])


def _why(info: dict[str, Any]) -> str:
    if info["statename"] in ("RUNNING", "STOPPED"):
        return ""
    if info["statename"] == "EXITED":
        return f"it ended with exit status {info['exitstatus']}"
    return str(info["spawnerr"] or info["description"])


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        self._connection = host, _UnixConnection(self._path)  # the base class closes it
        return self._connection[1]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWERS_WITHIN)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWERS_WITHIN)
        self.sock.connect(self._path)
