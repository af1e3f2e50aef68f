# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Plans as the command line names and shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from . import units
from .hosts import no_inventory
from .plans import load

if TYPE_CHECKING:
    from ansible_collections.xdr.failback.plugins.plugin_utils.environment import Environment, Kept
    from rich.console import RenderableType

Plan = Mapping[str, Any]


def environment(inventory: Path, kept: Kept | None = None) -> Environment:
    """The environment with its compiled plans. ``kept``: of the time before.

    Raises XdrError naming file, line and field of what is wrong.
    """
    if not inventory.exists():
        raise no_inventory(inventory)
    return load(inventory, kept=kept)


def all_plans(inventory: Path) -> dict[str, Plan]:
    return dict(environment(inventory).plans)


def one_plan(name: str, inventory: Path) -> Plan:
    plans = all_plans(inventory)
    if name not in plans:
        raise XdrError(
            f"no plan is named {name!r}", where=str(inventory), todo=f"It has: {', '.join(sorted(plans)) or 'none'}", code="usage"
        )
    return plans[name]


def validate(what: str, inventory: Path) -> Iterator[str]:
    """A line for each plan that is valid: of a file (with the others of its environment), by name, or all.

    Raises XdrError, code invalid, naming file, line, field and what is expected.
    """
    for plan in chosen(what, inventory).values():
        yield describe(plan)


def chosen(what: str, inventory: Path) -> dict[str, Plan]:
    """The plans of a file (with the others of its environment checked), the one of that name, or all. Raises XdrError as ``validate``."""
    path = Path(what)
    if what and (path.exists() or path.suffix in (".yml", ".yaml")):
        return _beside(path)
    return {what: one_plan(what, inventory)} if what else all_plans(inventory)


def _beside(path: Path) -> dict[str, Plan]:
    """The plans of a file's environment that the file defines."""
    if not path.is_file():
        raise XdrError("there is no such file", where=str(path), code="usage")
    folder = path.resolve().parent.parent
    if not (folder / "plans.yml").is_file():
        raise XdrError(
            "it is in no environment",
            where=str(path),
            todo="A plan belongs into the folder plans/ beside an environment's plans.yml, which names its sites",
            code="usage",
        )
    return {name: plan for name, plan in all_plans(folder).items() if Path(plan["file"]).name == path.name}


def describe(plan: Plan) -> str:
    resources = [resource for group in plan["start_order"] for resource in group["resources"]]
    volumes = sum(len(resource["volumes"]) for resource in resources)
    groups = len(plan["start_order"])
    return f"{plan['name']}: valid, {groups} groups, {len(resources)} resources, {volumes} volumes ({plan['file']})"


def site_names(plan: Plan) -> dict[str, str]:
    """Role → display name."""
    return {role: site["name"] for role, site in plan["sites"].items()}


def _replication(replication: Mapping[str, Any]) -> Iterator[str]:
    yield f"every {units.seconds(replication['interval'])}"
    yield f"ready for failback below {units.size(replication['ready_below'])}"
    yield f"at most {replication['rounds']} cycles in a reversal"
    yield f"{replication['recovery_points']} recovery points"


def _bandwidth(replication: Mapping[str, Any]) -> Iterator[str]:
    yield f"compression {replication['compression']}"
    yield _rate(replication["bandwidth_limit"])
    for each in replication["bandwidth_hours"]:
        yield f"{each['from']} to {each['to']} ({replication['bandwidth_zone']}) {_rate(each['limit'])}"


def _rate(limit: int | None) -> str:
    return f"at most {units.size(limit)}/s" if limit else "no limit of bandwidth"


def _proof(source_check: float) -> str:
    whole = f"the sources whole if that takes no longer than {units.seconds(source_check)}" if source_check else "not the sources whole"
    return f"the downtime reads back what was sent since the full compare, and {whole}; without a full compare both ends whole"


def _lease(terms: Mapping[str, Any] | None) -> str:
    if not terms:
        return "lease off: a failover of a site that does not answer needs an attestation"
    renewed = f"renewed every {units.seconds(terms['loop_wait'])}, each time within {units.seconds(terms['retry_timeout'])}"
    return f"lease of {units.seconds(terms['ttl'])}, {renewed}; when it has run out a failover needs no attestation"


def _maintenance(wanted: Mapping[str, Any]) -> Iterator[str]:
    for each in wanted["windows"]:
        begins = f"{each['start'].replace('T', ' ')} {each['time_zone']}"
        yield f"{each['name']}: {each['rrule']} from {begins}, for {units.seconds(each['duration'])}"
    if wanted["start"] == "window" or wanted["windows"]:
        yield "a failback begins by itself when one opens" if wanted["start"] == "window" else "a failback in one waits for the button"
    if wanted["owners"]:
        yield f"owners: {', '.join(one['name'] for one in wanted['owners'])}, who must {wanted['owners_must'].replace('_', ' ')}"


def _volume(volume: Mapping[str, Any]) -> str:
    kind = volume["tracker"]["kind"]
    return volume["name"] if kind == "auto" else f"{volume['name']} ({kind})"


def render(plan: Plan, seen: str = "", split: Mapping[str, Any] | None = None) -> RenderableType:
    """``seen``: what the worker last found out about its full compare; ``split``: about a split brain (portal/split_view.py)."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    from . import split_view

    facts = Table.grid(padding=(0, 2))
    replication, failback = plan["replication"], plan["failback"]
    facts.add_row("[bold]plan[/]", f"[bold]{plan['name']}[/]  {plan['file']}")
    facts.add_row("sites", ", ".join(f"{role} {site['name']} ({', '.join(site['hosts'])})" for role, site in plan["sites"].items()))
    facts.add_row("witness", plan["witness"])
    facts.add_row("targets", f"RPO {units.seconds(plan['targets']['rpo'])}, RTO {units.seconds(plan['targets']['rto'])}")
    facts.add_row("replication", ", ".join(_replication(replication)))
    facts.add_row("", ", ".join(_bandwidth(replication)))
    facts.add_row("failback", f"failed health checks: {failback['on_failed_health']}, deadline {units.seconds(failback['deadline'])}")
    facts.add_row("", _proof(failback["source_check"]))
    for number, line in enumerate(_maintenance(plan["maintenance"])):
        facts.add_row("" if number else "maintenance", escape(line))
    facts.add_row("ownership", _lease(plan["ownership"]["lease"]))
    if seen:
        facts.add_row("full compare", seen)
    for name, value in split_view.facts(split, site_names(plan)) if split else ():
        facts.add_row(f"[red]split brain[/] {name.strip()}", escape(value))
    order = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("starts", "group", "resource", "hosts", "driver", "volumes"):
        order.add_column(title)
    for group in plan["start_order"]:
        for number, one in enumerate(group["resources"]):
            first = (str(group["priority"]), group["name"]) if number == 0 else ("", "")
            volumes = ", ".join(_volume(volume) for volume in one["volumes"])
            order.add_row(*first, one["name"], f"{one['hosts']['primary']} | {one['hosts']['dr']}", one["instance"]["driver"], volumes)
    return Group(facts, "", order, f"[dim]stops in reverse: {', '.join(plan['stop_order'])}[/]")
