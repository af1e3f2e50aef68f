# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Instances that are services of the host's systemd, asked by systemctl.

Item option: ``unit``, the service's own name. The role ownership_guard gives it an ExecCondition=, the start guard, which every start
passes: at boot, by hand, by Restart= and by this driver. The guard does not become the service, so there is no mark of it: systemd tells
what runs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from .. import service_guards
from ..errors import XdrError
from ..site import Site
from ..systemctl import Service, ask, run, show
from ..waiting import Deadline
from .interface import Gate, Item, Outcome, timeout_of

LOOK_EVERY = 0.2  # seconds; a look is a process


class Systemd:
    """The instance driver ``systemd``."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def status(self, item: Item) -> Outcome:
        service = self._look(item)
        seen = outcome(service)
        said = self._said(service, f"_SYSTEMD_INVOCATION_ID={service.invocation}") if seen.state == "FATAL" else ""
        return Outcome(seen.state, seen.pid, why="; ".join(filter(None, (seen.why + said, self._unguarded(item, service)))))

    def start(self, item: Item, gate: Gate = contextlib.nullcontext) -> Outcome:
        limit = Deadline(timeout_of(item, "start_timeout"))
        last = [self._look(item)]
        if outcome(last[0]).state == "STOPPING":
            limit.wait_for(lambda: self._renewed(item, last) != "STOPPING", every=LOOK_EVERY)
        seen = outcome(last[0])
        if seen.state == "RUNNING":
            return seen
        self._check_startable(item, last[0], seen)
        since = f"--since=@{int(time.time())}"
        with gate(), self._named(item):
            self._request_start(last[0])
        limit.wait_for(lambda: self._renewed(item, last) == "RUNNING" or last[0].ended, every=LOOK_EVERY)
        seen = outcome(last[0])
        if seen.state == "RUNNING":
            return Outcome("RUNNING", seen.pid, changed=True, seconds=round(limit.elapsed, 3))
        raise self._not_started(item, last[0], limit.seconds, since)

    def stop(self, item: Item, gate: Gate = contextlib.nullcontext) -> Outcome:
        limit = Deadline(timeout_of(item, "stop_timeout"))
        last = [self._look(item)]
        if _nothing_left(last[0]):
            return Outcome("STOPPED", why=outcome(last[0]).why)
        with gate(), self._named(item):
            ask("stop", "--no-block", "--", last[0].name)
        if limit.wait_for(lambda: bool(self._renewed(item, last)) and last[0].ended, every=LOOK_EVERY) and last[0].processes():
            with gate(), self._named(item):
                self._end_left_behind(item, last[0])
        if not limit.wait_for(lambda: bool(self._renewed(item, last)) and _nothing_left(last[0]), every=LOOK_EVERY):
            raise self._not_stopped(item, last[0], limit.seconds)
        return Outcome("STOPPED", changed=True, seconds=round(limit.elapsed, 3))

    # reading

    def _look(self, item: Item) -> Service:
        """Raises XdrError for a unit that systemd does not know, or knows by another name."""
        with self._named(item):
            [service] = show([str(item["unit"])])
        if service.load == "not-found" and _nothing_left(service):
            raise self._error(
                item,
                f"systemd knows no unit '{service.asked}'",
                "Install it, then systemctl daemon-reload; or correct instance.unit in the plan",
            )
        if service.name != service.asked:
            what = f"unit '{service.asked}' is another name of '{service.name}'"
            raise self._error(item, what, f"Set instance.unit to {service.name} in the plan, so that no other plan can take it")
        return service

    def _renewed(self, item: Item, last: list[Service]) -> str:
        last[0] = self._look(item)
        return outcome(last[0]).state

    def _unguarded(self, item: Item, service: Service) -> str:
        """Empty where systemd will ask the start guard first."""
        words = service_guards.argv(self._site.state_dir, str(item["plan"]), str(item["name"]))
        return service_guards.missing(service, words) if service.load == "loaded" else ""

    def _said(self, service: Service, which: str) -> str:
        """``; it said: …`` with the last line that the service or its guard wrote, where this account may read the journal."""
        try:
            run(["journalctl", "--quiet", "--sync"])  # only root may; others see what has been written by now
            argv = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=1", which, f"_SYSTEMD_UNIT={service.name}"]
            lines = run(argv).stdout.strip().splitlines()
        except XdrError:
            return ""
        return f"; it said: {lines[-1].strip()[:300].rstrip('.')}" if lines else ""

    # changing

    def _request_start(self, service: Service) -> None:
        """Queued, and not waited for: the guard takes the lock that is held here."""
        if service.active == "failed":
            ask("reset-failed", "--", service.name)  # else one that failed too often of late is refused
        ask("start", "--no-block", "--", service.name)

    def _end_left_behind(self, item: Item, service: Service) -> None:
        """What KillMode= spares is not the service's any more for systemd, and still writes to the volume."""
        try:
            ask("kill", "--signal=SIGTERM", "--", service.name)
        except XdrError:
            if self._look(item).processes():
                raise

    # telling

    def _check_startable(self, item: Item, service: Service, seen: Outcome) -> None:
        if service.load == "masked":
            raise self._error(item, f"{service.name} is masked", f"Ask who masked it, then systemctl unmask {service.name}")
        if service.load != "loaded":
            what = f"systemd cannot load {service.name} ({service.load}): {service.load_error}"
            raise self._error(item, what, "Mend the unit's files, then systemctl daemon-reload")
        if seen.state == "STOPPING":
            todo = f"Look at what process {seen.pid} waits for, end it, then start it again"
            raise self._error(item, f"it is still stopping: process {seen.pid} has not ended", todo)
        if seen.state == "ORPHANED":
            todo = "Stop the instance first; two copies would write to the same volume"
            raise self._error(item, f"process {seen.pid} of it still runs outside systemd", todo)
        bare = self._unguarded(item, service)
        if bare:
            todo = "Let systemd read its files: systemctl daemon-reload" if service.stale else "Mend it with the role ownership_guard"
            raise self._error(item, bare, todo, code="unguarded")

    def _not_started(self, item: Item, service: Service, seconds: float, since: str) -> XdrError:
        journal = f"Read its journal: journalctl --unit={service.name}"
        if service.ended:
            what = f"it did not start: systemd says {_result(service)}{self._said(service, since)}"
            return self._error(item, what, f"{journal}; mend it, then run this step again")
        seen = outcome(service)
        said = f"; it said: {service.status_text.rstrip('.')}" if service.status_text else self._said(service, since)
        what = f"it did not start in {seconds:g} s: {seen.why or 'state ' + seen.state}{said}"
        return self._error(item, what, f"{journal}; a start guard that waits needs its witness to answer")

    def _not_stopped(self, item: Item, service: Service, seconds: float) -> XdrError:
        pids = service.processes() or [service.pid]
        whom = f"process {pids[0]} has" if len(pids) == 1 else f"processes {', '.join(map(str, pids))} have"
        todo = f"Look at what process {pids[0]} waits for, end it, then run this step again"
        return self._error(item, f"it will not stop: {whom} not ended in {seconds:g} s", todo)

    @contextlib.contextmanager
    def _named(self, item: Item) -> Iterator[None]:
        """What systemctl says does not know of which instance."""
        try:
            yield
        except XdrError as error:
            where = f"{self._site.host}: instance {item['name']}"
            raise type(error)(error.what, where=where, todo=error.todo, code=error.code) from error

    def _error(self, item: Item, what: str, todo: str, code: str = "failed") -> XdrError:
        return XdrError(what, where=f"{self._site.host}: instance {item['name']}", todo=todo, code=code)


