# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The facts of a diagnosis: what its run told of the hosts, and what the store knows.

``{"subject", "at",
"hosts": {host: {"reached", "why", "roles": {plan: primary|dr|witness}, "checks", "facts" (MU/inspection.py, or None), "agent_version",
    "clock": {"ahead_s", "error_s"} | None}},
"links": [a way, as of xdr_connectivity, with "usual_bytes_per_s"],
"plans": {name: {"name", "hash", "state", "source": primary|dr|None, "rpo", "interval", "bandwidth_limit", "lag": {"bytes", "age"},
    "before": [[at, bytes, age]], "cycle": {"active", "active_since", "usual_s", "last_ok", "failed": [{"at", "error"}]}, "view",
    "active", "instances", "error", "seen_at", "seen_error"}},
"controller": {"agent", "workers", "certificates", "run_failed", "store": {"where", "looked", "wrong"}}}``. Times are Unix seconds.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.agent_archive import version_here

from .. import plan_view, sightings, status, units
from ..results import RunResult
from ..store import Store, checks, lags, links, observations, runs, workers
from ..store.runs import Run
from .certificates import on_controller
from .engine import diagnose
from .finding import UNKNOWN, Finding

if TYPE_CHECKING:
    from ansible_collections.xdr.failback.plugins.plugin_utils.environment import Environment

DIAGNOSE = "diagnose"  # the action
LOOKED_BACK = 1800.0  # seconds of the lag's history
CYCLES = 20
log = logging.getLogger("xdr.worker")


