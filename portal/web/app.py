# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The portal's application: its routes, over one store and one inventory."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from .. import PROJECT
from ..store import Store
from . import (
    answers,
    auth,
    banner,
    diagnosis,
    hub,
    incidents,
    lag,
    pages,
    plans,
    previews,
    runbook,
    runs,
    site_history,
    sites,
    streams,
    support,
    trail,
    users,
    windows,
)
from .desk import Desk
from .environment import Inventory
from .headers import Headers

STATIC = PROJECT / "portal" / "static"

ROUTES = [
    Route("/healthz", pages.health),
    Route("/login", auth.login_page),
    Route("/login", auth.login, methods=["POST"]),
    Route("/logout", auth.logout, methods=["POST"]),
    Route("/", plans.overview),
    Route("/plans/{plan}", plans.one),
    Route("/plans/{plan}/lag", lag.over_time),
    Route("/plans/{plan}/incidents", incidents.overview),
    Route("/plans/{plan}/incidents/{run}", incidents.one),
    Route("/plans/{plan}/incidents/{run}/notes", incidents.note, methods=["POST"]),
    Route("/plans/{plan}/runbook", runbook.yaml),
    Route("/plans/{plan}/runbook/check", runbook.check, methods=["POST"]),
    Route("/plans/{plan}/runbook/review", runbook.review, methods=["POST"]),
    Route("/plans/{plan}/runbook/save", runbook.save, methods=["POST"]),
    Route("/plans/{plan}/runbook/priorities", runbook.priorities),
    Route("/plans/{plan}/runbook/reorder", runbook.reprioritise, methods=["POST"]),
    Route("/plans/{plan}/runbook/versions", runbook.versions),
    Route("/plans/{plan}/runbook/versions/{version}", runbook.version),
    Route("/plans/{plan}/runbook/versions/{version}/restore", runbook.restore, methods=["POST"]),
    Route("/plans/{plan}/windows", windows.of_plan),
    Route("/plans/{plan}/windows.ics", windows.calendar_of_plan),
    Route("/plans/{plan}/windows/add", windows.add, methods=["POST"]),
    Route("/plans/{plan}/windows/cancel", windows.cancel, methods=["POST"]),
    Route("/plans/{plan}/windows/ask", windows.ask, methods=["POST"]),
    Route("/plans/{plan}/windows/answer", windows.answer, methods=["POST"]),
    Route("/plans/{plan}/diagnosis", diagnosis.one),
    Route("/plans/{plan}/diagnose", diagnosis.find_out, methods=["POST"]),
    Route("/plans/{plan}/bundle", support.bundle, methods=["POST"]),
    Route("/plans/{plan}/{action}", plans.act, methods=["POST"]),
    Route("/plans/{plan}/preview/{action}", previews.one),
    Route("/plans/{plan}/preview/{action}", previews.make, methods=["POST"]),
    Route("/runs", runs.overview),
    Route("/runs/{run}", runs.one),
    Route("/runs/{run}/board", runs.board),
    Route("/runs/{run}/stream", streams.of_run),
    Route("/runs/{run}/stop", runs.stop, methods=["POST"]),
    Route("/runs/{run}/rollback", runs.rollback, methods=["POST"]),
    Route("/runs/{run}/approve", previews.approve, methods=["POST"]),
    Route("/runs/{run}/answer", runs.answer, methods=["POST"]),
    Route("/sites", sites.overview),
    Route("/sites/test", sites.test, methods=["POST"]),
    Route("/windows", windows.overview),
    Route("/windows.ics", windows.calendar),
    Route("/answer/{token}", answers.shown),
    Route("/answer/{token}", answers.given, methods=["POST"]),
    Route("/sites/bundle", support.bundle, methods=["POST"]),
    Route("/sites/{site}", site_history.one),
    Route("/sites/{site}/links", site_history.over_time),
    Route("/sites/{site}/diagnosis", diagnosis.one),
    Route("/sites/{site}/diagnose", diagnosis.find_out, methods=["POST"]),
    Route("/audit", trail.overview),
    Route("/users", users.overview),
    Route("/users/add", users.add, methods=["POST"]),
    Route("/users/{user}/password", users.password, methods=["POST"]),
    Route("/users/{user}/remove", users.remove, methods=["POST"]),
    Route("/banner", banner.shown),
    Route("/stream", streams.of_changes),
    Mount("/static", StaticFiles(directory=STATIC)),
]
READ = [route.path for route in ROUTES if isinstance(route, Route) and "GET" in (route.methods or ())]  # the paths of what is only read


def create_app(store: Store, inventory: Path, *, every: float = hub.EVERY) -> Starlette:
    """The application. ``every``: seconds between two looks at what somebody watches."""
    known = Inventory(inventory)
    desk = Desk(store, known, hub.Hub(store, lambda: known.plans, every))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await desk.hub.close()

    app = Starlette(
        routes=ROUTES,
        middleware=[Middleware(Headers)],
        exception_handlers={HTTPException: pages.error, 500: pages.error},
        lifespan=lifespan,
    )
    app.state.desk = desk
    return app
