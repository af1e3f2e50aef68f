# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A small portal for a test: a store with users, what was seen of the lab's plan, and the events that a failback of it tells."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import argon2
import pytest
from ansible_collections.xdr.failback.plugins.plugin_utils.foreseen import foresee
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import View
from starlette.applications import Starlette
from starlette.testclient import TestClient

from portal import PROJECT, pauses
from portal.actions import asked
from portal.plan_view import one_plan
from portal.preview import built
from portal.store import Store, accounts, events, observations, runs, tables, workers
from portal.store.accounts import Role
from portal.store.runs import Run
from portal.store.workers import Worker
from portal.web.app import create_app
from tests.support.stores import opened

INVENTORY = PROJECT / "inventories" / "lab"
PLAN = "webshop"
PASSWORD = "correct horse battery"  # noqa: S105 - a test's
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
NAMES = {Role.viewer: "vera", Role.operator: "otto", Role.dr_admin: "dora"}
HOSTS = ("fra-hv1", "ams-hv1", "edge1")
VOLUMES = ("orders", "customers", "shop-api", "cart", "pricing", "shop-web-1", "shop-web-2")
STEPS = ("preflight", "stop_services", "release", "final_sync", "verify", "hand_over", "start_instances", "health_checks", "switch_traffic")
GROUPS = (("orders-db", "customers-db"), ("shop-api", "cart", "pricing"), ("shop-web-1", "shop-web-2"))
OPEN, DONE = {"intent": 1.0, "done": None}, {"intent": 1.0, "done": 2.0}  # marks of a phase
UNWELL = {
    **{f"start_instances/{group}": DONE for group in ("database", "application")},
    "health_checks/database": DONE,
    "health_checks/application": OPEN,
}
Event = dict[str, Any]
QUESTION = "Are the <invoices> printed?"  # of the pause


class Portal:
    def __init__(
        self, folder: Path, inventory: Path = INVENTORY, *, every: float = 0.01, users: bool = True, store: Store | None = None
    ) -> None:
        self.store = store or opened(folder)
        self.inventory = inventory
        self.app: Starlette = create_app(self.store, inventory, every=every)
        for role, name in NAMES.items() if users else ():
            accounts.add(self.store, name, role, PASSWORD)

    def client(self, role: Role | None = Role.operator) -> TestClient:
        """A browser, logged in unless there is no role."""
        client = TestClient(self.app, follow_redirects=False)
        if role is not None:
            client.cookies.set("xdr_session", self.session(role))
        return client

    def session(self, role: Role) -> str:
        token = accounts.login(self.store, NAMES[role], PASSWORD)
        assert token
        return token

    def worker(self) -> None:
        """One that lives for as long as the test."""
        workers.enter(self.store, Worker("here-1", "here", os.getpid(), "0"))
        with self.store.writing() as connection:
            connection.execute(tables.workers.update().values(seen_at=time.time() + 3600))

    def see(self, **changes: Any) -> None:
        observations.put(self.store, observations.of_plan(PLAN), {**seen(), **changes})

    def request(self, action: str, **options: Any) -> Run:
        return runs.request(self.store, asked(action, PLAN, by="otto", origin="portal", **options))

    def tell(self, run: Run, told: list[Event] | Iterator[Event]) -> int:
        return events.append(self.store, run.id, told)

    def finish(self, run: Run, **result: Any) -> None:
        runs.finish(self.store, run.id, {"exit_code": 0, "code": "", "error": "", **result})

    def halts(self, phases: Mapping[str, Any] | None = None) -> Run:
        """A failback that is held after the hand-over, with these marks in the records, and the sites read since."""
        run = self.request("failback")
        for batch in failback("health_checks"):
            self.tell(run, timed(batch))
        self.finish(run, exit_code=2, error="fra-hv1: cart did not pass (Connection refused)", state="HALTED")
        pinned = {"id": run.id, "action": "failback", "plan_hash": plan()["hash"], "attempt": 7, "started": 1.0, "ended": None}
        self.see(**seen("HALTED", "primary", epoch=5, run={**pinned, "phases": phases or UNWELL}))
        return run

    def previews(self, action: str = "failback", changes: Mapping[str, Any] | None = None, **seen_as: Any) -> Run:
        """A check run of the action that came to its preview. ``changes``: of the compiled plan that it was made with; ``seen_as``: of the
        plan as it was read."""
        run = self.request(action, check=True)
        told = check_result(run, {**plan(), **(changes or {})}, seen(**seen_as))
        self.finish(run, **{**told, "preview": built(run, told, runs.latest(self.store, plan=PLAN))})
        return runs.get(self.store, run.id)

    def form(self, client: TestClient, **fields: str) -> dict[str, str]:
        """The fields of a form with its token."""
        session = accounts.session(self.store, client.cookies["xdr_session"])
        assert session
        return {"csrf": session.csrf, **fields}


