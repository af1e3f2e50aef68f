# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The page of one site: what was found of its hosts and since when, and how fast its ways to the other sites are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from .. import site_history
from ..store import Store, checks, links, observations
from ..store.accounts import Role
from .lag import HOUR, SPANS
from .pages import page
from .visit import Visit, allowed


@allowed(Role.viewer)
def one(visit: Visit) -> Response:
    site, store = _site(visit), visit.desk.store
    hosts = site["hosts"]
    seen = observations.get(store, observations.SITES)
    return page(
        visit,
        "site.html",
        site=site,
        newest=site_history.newest(store, hosts),
        history=checks.history(store, hosts),
        ways=site_history.ways(store, hosts),
        spans=list(SPANS.items()),
        seen=seen if seen and seen.document else None,
        trouble=seen.error if seen else "",
    )


@allowed(Role.viewer)
def over_time(visit: Visit) -> Response:
    """Of the way ``from``, ``to``, or of the first one: ``{"at", "latency", "throughput"}``, lists of the same length (Unix seconds,
    ms, bytes a second; null: not measured)."""
    site, query = _site(visit), visit.request.query_params
    origin, target, hours = query.get("from", ""), query.get("to", ""), query.get("hours", "24")
    if hours not in map(str, SPANS):
        raise HTTPException(400, f"hours is one of {', '.join(map(str, SPANS))}")
    if not origin and not target:
        origin, target = next(iter(links.pairs(visit.desk.store, site["hosts"])), ("", ""))
    elif not {origin, target} & set(site["hosts"]):
        raise HTTPException(400, "from or to is a host of the site")
    return JSONResponse(_columns(visit.desk.store, origin, target, int(hours)))


def _columns(store: Store, origin: str, target: str, hours: int) -> dict[str, Any]:
    now = time.time()
    found = links.over(store, origin, target, now - hours * HOUR, now)
    columns = {"at": "at", "latency": "latency_ms", "throughput": "bytes_per_s"}
    told = {name: [getattr(point, column) for point in found] for name, column in columns.items()}
    return {**told, "since": now - hours * HOUR, "until": now}


def _site(visit: Visit) -> Mapping[str, Any]:
    found = next((site for site in visit.desk.inventory.listed()["sites"] if site["site"] == visit.path("site")), None)
    if found is None:
        raise HTTPException(404)
    return dict(found)
