# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The page of the sites, and the button that tests them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from .. import sites
from ..actions import asked
from ..sightings import SITE_TEST
from ..store import checks, observations, runs
from ..store.accounts import Role
from ..store.runs import Run
from .pages import page
from .visit import Visit, allowed


@allowed(Role.viewer)
def overview(visit: Visit) -> Response:
    return _page(visit)


@allowed(Role.operator)
def test(visit: Visit) -> Response:
    if active := _active(visit):
        refusal = f"A test runs already: run {active.id}, asked for by {active.requested_by}"
        visit.note(SITE_TEST, "sites", refusal, "refused")
        return _page(visit, refusal, 409)
    run = runs.request(visit.desk.store, asked(SITE_TEST, "", by=visit.user.name, origin=visit.origin))
    return RedirectResponse(f"/runs/{quote(run.id, safe='')}", 303)


def _active(visit: Visit) -> Run | None:
    """A test that a person asked for; those of the background are no reason to wait."""
    return next((run for run in runs.unended(visit.desk.store) if run.action == SITE_TEST and run.origin != runs.SCHEDULE), None)


def _page(visit: Visit, refusal: str = "", status: int = 200) -> Response:
    seen = observations.get(visit.desk.store, observations.SITES)
    document = (seen.document or {}) if seen else {}
    listed = visit.desk.inventory.listed()
    everywhere = [*(host for site in listed["sites"] for host in site["hosts"]), listed["witness"]]
    found = [one for one in checks.newest(visit.desk.store, everywhere) if one.result != "ok"]
    return page(
        visit,
        "sites.html",
        status,
        listed=listed,
        seen=seen if document else None,
        trouble=seen.error if seen else "",
        hosts={one["host"]: one for one in document.get("hosts", [])},
        health={site["site"]: sites.health(document, site["hosts"]) for site in listed["sites"]} if document else {},
        wrong={host: [one for one in found if one.host == host] for host in everywhere},
        matrix=Matrix(document),
        active=_active(visit),
        refusal=refusal,
    )


class Matrix:
    """Who reaches whom: rows from, columns to."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.legs = {(leg["from"], leg["to"]): leg for leg in document.get("connectivity", [])}
        self.rows = list(dict.fromkeys(start for start, _ in self.legs))
        self.columns = list(dict.fromkeys(end for _, end in self.legs))

    @property
    def broken(self) -> list[Mapping[str, Any]]:
        return [leg for leg in self.legs.values() if leg["result"] != "CONNECTED"]
