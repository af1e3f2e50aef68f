# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What was found of a site's hosts, since when, and how fast its ways to other sites are: for the command line and for its page."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from . import units
from .store import Store, checks, links

if TYPE_CHECKING:
    from ansible_collections.xdr.failback.plugins.plugin_utils.environment import Environment
    from rich.console import RenderableType

DAY = 86400.0
_COLOURS = {"ok": "green", "degraded": "yellow", "failed": "red"}


@dataclass(frozen=True)
class Figures:
    """Of one span: the newest, the median, the worst."""

    newest: float
    median: float
    worst: float


@dataclass(frozen=True)
class Way:
    """Of a way in the last 24 hours: milliseconds, bytes a second; None where nothing was measured. ``broken`` of so many ``looks``
    could measure nothing."""

    origin: str
    target: str
    latency: Figures | None
    throughput: Figures | None
    broken: int
    looks: int


def ways(store: Store, hosts: Iterable[str]) -> list[Way]:
    now = time.time()
    return [_way(*pair, links.over(store, *pair, now - DAY, now)) for pair in links.pairs(store, hosts)]


def _way(origin: str, target: str, points: Sequence[links.Point]) -> Way:
    latency = [point.latency_ms for point in points if point.latency_ms is not None]
    rates = [point.bytes_per_s for point in points if point.bytes_per_s is not None]
    slowest, least = max(latency, default=0.0), min(rates, default=0.0)
    return Way(origin, target, _figures(latency, slowest), _figures(rates, least), len(points) - len(latency), len(points))


def _figures(values: Sequence[float], worst: float) -> Figures | None:
    return Figures(values[-1], statistics.median(values), worst) if values else None


def newest(store: Store, hosts: Iterable[str]) -> list[checks.Kept]:
    """By host, what is wrong first."""
    return sorted(checks.newest(store, hosts), key=lambda one: (one.host, one.result == "ok", one.check))


def hosts_of(environment: Environment, name: str, inventory: Path) -> list[str]:
    """Raises XdrError, code usage."""
    if name not in environment.sites:
        raise XdrError(
            f"no site is named {name!r}", where=str(inventory), todo=f"It has: {', '.join(sorted(environment.sites))}", code="usage"
        )
    return list(environment.sites[name])


def document(store: Store, site: str, hosts: Sequence[str]) -> dict[str, Any]:
    """``{"site", "hosts", "checks", "changes", "ways"}``: store/checks.py ``Kept`` and ``Way`` as JSON."""
    return {
        "site": site,
        "hosts": list(hosts),
        "checks": [asdict(one) for one in newest(store, hosts)],
        "changes": [asdict(one) for one in checks.history(store, hosts)],
        "ways": [asdict(way) for way in ways(store, hosts)],
    }


def render(document: Mapping[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    changes = _table("from", "to", "host", "check", "result", "found")
    for one in document["changes"]:
        result = f"[{_COLOURS.get(one['result'], 'white')}]{one['result']}[/]"
        changes.add_row(units.since(one["since"]), units.since(one["seen"]), one["host"], one["check"], result, escape(one["evidence"]))
    table = _table("way", "round trip", "median", "worst", "throughput", "median", "worst", "not measured")
    for way in document["ways"]:
        latency, rate = way["latency"], way["throughput"]
        shown = [f"{latency[key]:.1f} ms" if latency else units.UNKNOWN for key in ("newest", "median", "worst")]
        shown += [f"{units.size(rate[key])}/s" if rate else units.UNKNOWN for key in ("newest", "median", "worst")]
        table.add_row(f"{way['origin']} → {way['target']}", *shown, f"{way['broken']} of {way['looks']}")
    return Group(f"[bold]{escape(document['site'])}[/]: {', '.join(document['hosts'])}", changes, "", table)


def _table(*titles: str) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), header_style="dim")
    for title in titles:
        table.add_column(title)
    return table
