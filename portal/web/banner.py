# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The part above every page, by itself: whether a worker runs, and whether the plans' files are right.

What comes up while somebody reads is shown below, where it moves nothing; ``above=1``: the page was rendered with it.
"""

from __future__ import annotations

from starlette.responses import Response

from ..store.accounts import Role
from .pages import page
from .visit import Visit, allowed


@allowed(Role.viewer)
def shown(visit: Visit) -> Response:
    return page(visit, "banner.html", late=visit.request.query_params.get("above") != "1")
