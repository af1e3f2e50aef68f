# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr report``: what an incident of a plan was, for those who were not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .options import DEFAULT_INVENTORY, Force, Inventory, Json, PlanName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from .incident import Incident
    from .store import Store
    from .versions import Version


def report(
    plan: PlanName,
    incident: Annotated[str, typer.Option("--incident", metavar="RUN", help="The one with this run; otherwise the newest.")] = "",
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page of its own, to be kept or printed.")] = None,
    force: Force = False,
    inventory: Inventory = DEFAULT_INVENTORY,
    as_json: Json = False,
) -> None:
    """Report an incident of a plan: what it cost, who asked for what, what went wrong, and its timeline."""
    from . import following, render
    from . import report as reports

    store = following.open_store(inventory)
    document = reports.of(store, _chosen(store, plan, incident), _versions(plan, inventory))
    if html:
        _write(html, document, force=force)
        render.complain(f"the report is in {html}")
    elif as_json:
        render.show_json(document)
    else:
        render.show(_shown(document))


def _chosen(store: Store, plan: str, wanted: str) -> Incident:
    """Raises XdrError, code usage, where there is none."""
    from . import incident

    found = incident.one(store, plan, wanted) if wanted else next(iter(incident.of_plan(store, plan)), None)
    if found is None:
        what = f"run {wanted} is of no incident" if wanted else "no incident is known"
        raise XdrError(what, where=f"plan {plan}", todo="xdr run list shows the plan's runs", code="usage")
    return found


def _versions(plan: str, inventory: Path) -> Sequence[Version]:
    """Of the plan's file; none of a plan that the environment does not have any more."""
    from . import plan_view
    from .edition import versions_of
    from .runbook import Runbook

    try:
        return versions_of(Runbook(inventory, plan_view.one_plan(plan, inventory))).known()
    except XdrError:
        return ()


def _write(file: Path, document: dict[str, Any], *, force: bool) -> None:
    from .web.pages import printed

    try:
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(printed("report.html", report=document))
    except FileExistsError:
        raise XdrError("the file is there already", where=str(file), todo="Name another one, or give --force", code="usage") from None
    except OSError as error:
        raise XdrError(
            f"the report cannot be written ({error.strerror})", where=str(file), todo="Name another file", code="usage"
        ) from error


def _shown(document: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    from . import units

    lines = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("at", "took", "what", "run"):
        lines.add_column(title)
    for one in document["timeline"]:
        took = units.seconds(one["seconds"]) if one["seconds"] is not None else ""
        what = escape(one["what"])
        lines.add_row(
            units.since(one["at"]), took, f"[{'red' if one['tone'] == 'bad' else 'yellow'}]{what}[/]" if one["tone"] else what, one["run"]
        )
    asked = [
        f"{units.since(one['at'])}  {one['who']} ({one['origin']}): {one['action']}, {one['outcome']}. {one['detail']}"
        for one in document["asked"]
    ]
    approved = [
        f"{units.since(one['at'])}  {one['by']} approved {one['action']} ({one['run']}), which started "
        + (", ".join(one["started"]) or "nothing")
        for one in document["approvals"]
    ]
    approved += [f"{one['told']} ({one['run']})" for one in document["overrides"]]
    notes = [f"{units.since(one['at'])}  {one['who']}: {one['text']}" for one in document["notes"]]
    checked = [f"{'done' if one['done'] else 'OPEN'}  {one['title']}: {one['how']}" for one in document["checklist"]]
    parts = [
        f"incident {document['incident']} of plan {document['plan']}",
        *document["told"],
        "",
        *checked,
        "",
        *asked,
        "",
        *approved,
        "",
        lines,
        "",
        *notes,
    ]
    return Group(*(escape(part) if isinstance(part, str) else part for part in parts))
