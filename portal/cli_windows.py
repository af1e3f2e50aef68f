# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr window``: the maintenance windows of plans: list, add, cancel, ask, answer, export."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import DEFAULT_INVENTORY, Inventory, Json, PlanName, group
from .options import plan as known_plan

if TYPE_CHECKING:
    from rich.console import RenderableType

    from .booking import Booker

app = group("The maintenance windows of plans: list, add, cancel, ask, answer, export.")

Key = Annotated[str, typer.Argument(metavar="WINDOW", help="The window's key, as xdr window list shows it.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why. It is kept for good.")]
Days = Annotated[int, typer.Option("--days", min=1, max=400, help="How far ahead.")]
DAY = 86_400.0


def _booker(inventory: Path) -> Booker:
    from . import following
    from .booking import Booker

    return Booker(following.open_store(inventory), following.me(), "command line")


@app.command("list")
def window_list(
    plan: Annotated[str, typer.Argument(metavar="[PLAN]", help="One plan; otherwise all.")] = "",
    days: Days = 60,
    inventory: Inventory = DEFAULT_INVENTORY,
    as_json: Json = False,
) -> None:
    """List the windows that are open or coming, with who was asked and what they answered."""
    from . import booking, following, plan_view, render
    from .calendar import Calendar

    store, now = following.open_store(inventory), time.time()
    known = [known_plan(plan, inventory)] if plan else list(plan_view.all_plans(inventory).values())
    calendars = Calendar.read_all(store, known, now).values()
    found = [row for each in calendars for row in booking.document(store, each, now, now + days * DAY)]
    found.sort(key=lambda row: (row["begin"], row["plan"]))
    render.show_json(found) if as_json else render.show(_table(found))


@app.command("add")
def window_add(
    plan: PlanName,
    start: Annotated[str, typer.Option("--start", metavar="TIME", help="The local date and time, such as 2026-03-01T02:00.")],
    duration: Annotated[str, typer.Option("--duration", metavar="TIME", help="How long it lasts, such as 3h.")],
    zone: Annotated[str, typer.Option("--time-zone", metavar="ZONE", help="Such as Europe/Berlin; the plan's or this machine's.")] = "",
    reason: Reason = "",
    inventory: Inventory = DEFAULT_INVENTORY,
    as_json: Json = False,
) -> None:
    """Add a window that is once."""
    from . import render

    made = _booker(inventory).add(known_plan(plan, inventory), start, duration, zone, reason, time.time())
    render.show_json(made.to_json()) if as_json else typer.echo(f"window {made.key} of plan {plan}: {made.told}")


@app.command("cancel")
def window_cancel(
    plan: PlanName,
    key: Key,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; those who were told of it are told. It is kept for good.")],
    inventory: Inventory = DEFAULT_INVENTORY,
) -> None:
    """Cancel one occurrence of a window; those after it stay."""
    found = _booker(inventory).cancel(known_plan(plan, inventory), key, reason, time.time())
    typer.echo(f"window {found.key} of plan {plan} is cancelled: {found.told}")


@app.command("ask")
def window_ask(plan: PlanName, key: Key, inventory: Inventory = DEFAULT_INVENTORY) -> None:
    """Ask the plan's owners and stakeholders about a window now; a worker sends each a link."""
    asked = _booker(inventory).ask(known_plan(plan, inventory), key, time.time())
    typer.echo(f"asked: {', '.join(one.name for one in asked)}" if asked else "all of them were asked before")


@app.command("answer")
def window_answer(
    plan: PlanName,
    key: Key,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose answer it is: an owner or stakeholder, as the plan names them.")],
    answer: Annotated[str, typer.Argument(metavar="approve|object", help="What they answered.")],
    text: Annotated[str, typer.Option("--text", metavar="TEXT", help="What they said; an objection needs it.")] = "",
    inventory: Inventory = DEFAULT_INVENTORY,
) -> None:
    """Note down what an owner or stakeholder answered, until the window begins; the last answer counts."""
    _booker(inventory).answer(known_plan(plan, inventory), key, name, answer, text, time.time(), via="command line")
    typer.echo(f"{name}: {answer}")


@app.command("export")
def window_export(
    plan: Annotated[str, typer.Argument(metavar="[PLAN]", help="One plan; otherwise all.")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there instead of stdout.")] = None,
    inventory: Inventory = DEFAULT_INVENTORY,
) -> None:
    """Print the windows as a calendar file (.ics), cancelled ones among them."""
    from . import following, ics, plan_view
    from .calendar import Calendar

    store, now = following.open_store(inventory), time.time()
    known = [known_plan(plan, inventory)] if plan else list(plan_view.all_plans(inventory).values())
    text = ics.calendar(list(Calendar.read_all(store, known, now).values()), now)
    if output:
        output.write_bytes(text)
    else:
        typer.echo(text, nl=False)


def _table(found: Iterable[Mapping[str, Any]]) -> RenderableType:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("plan", "window", "when", "may be used", "answers"):
        table.add_column(title)
    for row in found:
        usable = f"{'yes' if row['consent']['cleared'] else 'no'}: {row['consent']['told']}"
        outcome = row["outcome"] if row["outcome"] and row["outcome"]["outcome"] != "coming" else None
        became = f"{outcome['outcome']} by {outcome['by']}: {outcome['detail']}" if outcome else usable
        said = "\n".join(f"{one['name']}: {one['answer'] or ('asked' if one['asked_at'] else 'not asked')}" for one in row["answers"])
        when = f"{row['told']}{' (open)' if row['open'] else ''}"
        table.add_row(row["plan"], row["key"], when, *map(escape, (became, said)))
    return table