def outcome(service: Service) -> Outcome:
    """What systemd tells, in the words of the interface."""
    processes = service.processes()
    pid = service.pid or (processes[0] if processes else 0)
    if service.is_up:
        return Outcome("RUNNING", pid)
    if service.active == "activating" or (service.job and service.active in ("inactive", "failed")):
        return _starting(service, pid)
    if service.active == "deactivating":
        return Outcome("STOPPING", pid)
    if service.active not in ("inactive", "failed"):
        return Outcome("UNKNOWN", pid, why=f"systemd says {service.active} ({service.sub})")
    if processes:
        return Outcome("ORPHANED", pid, why=f"systemd says {service.active}, and left a process behind")
    if service.active == "failed":
        return Outcome("FATAL", why=_result(service))
    return Outcome("STOPPED", why="it is masked" if service.load == "masked" else "")


def _starting(service: Service, pid: int) -> Outcome:
    if service.sub.startswith("auto-restart"):
        return Outcome("BACKOFF", why=f"it ended ({_result(service)}), systemd will start it again")
    if service.asks_its_guard:
        return Outcome("STARTING", pid, why="its start guard has not handed over")
    return Outcome("STARTING", pid, why=f"systemd says {service.active} ({service.sub})")


def _result(service: Service) -> str:
    """``failed (exit-code, status 3)``."""
    status = f", status {service.exit}" if service.exit else ""
    return f"{service.active} ({service.result}{status})"


def _nothing_left(service: Service) -> bool:
    """It does not run, nothing of it is queued, and no process is left."""
    return service.ended and not service.processes()
