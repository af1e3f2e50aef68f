# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A new controller takes its plans over: what the sites' records say goes into a store that has never heard of it.

Nothing on a site is changed. Who owns a plan, and how far a run came, is in the sites' records alone; the store only has to know them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import choices, status, units
from .results import RUN_ACTIVE
from .store import Store, audit, observations, runs
from .store.runs import ADOPTED, Run

if TYPE_CHECKING:
    from rich.console import RenderableType

Document = dict[str, Any]
ACTION, ORIGIN = "adopt", "command line"


def adopt(
    store: Store,
    inventory: Path,
    plans: Mapping[str, choices.Plan],
    *,
    by: str,
    read: Callable[[str, Path], Document] = status.read,
) -> list[Document]:
    """For each plan the document of portal/status.py with ``adopted``, the id of the unfinished run that the store got to know, and
    ``next``, what an operator does now. A plan with an active run here is left alone, one whose hosts tell nothing too; ``error`` says why.
    """
    return [_adopt(store, inventory, name, plan, by, read) for name, plan in plans.items()]


def _adopt(store: Store, inventory: Path, name: str, plan: choices.Plan, by: str, read: Callable[[str, Path], Document]) -> Document:
    active = runs.active(store, name)
    if active:
        error = f"plan {name} has the active run {active.id} ({active.action}) here already. Wait for its end"
        document: Document = {"plan": name, "state": units.UNKNOWN, "error": error, "exit_code": RUN_ACTIVE}
        document |= {"volumes": [], "instances": []}
    else:
        document = read(name, inventory)
    if active or choices.seen(document) is None:
        audit.add(store, by, ORIGIN, ACTION, f"plan {name}", document["error"], outcome="refused")
        return {**document, "adopted": "", "next": ""}
    observations.put(store, observations.of_plan(name), document)
    adopted = _run(store, name, document.get("run"))
    audit.add(store, by, ORIGIN, ACTION, f"plan {name}", _detail(document, adopted))
    return {**document, "adopted": adopted, "next": choices.what_now(plan, document["state"], document["unreachable"])}


def _run(store: Store, plan: str, left: Mapping[str, Any] | None) -> str:
    """Put a run that another controller has left unfinished among this one's; its id, empty where there is none or it is known."""
    if not left:
        return ""
    came = ", ".join(left["phases"]) or "no phase yet"
    began = float(left["started"])
    run = Run(
        id=str(left["id"]),
        plan=plan,
        action=str(left["action"]).replace("_", "-"),
        origin=ADOPTED,
        requested_by="another controller",
        requested_at=began,
        started_at=began,
        error=f"another controller began it and did not end it; the sites have marked: {came}",
    )
    return run.id if runs.adopt(store, run) else ""


def _detail(document: Document, adopted: str) -> str:
    owner = document["owner"] or "nobody"
    return f"{document['state']}, owner {owner}, epoch {document['epoch']}" + (f", unfinished run {adopted}" if adopted else "")


def render(documents: list[Document], site_names: dict[str, dict[str, str]]) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    shown: list[RenderableType] = []
    for one in documents:
        shown.append(status.render([one], site_names))
        shown += [f"  [bold]adopted[/] run {escape(one['adopted'])}"] if one["adopted"] else []
        shown += [f"  {escape(one['next'])}"] if one["next"] else []
    return Group(*shown)
