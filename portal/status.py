# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The state of plans, as their hosts tell it now."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import units
from .actions import execute, request

if TYPE_CHECKING:
    from rich.console import RenderableType

    from .results import RunResult

_COLOURS = {"ACTIVE": "green", "READY": "green", "SPLIT_BRAIN": "red", "NO_OWNER": "red", "HALTED": "red", "UNPROTECTED": "yellow"}


def read(plan: str, inventory: Path) -> dict[str, Any]:
    """The plan's state by the playbook status.yml: the view (PU/state_machine.py), ``volumes``, ``instances``, and the run that read it."""
    return document(plan, execute(request("status", plan, inventory)))


def document(plan: str, result: RunResult) -> dict[str, Any]:
    volumes = [item for item in result.results if item["module"] == "xdr_plan"]
    return {
        "plan": plan,
        **(result.view or {"state": units.UNKNOWN}),
        "volumes": [{key: value for key, value in volume.items() if key not in ("module", "step")} for volume in volumes],
        "instances": result.instances,
        "error": result.error,
        "exit_code": result.exit_code,
    }


def exit_code(documents: Iterable[dict[str, Any]]) -> int:
    """The first code that is not 0."""
    return next((one["exit_code"] for one in documents if one["exit_code"]), 0)


def render(documents: list[dict[str, Any]], site_names: dict[str, dict[str, str]] | None = None) -> RenderableType:
    from rich.console import Group

    return Group(*(_one(one, (site_names or {}).get(one["plan"], {})) for one in documents))


def _one(one: dict[str, Any], names: dict[str, str]) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    facts = Table.grid(padding=(0, 2))
    colour = _COLOURS.get(one["state"], "cyan")
    facts.add_row(f"[bold]{one['plan']}[/]", f"[bold {colour}]{one['state']}[/] {escape(one.get('why', ''))}".rstrip())
    for name, value in _facts(one, names):
        facts.add_row(f"  {name}", escape(value))
    if not one["volumes"]:
        return facts
    return Group(facts, _volumes(one["volumes"]))


def _facts(one: dict[str, Any], names: dict[str, str]) -> Iterable[tuple[str, str]]:
    if one["error"]:
        yield "error", one["error"]
    if "owner" not in one:
        return
    owner = one["owner"]
    yield "owner", (f"{owner} ({names[owner]})" if owner in names else owner or "nobody") + f", epoch {one['epoch']}"
    yield "since", units.since(one.get("since"))
    yield "replication_lag", f"{units.size(one['replication_lag'])}, last consistent point {_age(one['replication_lag_age'])}"
    run = one.get("run")
    if run:
        yield "run", f"{run['id']} ({run['action']}) has begun and not ended: {', '.join(run['phases']) or 'no phase yet'}"
    for host in dict.fromkeys(instance["host"] for instance in one["instances"]):
        yield f"instances on {host}", _instances([instance for instance in one["instances"] if instance["host"] == host])
    if one["unreachable"]:
        yield "unreachable", ", ".join(one["unreachable"])


def _instances(found: list[dict[str, Any]]) -> str:
    """``RUNNING: orders-db, cart; FATAL: shop-api (no licence)``."""
    states = dict.fromkeys(one["state"] for one in found)
    return "; ".join(f"{state}: {', '.join(_instance(one) for one in found if one['state'] == state)}" for state in states)


def _instance(one: dict[str, Any]) -> str:
    return f"{one['name']} ({one['why']})" if one["why"] else str(one["name"])


def _age(value: Any) -> str:
    return f"{units.seconds(value)} old" if isinstance(value, (int, float)) else units.UNKNOWN


def _volumes(volumes: list[dict[str, Any]]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("  volume", "host", "role", "size", "lag", "age", "cycle", "recovery points"):
        table.add_column(title)
    for one in volumes:
        points = [point if isinstance(point, str) else str(point.get("name", point)) for point in one.get("recovery_points") or []]
        table.add_row(
            f"  {one['volume']}",
            one["host"],
            str(one.get("role") or ""),
            units.size(one.get("size")),
            units.size(one.get("lag_bytes")) if one.get("role") == "source" else "",
            units.seconds(one.get("lag_age_s")) if one.get("role") == "source" else "",
            str(one.get("cycle") or ""),
            ", ".join(points),
        )
    return table
