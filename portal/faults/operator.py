# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What an operator does once the fault is over: reads the plan's state and takes the next safe action, until the plan is at an end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import View, derive

from ..lab.lab import SITE_HOSTS
from ..plan_view import one_plan
from .ground import PLAN, RESOURCES, Ground

TRIES = 4
HOME, BACK = ("FAILED_BACK", "UNPROTECTED", "ACTIVE"), ("REVERSING", "READY")


def view(ground: Ground) -> View:
    """The plan's state, from the records on the hosts' disks."""
    plan = one_plan(PLAN, ground.inventory)
    reads: dict[str, dict[str, Any]] = {
        host: {"reachable": True, "record": ground.record(site), "replication": []} for site, host in SITE_HOSTS.items()
    }
    return derive(plan, reads)


def next_action(state: str, up: Mapping[str, set[str]], asks: str) -> str:
    """The next command, empty at an end: all services up where the plan is owned, and no run open. ``up``: site name → resources. Pure."""
    if state in HOME:
        return "" if up.get("frankfurt", set()) == set(RESOURCES) else "start"
    if state in BACK:
        return "" if up.get("amsterdam", set()) == set(RESOURCES) else "start"
    return "rollback" if state == "ROLLING_BACK" else asks


def settle(ground: Ground, asks: str, running: Any, var: Path | None = None) -> tuple[list[dict[str, Any]], View]:
    """What was done, each with how it ended, and the state at last. A rollback that is refused for where the plan is becomes a failback.
    ``var``: the controller's folder, where it is another than before."""
    done: list[dict[str, Any]] = []
    while True:
        now = view(ground)
        action = next_action(now.state, running(), asks)
        if not action or len(done) == TRIES:
            return done, now
        answer = ground.xdr("run", action, PLAN, var=var)
        told = {name: answer.get(name) for name in ("exit_code", "error", "achieved")}
        done.append({"from": str(now.state), "action": action, **told})
        if answer["exit_code"] in (10, 12) and action == asks:
            asks = "failback" if asks == "rollback" else "rollback"
