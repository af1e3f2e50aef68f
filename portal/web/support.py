# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The bundle for support, as a download."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response

from ..store.accounts import Role
from ..support.bundle import packed
from .visit import Visit, allowed


@allowed(Role.dr_admin)
def bundle(visit: Visit) -> Response:
    """Of one plan, or of all where none is named."""
    plan = str(visit.request.path_params.get("plan", ""))
    if plan and plan not in visit.desk.inventory.plans:
        raise HTTPException(404)
    name, content = packed(visit.desk.store, visit.desk.inventory.folder, plan)
    visit.note("support bundle", f"plan {plan}" if plan else "all plans", name)
    return Response(content, media_type="application/gzip", headers={"Content-Disposition": f'attachment; filename="{name}"'})