def filled(store: Store) -> None:
    """With its users, whose passwords cost a test no time, and what was seen of the plan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "_HASHER", CHEAP)
        Portal(Path(), store=store).see()


def token(page: str) -> str:
    """The CSRF token of a page."""
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found
    return found[1]


def plan() -> Mapping[str, Any]:
    return one_plan(PLAN, INVENTORY)


def seen(
    state: str = "READY", owner: str | None = "dr", *, epoch: int = 4, lag: int | str = 131072, age: float | str = 4.0, **rest: Any
) -> dict[str, Any]:
    """An observation of the plan, as portal/status.py makes it."""
    return {
        "plan": PLAN,
        "state": state,
        "owner": owner,
        "epoch": epoch,
        "next_epoch": epoch + 1,
        "attempt": 12,
        "attempt_epoch": epoch,
        "since": time.time() - 600,
        "why": "",
        "replication_lag": lag,
        "replication_lag_age": age,
        "compared": True,
        "standing": {site: "accepted" if site == owner else "superseded" for site in ("primary", "dr")},
        "run": None,
        "offer": None,
        "unreachable": [],
        "volumes": [copy for volume in VOLUMES for copy in _copies(volume, owner)],
        "instances": [
            {"host": host, "name": name, "state": "RUNNING" if site == owner else "STOPPED", "pid": 0, "why": ""}
            for site, host in (("primary", "fra-hv1"), ("dr", "ams-hv1"))
            for group in GROUPS
            for name in group
        ],
        "error": "",
        "exit_code": 0,
        **rest,
    }


def _copies(volume: str, owner: str | None) -> Iterator[dict[str, Any]]:
    for site, host in (("primary", "fra-hv1"), ("dr", "ams-hv1")):
        source = site == owner
        yield {
            "volume": volume,
            "host": host,
            "role": "source" if source else "target",
            "compare_seconds": 0.5,
            "size": 128 << 20,
            "lag_bytes": 18724 if source else "unknown",
            "lag_age_s": 4.0 if source else "unknown",
            "cycle": 10,
            "crash_consistent": True,
            "how": "quiesced",
            "accelerators_missing": [],
            "recovery_points": [] if source else [{"name": "before-reverse", "bytes": 1048810, "opened_at": 1.9e9, "read_started": None}],
        }


def check_result(run: Run, of: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """How a check run of a move from DR ends, with what its gate foresaw and its modules foretold: a KiB of the first volume, two of the
    next…"""
    reads = {host: {"replication": [row for row in document["volumes"] if row["host"] == host], "why": ""} for host in HOSTS}
    foreseen = foresee(run.action.replace("-", "_"), of, View.from_json(document), reads, {}, "retake")
    sync = {"host": "ams-hv1", "step": "preflight", "module": "xdr_delta_sync", "bytes_total": 128 << 20, "session_seconds": 1.0}
    foretold = [
        {**sync, "volume": name, "predicted_bytes": number << 10, "predicted_seconds": 0.5} for number, name in enumerate(VOLUMES, 1)
    ]
    stopped = {"host": "ams-hv1", "step": "stop_services", "module": "xdr_instances"}
    stops = [{**stopped, "name": name, "changed": name != "cart"} for group in GROUPS for name in group]
    return {"exit_code": 0, "code": "", "error": "", "reason": "", "preview": foreseen.to_json(), "results": [*foretold, *stops]}


# -- the events of a failback ----------------------------------------------------------------------------------


def failback(fail_in: str = "") -> Iterator[list[Event]]:
    """Batch after batch, as the worker would store them; the run ends in the step that is to fail."""
    yield [{"kind": "started", "action": "failback", "plan": PLAN, "playbook": "failback.yml", "check": False}]
    yield [{"kind": "play", "play": "Bring a plan home to the primary site"}, *task("Read what each host knows of the plan", None)]
    for step in STEPS:
        yield from _step(step)
        if step == fail_in:
            yield [result("fra-hv1", step, "Check the group", status="failed", msg="cart: http did not pass (Connection refused)")]
            yield [ended(2, "fra-hv1: cart: http did not pass (Connection refused)")]
            return
    yield [{"kind": "recap", "ok": dict.fromkeys(HOSTS, 19), "changed": {}, "failures": {}, "dark": {}, "rescued": {}}, ended()]


def _step(step: str) -> Iterator[list[Event]]:
    if step == "final_sync":
        yield [started(step)]
        for done in (0, 16, 40, 64):
            yield [bytes_of(volume, done << 20, 64 << 20) for volume in VOLUMES]
        yield [result("ams-hv1", step, "Send the rest", status="changed", bytes_sent=7 << 26, seconds=2.4)]
    elif step in ("start_instances", "health_checks"):
        state = "Recovering" if step == "start_instances" else "Validated"
        for group in GROUPS:
            yield [
                started(step),
                *(resource(name, state) for name in group),
                result("fra-hv1", step, f"{step} of a group", status="changed"),
            ]
    else:
        yield list(task(f"{step} | Do what the step does", step))
    if step == "stop_services":
        yield [resource(name, "Stopping", "ams-hv1") for group in reversed(GROUPS) for name in group]
    if step == "preflight":
        record = {"status": "FAILING_BACK", "owner": "dr", "epoch": 4, "standing": "accepted"}
        yield [result("ams-hv1", step, "Mark the plan as moving", status="changed", record=record, module="xdr.failback.xdr_ownership")]
    if step in ("hand_over", "switch_traffic"):
        record = {
            "status": "FAILING_BACK" if step == "hand_over" else "FAILED_BACK",
            "owner": "primary",
            "epoch": 5,
            "standing": "accepted",
        }
        yield [result("fra-hv1", step, "Record it", status="changed", record=record, module="xdr.failback.xdr_ownership")]


def started(step: str) -> Event:
    return {"kind": "task", "task": f"{step} | Begin", "step": step}


def task(name: str, step: str | None) -> Iterator[Event]:
    yield {"kind": "task", "task": name, "step": step}
    for host in HOSTS:
        yield result(host, step, name, status="ok" if host == "fra-hv1" else "skipped")


def result(host: str, step: str | None, name: str, *, status: str = "ok", module: str = "xdr.failback.xdr_site", **rest: Any) -> Event:
    now = time.time()
    shown = name if step is None or " | " in name else f"{step} | {name}"
    timing = {"begin": now - 0.3, "end": now, "seconds": 0.3}
    return {"kind": "result", "host": host, "task": shown, "step": step, "module": module, "status": status, **timing, **rest}


def bytes_of(volume: str, done: int, total: int) -> Event:
    return {"kind": "progress", "what": "bytes", "host": "ams-hv1", "volume": volume, "done": done, "total": total, "rate": 24 << 20}


def resource(name: str, state: str, host: str = "fra-hv1") -> Event:
    return {"kind": "progress", "what": "resource", "host": host, "resource": name, "state": state}


def ended(code: int = 0, error: str = "") -> Event:
    return {"kind": "ended", "exit_code": code, "error": error}


def timed(batch: list[Event]) -> list[Event]:
    return [{"at": time.time(), **event} for event in batch]


def pause(state: str, until: float = 0.0, **rest: Any) -> Event:
    """What a playbook tells of the hook that asks a person."""
    one = {"name": "ask", "kind": "pause", "moment": "pre_failback", "group": "", "question": QUESTION}
    told = {**one, "state": state, "told": "", "ok": True, "until": until, **rest}
    return timed([result("ams-hv1", "hook", "Fire ask", status="changed", module=pauses.MODULE, results=[told])])[0]
