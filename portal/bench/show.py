# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The bench's results as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import units
from .figures import Figure
from .rows import Row
from .seed import Size

if TYPE_CHECKING:
    from rich.table import Table


def table(found: list[Row], size: int, repeat: int) -> Table:
    from rich.table import Table

    shown = Table(title=f"Delta sync against rsync, {units.size(size)}, median of {repeat}", title_justify="left")
    for name in ("row", "ratio", "goal", "", "xdr s", "rsync s", "xdr bytes", "rsync bytes", "limit s", "share", "what limits"):
        shown.add_column(name, justify="right" if name not in ("row", "", "what limits") else "left", overflow="fold")
    for row in found:
        shown.add_row(*cells(row))
    return shown


def cells(row: Row) -> list[str]:
    verdict = {True: "[green]ok[/]", False: "[red]above[/]" if row.at_most else "[red]below[/]", None: "-"}[row.ok]
    goal = f"{'≤' if row.at_most else '≥'} {row.goal:g}{_unit(row.unit)}"
    ratio = "-" if row.ratio is None else f"{row.ratio:.2f}{_unit(row.unit)}"
    seconds = [_number(value, ".3f") for value in (row.seconds, row.peer_seconds)]
    sizes = ["-" if value is None else units.size(value) for value in (row.bytes, row.peer_bytes)]
    share = _number(row.share, ".2f")
    return [row.name, ratio, goal, verdict, *seconds, *sizes, _number(row.limit_seconds, ".3f"), share, row.why or row.limited_by or ""]


def figures(found: list[Figure], size: Size, repeat: int) -> Table:
    from rich.table import Table

    title = f"The portal, {size.plans} plans of {size.resources} resources, {size.events} events, median of {repeat}; milliseconds"
    shown = Table(title=title, title_justify="left")
    for name in ("row", "value", "goal", "", "worst", "first", "cpu", "size", ""):
        shown.add_column(name, justify="right" if name not in ("row", "") else "left", overflow="fold")
    for one in found:
        verdict = "[green]ok[/]" if one.ok else "[red]broken[/]" if one.broken else "[red]above[/]"
        more = [_number(value, "g") for value in (one.worst, one.first, one.cpu)]
        size_of = "-" if one.bytes is None else units.size(one.bytes)
        shown.add_row(one.name, _number(one.value, "g"), f"≤ {one.goal:g}", verdict, *more, size_of, one.why)
    return shown


def _unit(unit: str) -> str:
    return f" {unit}" if len(unit) > 1 else unit


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def limits(rates: dict[str, Any]) -> Table:
    """The measured limits, as they are in the document."""
    from rich.table import Table

    shown = Table(title="What this machine can do", title_justify="left", show_header=False)
    hashes = [f"{rate:.0f} {name.replace('_', ', ')} thread(s)" for name, rate in rates["hashes"].items()]
    for what, value in (
        ("read: warm, cold, cold in 64 KiB pieces", f"{_rates(rates, 'read_warm', 'read_cold', 'read_pieces')} MiB/s"),
        ("write and fsync: whole, 64 KiB, 4 KiB pieces", f"{_rates(rates, 'write', 'write_blocks', 'write_pages')} MiB/s"),
        ("fsync of a page", f"{rates['fsync_s'] * 1000:.2f} ms"),
        ("hash, MiB/s", "; ".join(hashes)),
        ("ssh over the loopback", f"{rates['ssh']:.0f} MiB/s, {rates['cipher']}"),
        ("start of ssh, Python and the agent, ahead of each row", f"{rates['start_s']:.3f} s"),
    ):
        shown.add_row(what, value)
    return shown


def _rates(rates: dict[str, Any], *names: str) -> str:
    return ", ".join(f"{rates[name]:.0f}" for name in names)
