# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The state of plans, as their hosts tell it now."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import split_view, units
from .actions import execute, request
from .run_view import asks

if TYPE_CHECKING:
    from rich.console import RenderableType

    from .results import RunResult

INSTALL = "the role site_accelerators installs that (playbooks/site_accelerators.yml)"
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
    scheduled = " [bold green]SCHEDULED[/]" if (one.get("window") or {}).get("scheduled") else ""
    facts.add_row(f"[bold]{one['plan']}[/]", f"[bold {colour}]{one['state']}[/]{scheduled} {escape(one.get('why', ''))}".rstrip())
    for name, value in _facts(one, names):
        facts.add_row(f"  {name}", escape(value))
    if not one["volumes"]:
        return facts
    return Group(facts, _volumes(one["volumes"]))


def _facts(one: dict[str, Any], names: dict[str, str]) -> Iterable[tuple[str, str]]:
    if one["error"]:
        yield "error", one["error"]
    if one.get("window"):
        yield "window", window(one["window"])
    if "owner" not in one:
        return
    owner = one["owner"]
    yield "owner", (f"{owner} ({names[owner]})" if owner in names else owner or "nobody") + f", epoch {one['epoch']}"
    yield "since", units.since(one.get("since"))
    if one.get("split"):
        yield from split_view.facts(one["split"], names or {role: role for role in split_view.SIDES})
        yield "resolve", f"xdr run resolve {one['plan']} --keep primary|dr --reason TEXT --confirm {one['plan']}"
    for host, points in split_view.kept(one["volumes"]).items():
        yield "kept", f"what was given up on {host} in a split brain: recovery point {', '.join(points)}, until somebody drops it"
    if one.get("mute"):
        yield "witness", f"mute: {one['mute']}. Any run that reads both sites lets it speak, or: xdr run vouch {one['plan']}"
    yield "replication_lag", f"{units.size(one['replication_lag'])}, last consistent point {_age(one['replication_lag_age'])}"
    if proof(one):
        yield "full compare", proof(one)
    if one.get("question"):
        yield from asks(one["question"])
    yield from (("lease", f"{host}: {text}") for host, text in leases(one))
    run = one.get("run")
    if run:
        yield "run", f"{run['id']} ({run['action']}) has begun and not ended: {', '.join(run['phases']) or 'no phase yet'}"
    for host in dict.fromkeys(instance["host"] for instance in one["instances"]):
        yield f"instances on {host}", _instances([instance for instance in one["instances"] if instance["host"] == host])
    if one["unreachable"]:
        yield "unreachable", ", ".join(one["unreachable"])
    for host, missing in lacking(one["volumes"]).items():
        yield "slower", f"{host} lacks {' and '.join(missing)}: {INSTALL}"


def window(summary: Mapping[str, Any]) -> str:
    """The maintenance windows in a sentence, of what portal/calendar.py tells of them."""
    opened, coming, scheduled = (summary[name] for name in ("open", "next", "scheduled"))
    first = f"{opened['key']} is open: {opened['told']}; " if opened else ""
    then = ", and begins the failback" if scheduled else ""
    return first + (f"the next is {coming['key']}: {coming['told']}{then}" if coming else "none is coming")


def leases(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of a plan with ownership leases, each host that has been granted one and until when, or how it is that there is none."""
    if "leases" not in document:
        return []
    rows = [(str(row["host"]), f"epoch {row['epoch']}, {_until(float(row['until']))}") for row in document["leases"]]
    return rows or [("none", "the witness has not granted one yet, or does not answer")]


def _until(at: float) -> str:
    return f"until {units.since(at)} unless it is renewed" if at > time.time() else f"has run out, {units.since(at)}"


def lacking(volumes: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Host → the accelerators that it lacks, of hosts that lack some."""
    return {str(row["host"]): list(row["accelerators_missing"]) for row in volumes if row.get("accelerators_missing")}


def proof(document: Mapping[str, Any]) -> str:
    """What a failback from here compares in its downtime, and the seconds it will cost; empty where none is next."""
    if document.get("state") not in ("REVERSING", "READY"):
        return ""
    if document.get("compared"):
        return "done in this direction: the downtime reads back what was sent since"
    takes = [row.get("compare_seconds") for row in document.get("volumes") or [] if row.get("role") == "source"]
    known = [each for each in takes if isinstance(each, (int, float))]
    is_known = len(known) == len(takes) and sum(known) > 0  # a look from before the reversal tells of the other direction's compare
    about = f"about {units.seconds(sum(known))}" if is_known else "nobody knows yet how long"
    return f"not yet done in this direction: both ends are read whole in the downtime, {about}"


def points(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The recovery points of a volume on a host, the oldest first, each with its point in time (Unix seconds or None)."""
    found = row.get("recovery_points") or []
    return [(str(point["name"]), point.get("read_started") or point.get("opened_at")) for point in found]


def torn(row: Mapping[str, Any]) -> str:
    """Why the newest cycle of a volume is no point in time; empty where it is one, or where there was none."""
    return str(row.get("how") or "not known") if row.get("crash_consistent") is False else ""


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
    for title in ("  volume", "host", "role", "size", "lag", "age", "cycle", "crash consistent", "recovery points"):
        table.add_column(title)
    for one in volumes:
        table.add_row(
            f"  {one['volume']}",
            one["host"],
            str(one.get("role") or ""),
            units.size(one.get("size")),
            units.size(one.get("lag_bytes")) if one.get("role") == "source" else "",
            units.seconds(one.get("lag_age_s")) if one.get("role") == "source" else "",
            str(one.get("cycle") or ""),
            (f"no: {torn(one)}" if torn(one) else "yes") if one.get("cycle") else "",
            "\n".join(f"{name} ({units.since(at)})" for name, at in points(one)),
        )
    return table
