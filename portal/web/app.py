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
from . import auth, banner, hub, incidents, lag, pages, plans, runs, sites, streams, trail, users
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
    Route("/plans/{plan}/{action}", plans.act, methods=["POST"]),
    Route("/runs", runs.overview),
    Route("/runs/{run}", runs.one),
    Route("/runs/{run}/board", runs.board),
    Route("/runs/{run}/stream", streams.of_run),
    Route("/runs/{run}/stop", runs.stop, methods=["POST"]),
    Route("/runs/{run}/rollback", runs.rollback, methods=["POST"]),
    Route("/runs/{run}/answer", runs.answer, methods=["POST"]),
    Route("/sites", sites.overview),
    Route("/sites/test", sites.test, methods=["POST"]),
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
