# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What is in a bundle: what the controller knows of its plans, and how it came to that. No volume's content, no user, no audit trail."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.agent_archive import version_here

from .. import hosts, plan_view, secrets, sites, var_folder
from ..diagnosis.gather import DIAGNOSE
from ..store import Store, checks, events, lags, observations, runs, tables, workers
from .redaction import Redaction

RUNS = 15  # the newest of each plan, and as many cycles
EVENTS = 3000  # the newest of each run
TAIL = 512 << 10  # bytes of each log
WEEK = 7 * 86400.0
_PACKAGES = ("ansible-core", "ansible-runner", "dbos", "paramiko", "pydantic", "ruamel.yaml", "sqlalchemy", "starlette", "uvicorn")
README = """\
A support bundle of XDR. Secrets are taken out: ******** stands in their place. Look through it before you send it.

versions.json      of the program, what it is built on, and the machine
inventory.json     how the hosts are reached; sites.json: which site has which
plans/             each plan as it was compiled
seen/              what was last seen of each plan and of the sites, and when; lag.json: the lag of the last week
checks.json        what was found of each host, and since when
findings.json      of the newest diagnosis
runs/              the newest runs with their events; cycles.json: the newest replication cycles
logs/              the ends of the logs in the var folder; where worker and portal are services of systemd, add theirs: journalctl -u UNIT
errors.txt         what could not be put in
MANIFEST           the SHA-256 of each file: sha256sum -c MANIFEST
"""


def redaction(inventory: Path, plans: dict[str, Any]) -> Redaction:
    return Redaction(dict(os.environ), secrets.of_inventory(inventory), secrets.of_plans(inventory), plans)


def members(store: Store, inventory: Path, plan: str, now: float) -> Iterator[tuple[str, str]]:
    """Name and text of each file, redacted. ``plan``: only this one's, else all. What cannot be had is told in errors.txt."""
    failed: list[str] = []

    def attempt(name: str, made: Callable[[], Any]) -> Any:
        try:
            return made()
        except (XdrError, OSError, subprocess.SubprocessError) as error:
            failed.append(f"{name}: {error.sentence() if isinstance(error, XdrError) else error}")
            return None

    found = attempt("plans", lambda: plan_view.environment(inventory))
    plans = {name: one for name, one in (found.plans if found else {}).items() if plan in ("", name)}
    clean = redaction(inventory, plans)
    yield "README.txt", README
    yield "versions.json", clean.json(_versions(store))
    reached = attempt("inventory", lambda: hosts.load_hosts(inventory, var=var_folder(inventory)))
    yield "inventory.json", clean.json({name: asdict(host) for name, host in (reached or {}).items()})
    yield "sites.json", clean.json(sites.listed(found) if found else {})
    for name, one in plans.items():
        yield f"plans/{name}.json", clean.json(one)
    for name, value in _known(store, list(plans), list(reached or {}), now):
        yield name, clean.json(value)
    yield from _runs(store, list(plans), clean)
    for path in sorted(var_folder(inventory).glob("*.log")):
        yield f"logs/{path.name}", clean.text(attempt(path.name, lambda path=path: _tail(path)) or "")  # type: ignore[misc]
    yield "errors.txt", clean.text("".join(f"{line}\n" for line in failed))


def _versions(store: Store) -> dict[str, Any]:
    return {
        "agent": version_here(),
        "python": sys.version,
        "platform": platform.platform(),
        "packages": {name: _package(name) for name in _PACKAGES},
        "ssh": _ssh(),
        "store": {"dialect": store.engine.dialect.name, "version": tables.VERSION},
    }


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _ssh() -> str:
    try:
        return subprocess.run(["ssh", "-V"], capture_output=True, text=True, timeout=10, check=False).stderr.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)


def _known(store: Store, plans: list[str], reached: list[str], now: float) -> Iterator[tuple[str, Any]]:
    subjects = {"sites": observations.SITES, **{name: observations.of_plan(name) for name in plans}}
    for name, subject in subjects.items():
        seen = observations.get(store, subject)
        yield f"seen/{name}.json", asdict(seen) if seen else None
    yield "seen/lag.json", {name: [asdict(point) for point in lags.over(store, name, now - WEEK, now)] for name in plans}
    yield "checks.json", [asdict(one) for one in checks.history(store, reached)]
    yield "workers.json", [asdict(worker) for worker in workers.known(store)]


def _runs(store: Store, plans: list[str], clean: Redaction) -> Iterator[tuple[str, str]]:
    found = [run for name in (*plans, "all-plans") for run in runs.latest(store, plan=name, limit=RUNS)]
    for run in found:
        yield f"runs/{run.id}/run.json", clean.json(asdict(run))
        first = max(0, events.last(store, run.id) - EVENTS)
        yield f"runs/{run.id}/events.jsonl", clean.lines(events.after(store, run.id, first, EVENTS))
    cycles = [run for name in plans for run in runs.latest(store, plan=name, limit=RUNS, cycles=True) if run.cycle]
    yield "runs/cycles.json", clean.json([asdict(run) for run in cycles])
    diagnosis = next((run for run in sorted(found, key=lambda run: -run.requested_at) if run.action == DIAGNOSE and run.ended), None)
    yield "findings.json", clean.json((diagnosis.result or {}).get("findings") if diagnosis else None)


def _tail(path: Path) -> str:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - TAIL))
        return stream.read().decode("utf-8", "replace")
