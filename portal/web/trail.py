# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The page of the audit trail, for dr-admin."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response

from ..store import audit
from ..store.accounts import Role
from .pages import page
from .visit import Visit, allowed

SHOWN = 100


@allowed(Role.dr_admin)
def overview(visit: Visit) -> Response:
    before = visit.request.query_params.get("before", "")
    if before and not (before.isascii() and before.isdecimal() and len(before) < 12):
        raise HTTPException(400, "before is the number of an entry")
    entries = audit.latest(visit.desk.store, SHOWN, int(before) if before else None)
    verdict = audit.verify(visit.desk.store) if visit.request.query_params.get("verify") == "1" else None
    return page(visit, "audit.html", entries=entries, older=entries[-1].id if len(entries) == SHOWN else None, verdict=verdict)
