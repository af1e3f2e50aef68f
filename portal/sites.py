# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The sites of an environment: what the inventory says of them, and what a test of them finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .actions import execute, request

if TYPE_CHECKING:
    from ansible_collections.xdr.failback.plugins.plugin_utils.environment import Environment
    from rich.console import RenderableType

    from .results import RunResult

_COLOURS = {"Healthy": "green", "Degraded": "yellow", "Failed": "red", "Unreachable": "red"}
_WORST = ("Healthy", "Degraded", "Unreachable", "Failed")


def listed(environment: Environment) -> dict[str, Any]:
    """``{"sites": [{"site", "hosts", "plans": [{"plan", "role", "record_host"}]}], "witness", "warnings": […]}``."""
    sites: dict[str, dict[str, Any]] = {name: {"site": name, "hosts": hosts, "plans": []} for name, hosts in environment.sites.items()}
    for plan in environment.plans.values():
        for role, site in plan["sites"].items():
            sites[site["name"]]["plans"].append({"plan": plan["name"], "role": role, "record_host": site["record_host"]})
    return {"sites": list(sites.values()), "witness": environment.witness, "warnings": list(_warnings(environment))}


def _warnings(environment: Environment) -> Iterable[str]:
    witness = environment.witness
    if witness in ("localhost", "127.0.0.1"):
        yield f"the witness {witness} is this controller: when it is lost, nobody can tell which site owns a plan"
    for name, hosts in environment.sites.items():
        if witness in hosts:
            yield f"the witness {witness} is inside the site {name}: when that site is lost, so is the witness"


def test(inventory: Path) -> RunResult:
    return execute(request("site-test", "", inventory))


def tested(result: RunResult) -> dict[str, Any]:
    """``{"hosts": [{"host", "health", "reasons"}], "connectivity": [{"from", "to", "result", "ms", "why"}], "exit_code", "error"}``."""
    hosts: dict[str, dict[str, Any]] = {}
    for failure in result.failures:
        if failure.unreachable:
            hosts[failure.host] = {"host": failure.host, "health": "Unreachable", "reasons": [failure.sentence]}
    for answer in result.answers:
        if answer.get("health"):
            hosts[answer["host"]] = {"host": answer["host"], "health": answer["health"], "reasons": answer.get("reasons", [])}
    legs = [
        {key: item.get(key) for key in ("from", "to", "result", "ms", "tcp_ms", "why")}
        for item in result.results
        if item["module"] == "xdr_connectivity"
    ]
    return {"hosts": list(hosts.values()), "connectivity": legs, "exit_code": result.exit_code, "error": result.error}


def health(document: Mapping[str, Any], hosts: Iterable[str]) -> str:
    """The health of a site: that of its worst host."""
    found = {one["host"]: one["health"] for one in document["hosts"]}
    return max((found.get(host, "Unreachable") for host in hosts), key=_WORST.index, default="Unreachable")


def render_list(document: Mapping[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("site", "hosts", "plans"):
        table.add_column(title)
    for site in document["sites"]:
        plans = ", ".join(f"{one['plan']} ({one['role']}, record on {one['record_host']})" for one in site["plans"])
        table.add_row(f"[bold]{site['site']}[/]", ", ".join(site["hosts"]), plans)
    lines = [f"witness: {document['witness']}", *(f"[yellow]warning: {text}[/]" for text in document["warnings"])]
    return Group(table, *lines)


def render_test(document: Mapping[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    hosts = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("host", "health", "reasons"):
        hosts.add_column(title)
    for one in document["hosts"]:
        hosts.add_row(
            one["host"], f"[{_COLOURS.get(one['health'], 'white')}]{one['health']}[/]", escape("; ".join(map(str, one["reasons"])))
        )
    legs = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("from", "to", "result", "ms", "why"):
        legs.add_column(title)
    for leg in document["connectivity"]:
        colour = "green" if leg["result"] == "CONNECTED" else "red"
        legs.add_row(
            leg["from"], leg["to"], f"[{colour}]{leg['result']}[/]", str(leg["ms"] if leg["ms"] is not None else ""), leg["why"] or ""
        )
    return Group(hosts, "", legs)
