# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Fills a store as years of a large environment would: observations, runs with their events, audit entries, lags.

Everything goes into the store's own tables, in the shapes in which the worker and the portal write it, and follows from the numbers
asked for: a tenth of the events belongs to one failback that is at work on the first plan, the rest is spread over all others' runs.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..store import Store, accounts, audit, bulk, observations, tables
from ..store.accounts import Role
from ..store.runs import SCHEDULE, Run
from .estate import WITNESS, Estate

USER = "bench"
WORKER = "bench-1"  # whose the runs are
LARGE = 0.1  # of all events: those of the run that is at work on the first plan
ACTIVE = 25  # of so many plans one has a run at work
CYCLES = 10  # kept of each plan
HISTORY = ("start", "reprotect", "failover", "reverse-replication", "failback", "reprotect")  # of each plan, the oldest first
DAY, HOUR, MINUTE = 86400.0, 3600.0, 60.0
LOOKS = 7 * 24 * 60  # at the lag of the first plan, one a minute; of the others the last 100
TOLD = 100_000  # events, after which it says how far it is
STEPS = ("preflight", "stop_services", "release", "final_sync", "verify", "hand_over", "start_instances", "health_checks", "switch_traffic")

Rows = Iterator[dict[str, Any]]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """What is asked for; ``events`` of all runs together."""

    plans: int = 500
    resources: int = 20
    events: int = 1_000_000

    @property
    def estate(self) -> Estate:
        return Estate(self.plans, self.resources)

    def to_json(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class Seeded:
    """Where the pages with most to show are: a plan, its incident and active run, which has as many events as ``last`` says."""

    plan: str
    run: str
    incident: str
    last: int


def fill(store: Store, size: Size, password: str, tell: Tell) -> Seeded:
    """Fill an empty store; its user may see every page. The runs of the plans end a day ago, those at work began an hour ago."""
    now = time.time()
    accounts.add(store, USER, Role.dr_admin, password)
    whole = list(_runs(size, now))
    _insert(store, tables.runs, (dict(run.__dict__) for run in whole))
    _insert(store, tables.observations, _observations(size, now))
    _insert(store, tables.lags, _lags(size, now))
    _insert(store, tables.audit, _audit(whole))
    told = [run for run in whole if run.origin != SCHEDULE]
    counts = _shares(size, len(told))
    rows = itertools.chain.from_iterable(_events(size, run, count, now) for run, count in zip(told, counts, strict=True))
    _insert(store, tables.events, rows, size.events, tell)
    bulk.settled(store)
    return Seeded(told[0].plan, told[0].id, _incident(told), counts[0])


def _incident(told: list[Run]) -> str:
    """The failover from which the first plan's active run brings it home."""
    return next(run.id for run in told if run.plan == told[0].plan and run.action == "failover")


def _shares(size: Size, runs: int) -> list[int]:
    """How many events each run has: the first many, the others as many each as is left, all together what was asked for."""
    large = round(size.events * LARGE) if runs > 1 else size.events
    each, more = divmod(size.events - large, max(runs - 1, 1))
    return [large, *(each + (number < more) for number in range(runs - 1))]


def _insert(store: Store, table: Any, rows: Rows, total: int = 0, tell: Tell | None = None) -> None:
    for done in bulk.insert(store, table, rows):
        if tell and (done % TOLD == 0 or done == total):
            tell(f"{done} of {total} events")


# -- runs ----------------------------------------------------------------------------------------------------------


def _runs(size: Size, now: float) -> Iterator[Run]:
    """The first is the large one, at work on the first plan."""
    names = size.estate.names
    for number, plan in enumerate(names):
        if number % ACTIVE == 0:
            yield _run(plan, "failback", now - HOUR, 99, status="running", worker=WORKER, attempts=1)
    for number, plan in enumerate(names):
        begin = now - 30 * DAY - number * MINUTE
        for each, action in enumerate(HISTORY):
            if number % ACTIVE == 0 and action == "failback":
                break  # that one is at work
            yield _ended(size, number, _run(plan, action, begin + each * DAY, each))
        for each in range(CYCLES):
            cycle = _run(plan, "replicate", now - DAY + each * MINUTE, 10 + each, origin=SCHEDULE, exclusive=False)
            yield _ended(size, number, cycle)


def _run(plan: str, action: str, at: float, number: int, **more: Any) -> Run:
    run_id = f"{time.strftime('%Y%m%dT%H%M%S', time.localtime(at))}-{action}-{plan.removeprefix('plan-')}{number:02}"
    return replace(Run(run_id, plan, action, requested_by=USER, requested_at=at, handed_at=at, started_at=at + 1), **more)


def _ended(size: Size, number: int, run: Run) -> Run:
    begin = run.requested_at + 1
    steps = [
        {"name": step, "begin": begin + each, "end": begin + each + 1, "result": "ok", "seconds": 1.0} for each, step in enumerate(STEPS)
    ]
    state = "FAILED_OVER" if run.action == "failover" else "ACTIVE"
    resources = [name for _, names in size.estate.groups(number) for name in names]
    sent = {"module": "xdr_delta_sync", "step": "final_sync", "host": size.estate.host("dr", number), "cycle": 10, "method": "scan"}
    result = {
        **{"exit_code": 0, "code": "", "error": "", "stopped": False, "seconds": 60.0, "changed": 20, "steps": steps, "failures": []},
        **{"results": [{**sent, "volume": name, "bytes_sent": 1 << 20} for name in resources], "instances": [], "view": None},
        **{"state": state, "reason": "", "proof": "", "achieved": None, "killed": False},
        **{"run_id": run.id, "action": run.action, "plan": run.plan},
    }
    over: dict[str, Any] = {"status": "ended", "ended_at": begin + 60, "exit_code": 0, "attempts": 1, "worker": WORKER}
    return replace(run, result=result, launches=[None], **over)


# -- what was seen -------------------------------------------------------------------------------------------------


def _observations(size: Size, now: float) -> Rows:
    for number, plan in enumerate(size.estate.names):
        yield {"subject": observations.of_plan(plan), "at": now - 5, "document": _seen(size, number), "error": ""}
    yield {"subject": observations.SITES, "at": now - 60, "document": _sites(size.estate), "error": ""}


def _seen(size: Size, number: int) -> dict[str, Any]:
    """As portal/status.py makes it."""
    estate, away = size.estate, number % ACTIVE == 0
    owner, state = ("dr", "READY") if away else ("primary", "ACTIVE")
    names = [name for _, names in estate.groups(number) for name in names]
    hosts = {site: estate.host(site, number) for site in ("primary", "dr")}
    return {
        **{"plan": estate.names[number], "state": state, "owner": owner, "epoch": 4, "next_epoch": 5, "attempt": 12, "attempt_epoch": 4},
        **{"since": 1.7e9, "why": "", "replication_lag": 131072 + number, "replication_lag_age": 4.0, "compared": True},
        "standing": {site: "accepted" if site == owner else "superseded" for site in hosts},
        **{"run": None, "offer": None, "unreachable": []},
        "volumes": [_copy(name, host, source=site == owner) for name in names for site, host in hosts.items()],
        "instances": [_instance(name, host, runs=site == owner) for site, host in hosts.items() for name in names],
        **{"error": "", "exit_code": 0},
    }


def _copy(volume: str, host: str, *, source: bool) -> dict[str, Any]:
    points = [{"name": f"cycle-{number}", "bytes": 1 << 20, "opened_at": 1.7e9, "read_started": 1.7e9 + number} for number in range(5)]
    return {
        **{"volume": volume, "host": host, "role": "source" if source else "target", "compare_seconds": 0.5, "size": 128 << 20},
        **{"lag_bytes": 18724 if source else "unknown", "lag_age_s": 4.0 if source else "unknown", "cycle": 10},
        **{"crash_consistent": True, "how": "quiesced", "accelerators_missing": [], "recovery_points": [] if source else points},
    }


def _instance(name: str, host: str, *, runs: bool) -> dict[str, Any]:
    return {"host": host, "name": name, "state": "RUNNING" if runs else "STOPPED", "pid": 4711 if runs else 0, "why": ""}


def _sites(estate: Estate) -> dict[str, Any]:
    hosts = [WITNESS, *(estate.host(site, number) for site in ("primary", "dr") for number in range(estate.hosts))]
    legs = [
        {"from": start, "to": end, "result": "CONNECTED", "ms": 1.5, "tcp_ms": 0.4, "why": ""}
        for start in hosts
        for end in hosts
        if start != end
    ]
    health = [{"host": host, "health": "Healthy", "reasons": []} for host in hosts]
    return {"hosts": health, "connectivity": legs, "exit_code": 0, "error": ""}


def _lags(size: Size, now: float) -> Rows:
    for number, plan in enumerate(size.estate.names):
        for each in range(100 if number else LOOKS):
            yield {"plan": plan, "at": now - each * MINUTE, "bytes": float(each << 12), "age": 5.0 + each % 60}


def _audit(whole: list[Run]) -> Rows:
    """Each seals those before it, as store/audit.py does it."""
    seal = ""
    for run in sorted((run for run in whole if run.origin != SCHEDULE), key=lambda run: run.requested_at):
        told = [("login", "portal", ""), (run.action, f"plan {run.plan}", f"run {run.id}."), ("logout", "portal", "")]
        for action, subject, detail in told:
            entry = audit.Entry(0, run.requested_at, USER, "portal 127.0.0.1", action, subject, "done", detail, "")
            seal = entry.seal(seal)
            yield {key: value for key, value in {**entry.to_json(), "hash": seal}.items() if key != "id"}


# -- events --------------------------------------------------------------------------------------------------------


def _events(size: Size, run: Run, count: int, now: float) -> Rows:
    end = run.ended_at or now
    begin = run.started_at or end
    for seq, event in enumerate(itertools.islice(course(size, run), count), 1):
        body = {key: value for key, value in event.items() if key != "kind"}
        yield {"run_id": run.id, "seq": seq, "at": round(begin + (end - begin) * seq / count, 3), "kind": event["kind"], "body": body}


def course(size: Size, run: Run) -> Iterator[Mapping[str, Any]]:
    """The events of a run without end: of its steps first, then the progress of its volumes, over and over."""
    number = size.estate.names.index(run.plan)
    hosts = [size.estate.host("primary", number), size.estate.host("dr", number), WITNESS]
    yield {"kind": "started", "action": run.action, "plan": run.plan, "playbook": f"{run.action.replace('-', '_')}.yml", "check": False}
    yield {"kind": "play", "play": "Bring a plan home to the primary site"}
    for step in STEPS[:3]:
        for each in range(3):
            yield from _task(f"{step} | Do part {each} of it", step, hosts, run)
    names = [name for _, names in size.estate.groups(number) for name in names]
    for name in names:
        yield {"kind": "progress", "what": "resource", "host": hosts[1], "resource": name, "state": "Stopping"}
    yield {"kind": "task", "task": "final_sync | Send what is left", "step": "final_sync"}
    for mib in itertools.count(1):
        for name in names:
            yield {
                "kind": "progress",
                "what": "bytes",
                "host": hosts[1],
                "volume": name,
                "done": mib << 20,
                "total": 1 << 40,
                "rate": 24 << 20,
            }
        yield from _task("final_sync | Look at the rest", "final_sync", hosts, run)


def _task(task: str, step: str, hosts: list[str], run: Run) -> Iterator[Mapping[str, Any]]:
    begin = run.started_at or 0.0
    yield {"kind": "task", "task": task, "step": step}
    for host in hosts:
        told = {"kind": "result", "host": host, "task": task, "step": step, "module": "xdr.failback.xdr_plan", "status": "ok"}
        yield {**told, "begin": begin, "end": begin + 1, "seconds": 1.0, "msg": "as it should be"}
