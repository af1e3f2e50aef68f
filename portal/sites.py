# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The sites of an environment: what the inventory says of them, and what a test of them finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import units

if TYPE_CHECKING:
    from ansible_collections.xdr.failback.plugins.plugin_utils.environment import Environment
    from rich.console import RenderableType

    from .results import RunResult

CONTROLLER = "controller"  # as a way's beginning
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


LEG = ("from", "to", "result", "ms", "tcp_ms", "latency_ms", "bytes_per_s", "unmeasured", "why")


def tested(result: RunResult) -> dict[str, Any]:
    """``{"hosts": [{"host", "health", "reasons", "checks"}], "connectivity": [{LEG}], "exit_code", "error"}``; ``checks``:
    ``[{"check", "result": ok|degraded|failed, "found", "wanted"}]``."""
    hosts: dict[str, dict[str, Any]] = {}
    for failure in result.failures:
        if failure.unreachable:
            hosts[failure.host] = {"host": failure.host, "health": "Unreachable", "reasons": [failure.sentence], "checks": []}
    for answer in result.answers:
        if answer.get("health"):
            told = {key: answer.get(key, []) for key in ("reasons", "checks")}
            hosts[answer["host"]] = {"host": answer["host"], "health": answer["health"], **told}
    legs = [{key: item.get(key) for key in LEG} for item in result.results if item["module"] == "xdr_connectivity"]
    for leg in legs:
        _degrade(hosts, leg)
    return {"hosts": list(hosts.values()), "connectivity": legs, "exit_code": result.exit_code, "error": result.error}


def _degrade(hosts: dict[str, dict[str, Any]], leg: Mapping[str, Any]) -> None:
    """A host that does not reach another, or is not reached from here, is not healthy; that the other one is off is not its fault."""
    host, other = (leg["to"], "") if leg["from"] == CONTROLLER else (leg["from"], leg["to"])
    blamed = hosts.get(host)
    if leg["result"] == "CONNECTED" or blamed is None or hosts.get(other, {}).get("health") == "Unreachable":
        return
    blamed["reasons"] = [*blamed["reasons"], f"{leg['from']} → {leg['to']}, {leg['result']}: {leg['why']}"]
    if blamed["health"] == "Healthy":
        blamed["health"] = "Degraded"


def checked(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All that a test of the sites tells of its hosts, as checks (store/checks.py): whether one answers, how it is, whom it reaches."""
    return [*_answers(document), *_ways(document)]


def _answers(document: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for one in document["hosts"]:
        answers = {"host": one["host"], "check": "answers", "wanted": "Ansible logs in and runs a module"}
        if one["health"] == "Unreachable":
            yield {**answers, "result": "failed", "found": "; ".join(map(str, one["reasons"]))}
        else:
            yield {**answers, "result": "ok", "found": "it does"}
            yield from ({"host": one["host"], **check} for check in one.get("checks", []))


def _ways(document: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for leg in document["connectivity"]:
        from_here = leg["from"] == CONTROLLER
        check = {
            "host": leg["to"] if from_here else leg["from"],
            "check": "reached from the controller" if from_here else f"reaches {leg['to']}",
        }
        connects = leg["result"] == "CONNECTED"
        yield {
            **check,
            "result": "ok" if connects else "failed",
            "found": f"it connects in {leg['ms']:g} ms" if connects else f"{leg['result']}: {leg['why']}",
            "wanted": "the connection, the pinned host key, the login and a command",
        }


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
    for title in ("from", "to", "result", "session ms", "round trip ms", "throughput", "why"):
        legs.add_column(title)
    for leg in document["connectivity"]:
        colour = "green" if leg["result"] == "CONNECTED" else "red"
        figures = [str(leg[key]) if leg.get(key) is not None else "" for key in ("ms", "latency_ms")]
        rate = f"{units.size(leg['bytes_per_s'])}/s" if leg.get("bytes_per_s") else ""
        why = leg["why"] or leg.get("unmeasured") or ""
        legs.add_row(leg["from"], leg["to"], f"[{colour}]{leg['result']}[/]", *figures, rate, escape(why))
    return Group(hosts, "", legs)
