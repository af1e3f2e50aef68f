# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A preview (portal/preview.py) on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import units
from .actions import ACTIONS as ALL
from .preview import BANNER, lasts, rows, size

if TYPE_CHECKING:
    from rich.console import RenderableType

    from .results import RunResult

ACTIONS = tuple(name for name in ALL if name not in ("status", "site-test", "diagnose"))


def render(result: RunResult) -> RenderableType:
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    banner = Panel(Text(BANNER, justify="center"), style="bold black on yellow")
    if not result.preview or "told" not in result.preview:
        return Group(banner, Text(f"{result.action} {result.plan}: it did not come as far as a preview"))
    lines = Text("\n".join(told(result.preview)))
    return Group(
        banner, Text(result.preview["told"], style="bold"), _gates(result.preview), lines, Text(approving(result.run_id, result.preview))
    )


def _gates(preview: Mapping[str, Any]) -> RenderableType:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("gate", "is", "wanted", "found"):
        table.add_column(title)
    for gate in preview["gates"]:
        word = {True: "[green]open[/]", False: "[red]CLOSED[/]", None: "[yellow]not looked at[/]"}[gate["open"]]
        table.add_row(gate["name"], word, escape(gate["wanted"]), escape(gate["found"]))
    return table


def told(preview: Mapping[str, Any]) -> Iterator[str]:
    """The steps in lines."""
    for number, step in enumerate(preview["steps"], 1):
        if step["commit"]:
            yield f"{'!!!' if step['commit']['no_return'] else '---'} {step['commit']['name']}: {step['commit']['told']}"
        yield f"{number}. {step['title']} [{lasts(step['seconds'])}]: {step['told']}"
        for place, group, what, names in rows(step, preview):
            yield f"     {place}{f', {group}' if group else ''}: {what}: {', '.join(names)}"
        yield f"     not predicted: {step['unpredicted']}"
    if preview["volumes"]:
        how = f"{units.seconds(preview['sync_seconds'])} ({preview['volumes'][0]['how']})"
        yield f"bytes: {size(preview['bytes'])} in {len(preview['volumes'])} volumes, {how}"


def approving(run_id: str, preview: Mapping[str, Any]) -> str:
    """How it goes on."""
    bound = preview["approval"]
    second = ", by somebody else than who starts it" if bound["four_eyes"] else ""
    return f"approval {bound['hash'][:12]}: xdr run approve {run_id}{second}"
