# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr plan order``, ``priority``, ``versions``, ``restore``: what the portal's editor does, on the command line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from .options import DEFAULT_INVENTORY, Inventory, Json, PlanName
from .options import plan as plan_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from .runbook import Line, Place, Runbook
    from .versions import Version

ORIGIN = "command line"

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept with the version.")]
Check = Annotated[bool, typer.Option("--check", help="Save nothing; show what would change.")]


def order(
    what: Annotated[str, typer.Argument(metavar="FILE|PLAN")], inventory: Inventory = DEFAULT_INVENTORY, as_json: Json = False
) -> None:
    """Show in which order the groups of a plan start and stop."""
    from . import plan_view, render, runbook

    found = {name: runbook.order({"groups": plan["start_order"]}) for name, plan in plan_view.chosen(what, inventory).items()}
    if as_json:
        ((name, places),) = found.items()
        render.show_json({"plan": name, **_ordered(places)})
        return
    for places in found.values():
        render.show(_order(places))


def priority(
    name: PlanName,
    wanted: Annotated[list[str], typer.Argument(metavar="GROUP=PRIORITY…", help="The groups and their new priorities.")],
    reason: Reason = "",
    check: Check = False,
    inventory: Inventory = DEFAULT_INVENTORY,
    as_json: Json = False,
) -> None:
    """Change priorities in the plan's file, where comments and quoting stay as they are, and keep it as a version."""
    from .runbook import reprioritised

    book = _book(name, inventory)
    _become(book, reprioritised(book.read(), dict(_number(one) for one in wanted)), reason, check=check, as_json=as_json)


def versions(
    name: PlanName,
    version: Annotated[str, typer.Argument(metavar="[VERSION]", help="Show what going back to it would change.")] = "",
    inventory: Inventory = DEFAULT_INVENTORY,
    as_json: Json = False,
) -> None:
    """List the versions of a plan's file, the newest first: who saved it, when and why."""
    from rich.markup import escape
    from rich.table import Table

    from . import render, units
    from .edition import versions_of
    from .runbook import difference

    book = _book(name, inventory)
    if version:
        text = _text(book, version)
        _tell(difference(book.read(), text), book, text, as_json=as_json)
        return
    found = versions_of(book).all()
    if as_json:
        render.show_json([one.to_json() for one in found])
        return
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("version", "at", "who", "plan", "why"):
        table.add_column(title)
    for one in found:
        table.add_row(
            one.short, units.since(one.at), escape(" ".join(filter(None, (one.who, one.role)))), one.plan_hash, escape(one.reason)
        )
    render.show(table if found else "no versions yet: the first is kept when the plan is saved in the portal, or by xdr plan priority")


def restore(
    name: PlanName,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="As xdr plan versions lists it.")],
    reason: Reason = "",
    check: Check = False,
    inventory: Inventory = DEFAULT_INVENTORY,
    as_json: Json = False,
) -> None:
    """Make an earlier version of a plan's file the newest."""
    book = _book(name, inventory)
    _become(book, _text(book, version), reason, check=check, as_json=as_json)


COMMANDS: Mapping[str, Callable[..., None]] = {"order": order, "priority": priority, "versions": versions, "restore": restore}


def _book(name: str, inventory: Path) -> Runbook:
    from .runbook import Runbook

    return Runbook(inventory, plan_named(name, inventory))


def _number(given: str) -> tuple[str, int]:
    """Raises XdrError, code usage."""
    group, _, number = given.rpartition("=")
    if not group or not re.fullmatch("[0-9]{1,6}", number):
        raise XdrError(f"{given!r} is no priority of a group", todo="Write it like database=1", code="usage")
    return group, int(number)


def _text(book: Runbook, version: str) -> str:
    """Raises XdrError, code usage, for a version that there is not."""
    from .edition import versions_of

    kept = versions_of(book)
    found = kept.one(version)
    if found is None:
        raise XdrError(f"there is no version {version}", where=f"plan {book.name}", todo="xdr plan versions lists them", code="usage")
    return kept.text(found)


def _become(book: Runbook, text: str, reason: str, *, check: bool, as_json: bool) -> None:
    """Save the text, or only check whether it may be saved, and show what that changes. Raises XdrError where it may not."""
    from . import following
    from .edition import Edition
    from .runbook import difference, digest
    from .versions import Author

    saved, version = book.read(), None
    if saved != text:
        with contextlib.closing(following.open_store(book.folder)) as store:
            edition = Edition(book, text, digest(saved))
            if check:
                edition.checked(store, saved)
            else:
                version = edition.save(store, reason, Author(following.me(), ORIGIN))
    _tell(difference(saved, text), book, text, version, as_json=as_json)


def _tell(lines: Sequence[Line], book: Runbook, text: str, version: Version | None = None, *, as_json: bool) -> None:
    from . import render

    places = book.start(text)
    if as_json:
        saved = version.to_json() if version else None
        render.show_json({"plan": book.name, "version": saved, "changes": [vars(line) for line in lines], **_ordered(places)})
        return
    render.show(_shown(lines, places))
    if version:
        render.complain(f"saved as version {version.short}")


def _ordered(places: Sequence[Place]) -> dict[str, Any]:
    start = [{"group": place.group, "priority": place.priority, "resources": list(place.resources)} for place in places]
    return {"start": start, "stop": [place.group for place in reversed(places)]}


def _order(places: Sequence[Place]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("starts", "group", "stops", "resources"):
        table.add_column(title)
    for number, place in enumerate(places):
        table.add_row(str(place.priority), place.group, str(len(places) - number), ", ".join(place.resources))
    return table


def _shown(lines: Sequence[Line], places: Sequence[Place]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    tones = {"+": "green", "-": "red", "@": "dim"}
    told = [Text(f"{line.kind} {line.text}", tones.get(line.kind, "")) for line in lines] or [Text("nothing changes")]
    return Group(*told, "", _order(places))
