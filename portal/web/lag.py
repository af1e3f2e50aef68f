# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A plan's replication_lag over time: as sentences, and as numbers for the chart."""

from __future__ import annotations

import time
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from .. import units
from ..store import Store, lags
from ..store.accounts import Role
from .environment import Plan
from .visit import Visit, allowed

HOUR = 3600.0
SPANS = {24: "24 hours", 168: "7 days"}


@dataclass(frozen=True)
class Span:
    hours: int
    told: str

    @property
    def name(self) -> str:
        return SPANS[self.hours]


def spans(store: Store, plan: Plan) -> list[Span]:
    return [Span(hours, _told(store, plan, hours)) for hours in SPANS]


def _told(store: Store, plan: Plan, hours: int) -> str:
    found = lags.summed(store, plan["name"], time.time() - hours * HOUR, plan["targets"]["rpo"])
    if not found.looks:
        return f"Last {SPANS[hours]}: nobody has looked."
    worst = f"at worst {units.seconds(found.worst)} old" if found.worst is not None else "never known"
    known = found.looks - found.unknown
    within = f", within RPO at {_share(known - found.over, found.looks)} of the looks" if known else ""
    unknown = f", unknown at {_share(found.unknown, found.looks)}" if found.unknown and known else ""
    return f"Last {SPANS[hours]}: {worst}{within}{unknown}."


def _share(part: int, whole: int) -> str:
    """A share of all is 100 %, and of none 0 %, never by rounding."""
    percent = 100 * part / whole
    if 0 < part < whole:
        percent = min(max(percent, 0.1), 99.9)
    return f"{percent:.0f} %" if part in (0, whole) else f"{percent:.1f} %"


@allowed(Role.viewer)
def over_time(visit: Visit) -> Response:
    """``{"at", "bytes", "age"}``: lists of the same length (Unix seconds, bytes, seconds; null: unknown), and ``rpo`` in seconds."""
    plan = visit.desk.inventory.plans.get(visit.path("plan"))
    if plan is None:
        raise HTTPException(404)
    hours = visit.request.query_params.get("hours", "24")
    if hours not in map(str, SPANS):
        raise HTTPException(400, f"hours is one of {', '.join(map(str, SPANS))}")
    now = time.time()
    found = lags.over(visit.desk.store, plan["name"], now - int(hours) * HOUR, now)
    columns = {name: [getattr(point, name) for point in found] for name in ("at", "bytes", "age")}
    return JSONResponse({**columns, "rpo": plan["targets"]["rpo"], "since": now - int(hours) * HOUR, "until": now})