def diagnosed(store: Store, inventory: Path, run: Run, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The findings of a diagnosis whose playbook has ended (``document``: its result), as JSON."""
    try:
        environment = plan_view.environment(inventory)
    except XdrError as error:
        return [
            Finding("environment", UNKNOWN, "The environment cannot be read", "Mend it: xdr plan validate", (error.sentence(),)).to_json()
        ]
    return [finding.to_json() for finding in diagnose(gathered(store, environment, inventory, run, document))]


def gathered(store: Store, environment: Environment, inventory: Path, run: Run, document: Mapping[str, Any]) -> dict[str, Any]:
    told = sightings.told(store, run)
    site = str(run.arguments.get("site", ""))
    plans = {name: plan for name, plan in environment.plans.items() if _concerns(plan, run, site)}
    wanted = _hosts(environment, plans, site)
    known = {(one.host, one.check): one for one in checks.newest(store, wanted)}
    return {
        "subject": site or run.plan,
        "at": time.time(),
        "hosts": {host: _host(host, told, plans, known) for host in wanted},
        "links": [
            _link(store, item)
            for item in told.results
            if item["module"] == "xdr_connectivity" and _touches(item, wanted, site, environment)
        ],
        "plans": {name: _plan(store, plan, told if run.plan == name else None) for name, plan in plans.items()},
        "controller": {
            "agent": version_here(),
            "workers": [f"{worker.id} on {worker.host}" for worker in workers.alive(store) if worker.serves],
            "certificates": on_controller(store, inventory),
            "run_failed": str(document.get("error") or ""),
            "store": {"where": store.where, "looked": not store.shared, "wrong": store.damage()},
        },
    }


def _concerns(plan: Mapping[str, Any], run: Run, site: str) -> bool:
    return site in {one["name"] for one in plan["sites"].values()} if site else plan["name"] == run.plan


def _hosts(environment: Environment, plans: Mapping[str, Mapping[str, Any]], site: str) -> list[str]:
    """Those that the diagnosis is about: of a site its own and the witness, of a plan all of its."""
    if site:
        return [*environment.sites.get(site, []), environment.witness]
    found = [host for plan in plans.values() for one in plan["sites"].values() for host in one["hosts"]]
    return list(dict.fromkeys([*found, *(plan["witness"] for plan in plans.values())]))


def _touches(item: Mapping[str, Any], wanted: Iterable[str], site: str, environment: Environment) -> bool:
    own = environment.sites.get(site, []) if site else [*wanted]
    return item["from"] in own or item["to"] in own


def _host(
    host: str, told: RunResult, plans: Mapping[str, Mapping[str, Any]], known: Mapping[tuple[str, str], checks.Kept]
) -> dict[str, Any]:
    answer = next((one for one in told.answers if one["host"] == host and one["module"].endswith(".xdr_site") and one.get("health")), None)
    why = next((failure.sentence for failure in told.failures if failure.host == host and failure.unreachable), "")
    roles = {name: role for name, plan in plans.items() if (role := _role(plan, host))}
    if answer is None:
        return {"reached": False, "why": why, "roles": roles, "checks": [], "facts": None, "agent_version": "", "clock": None}
    found = [{**check, "since": _since(known.get((host, check["check"])), check)} for check in answer.get("checks", [])]
    facts = answer.get("facts")
    own = {"roles": roles, "checks": found, "facts": facts, "agent_version": str(answer.get("agent_version") or "")}
    return {"reached": True, "why": "", **own, "clock": _clock(answer, facts)}


def _role(plan: Mapping[str, Any], host: str) -> str:
    role = next((role for role, one in plan["sites"].items() if host in one["hosts"]), "")
    return role or ("witness" if host == plan["witness"] else "")


def _since(kept: checks.Kept | None, check: Mapping[str, Any]) -> float | None:
    return kept.since if kept and kept.result == check["result"] else None


def _clock(answer: Mapping[str, Any], facts: Mapping[str, Any] | None) -> dict[str, float] | None:
    """Against this machine's: the host looked at its clock at some time between the task's begin and end."""
    if not facts or not answer.get("begin") or not answer.get("end"):
        return None
    middle = (answer["begin"] + answer["end"]) / 2
    return {"ahead_s": float(facts["time"]) - middle, "error_s": (answer["end"] - answer["begin"]) / 2}


def _link(store: Store, item: Mapping[str, Any]) -> dict[str, Any]:
    return {**item, "usual_bytes_per_s": links.usual(store, item["from"], item["to"])}


def _plan(store: Store, plan: Mapping[str, Any], told: RunResult | None) -> dict[str, Any]:
    """``told``: of a run that has read it just now; else what was last seen counts."""
    name = plan["name"]
    seen = observations.get(store, observations.of_plan(name))
    document = status.document(name, told) if told and told.view else (seen.document if seen and not told else None) or {}
    view = {**document, "run": _open(store, document.get("run"))} if "owner" in document else None
    active, now = runs.active(store, name), time.time()
    before = lags.over(store, name, now - LOOKED_BACK, now)
    return {
        "name": name,
        "hash": plan["hash"],
        "state": document.get("state", units.UNKNOWN),
        "source": next((str(_role(plan, row["host"])) for row in document.get("volumes") or [] if row.get("role") == "source"), None),
        "rpo": float(plan["targets"]["rpo"]),
        "interval": float(plan["replication"]["interval"]),
        "bandwidth_limit": plan["replication"]["bandwidth_limit"],
        "lag": {"bytes": document.get("replication_lag", units.UNKNOWN), "age": document.get("replication_lag_age", units.UNKNOWN)},
        "before": [[point.at, point.bytes, point.age] for point in before],
        "cycle": _cycle(store, name),
        "view": view,
        "active": active.id if active else "",
        "instances": [{**one, "role": _role(plan, one["host"])} for one in document.get("instances") or []],
        "error": str(document.get("error") or (told.error if told else "")),
        "seen_at": seen.at if seen and seen.document else None,
        "seen_error": seen.error if seen else "",
    }


def _open(store: Store, run: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """What a record tells of a run, unless it is a cycle, or this controller knows that it has ended well since the record was read."""
    if run is None or run["action"] == "replicate":
        return None
    names = (str(run["id"]), str(run["id"]).rpartition("-")[0])  # the latter of a launch after the first
    known = next((one for one in runs.latest(store, limit=CYCLES) if one.id in names), None)
    return None if known and known.ended and known.exit_code == 0 else run


def _cycle(store: Store, name: str) -> dict[str, Any]:
    found = [run for run in runs.latest(store, plan=name, limit=CYCLES, cycles=True) if run.action == "replicate" and not run.check]
    running = next((run for run in found if not run.ended and run.started_at), None)
    ended = [run for run in found if run.ended and run.started_at and run.ended_at and not run.message]
    good = [run for run in ended if run.exit_code == 0]
    failed = ended[: ended.index(good[0])] if good else ended
    took = [run.ended_at - run.started_at for run in good if run.ended_at and run.started_at]
    return {
        "active": running.id if running else "",
        "active_since": running.started_at if running else None,
        "usual_s": statistics.median(took) if took else None,
        "last_ok": good[0].ended_at if good else None,
        "failed": [{"at": run.ended_at, "error": run.error} for run in failed],
    }
