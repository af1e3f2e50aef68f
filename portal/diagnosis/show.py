# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Findings on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .finding import Finding, summary

if TYPE_CHECKING:
    from rich.console import RenderableType

_MARKS = {"wrong": "[red]✖ wrong[/]", "unknown": "[magenta]? unknown[/]", "warn": "[yellow]▲ warning[/]", "ok": "[green]● ok[/]"}


def render(subject: str, findings: Sequence[Finding]) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), show_header=False)
    for _ in range(3):
        table.add_column()
    for finding in findings:
        told = [escape(f"{finding.what}.")]
        told += [f"[bold]→ {escape(finding.todo)}.[/]"] if finding.todo else []
        told += [f"[dim]{escape(line)}[/]" for line in finding.evidence] if finding.verdict != "ok" else []
        table.add_row(_MARKS[finding.verdict], finding.check, "\n".join(told))
    return Group(f"[bold]{escape(subject)}[/]: {summary(findings)}", table)
