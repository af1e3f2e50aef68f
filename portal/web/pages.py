# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Pages from their templates, with what all of them show: who is logged in, whether a worker runs, and how old things are."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from .. import preview, units
from ..store import Store, damage, runs, workers
from ..store.accounts import Role
from . import signs
from .desk import desk
from .headers import HEADERS
from .visit import Visit

TEMPLATES = Path(__file__).parent / "templates"


@cache
def _templates() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {"size": units.size, "seconds": units.seconds}
    made.filters |= {"ago": ago, "lasted": lasted, "left": left, "clock": clock, "since": since, "iso": iso, "utc": units.utc}
    made.filters |= {"time_of_day": time_of_day, "lasts": preview.lasts, "bytes": preview.size, "rows": preview.rows}
    made.globals |= {"sign": signs.sign, "of_run": signs.of_run, "Role": Role, "BANNER": preview.BANNER}
    return made


def compile_all() -> None:
    """Every template, which otherwise is compiled when its page is asked for the first time."""
    for name in _templates().list_templates():
        _templates().get_template(name)


def clock(at: float | None) -> str:
    """The time of day, with the day where it is another than today; UTC beside it."""
    if not at:
        return units.UNKNOWN
    day = "" if time.localtime(at)[:3] == time.localtime()[:3] else "%Y-%m-%d "
    return _moment(at, time.strftime(f"{day}%H:%M:%S", time.localtime(at)))


def time_of_day(at: float) -> str:
    """For the parts of what has its day told already."""
    return _moment(at, time.strftime("%H:%M:%S", time.localtime(at)))


def since(at: Any) -> str:
    """Day and time of day, UTC beside it."""
    return _moment(at, units.since(at)) if isinstance(at, (int, float)) and at else units.UNKNOWN


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _moment(at: float, text: str) -> Markup:
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso(at), units.utc(at), text)


def ago(at: float | None) -> str:
    """xdr.js says the same, and goes on with it."""
    if not at:
        return units.UNKNOWN
    passed = max(0, round(time.time() - at))
    if passed < 60:
        return f"{passed} s ago"
    minutes, hours = passed // 60, passed // 3600
    if minutes < 60:
        return f"{minutes} min ago"
    return f"{hours} h {minutes % 60} min ago" if hours < 48 else f"{hours // 24} days ago"


def lasted(begin: float) -> str:
    """How long what began then has lasted; xdr.js goes on with it, too."""
    passed = max(0, round(time.time() - begin))
    minutes, hours = passed // 60, passed // 3600
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {passed % 60} s" if minutes else f"{passed} s"


def left(at: float) -> str:
    """How long it is until then; xdr.js counts on."""
    return lasted(2 * time.time() - at) if at > time.time() else "0 s"


def page(visit: Visit, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page for a known user; ``refusal`` among the values is shown above everything else."""
    state = visit.desk
    shared = {
        "session": visit.session,
        "user": visit.user,
        "stamp": state.hub.changes.stamp(),
        "worker_runs": serving(state.store),
        "problem": state.inventory.error,
        "path": visit.request.url.path,
    }
    return _rendered(template, status, **{"refusal": "", **shared, **values})


def printed(template: str, **values: Any) -> str:
    """A page as a file of its own: no menus, no scripts, its style within."""
    style = (TEMPLATES.parent.parent / "static" / "report.css").read_text(encoding="utf-8")
    return _templates().get_template(template).render(now=time.time(), zone=time.strftime("%Z"), style=style, **values)


def bare(request: Request, template: str, status: int = 200, headers: dict[str, str] | None = None, **values: Any) -> HTMLResponse:
    """A page for whoever comes."""
    return _rendered(template, status, headers, session=None, refusal="", path=request.url.path, **values)


def _rendered(template: str, status: int, headers: dict[str, str] | None = None, **values: Any) -> HTMLResponse:
    zone = time.strftime("%Z")
    return HTMLResponse(_templates().get_template(template).render(now=time.time(), zone=zone, **values), status, headers)


_STORE = {  # by the error's code; who is not logged in learns neither where it is nor what it said
    "database": ("The store does not answer", "The page comes back with it. Why is in the portal's own log. No run is touched by it."),
    damage.CODE: ("The store is damaged", f"{damage.TODO}. Which file it is tells the portal's own log."),
}
_TITLES = {400: "That request was not understood", 403: "Not allowed", 404: "There is no such page", 500: "The portal broke"}


def serving(store: Store) -> bool:
    """Whether a worker lives that executes what is asked for here."""
    return any(worker.serves for worker in workers.alive(store))


async def error(request: Request, failure: Exception) -> Response:
    """A refused or failed request in the style of the other pages."""
    if isinstance(failure, XdrError) and failure.code in _STORE:
        title, told = _STORE[failure.code]
        return bare(request, "error.html", 503, HEADERS, title=title, told=told)
    status = int(getattr(failure, "status_code", 500))
    told = str(getattr(failure, "detail", "")) if status != 500 else "What happened is in the portal's own log. No run is touched by it."
    title = _TITLES.get(status, "That did not work")
    headers = {**HEADERS, **(getattr(failure, "headers", None) or {})}  # what broke the portal is answered outside of its middleware
    return bare(request, "error.html", status, headers, title=title, told="" if status == 404 and told == "Not Found" else told)


def health(request: Request) -> Response:
    """For a monitor: whether the portal reads its store."""
    try:
        runs.latest(desk(request).store, limit=1)
    except Exception:
        return Response("the store cannot be read\n", 503, media_type="text/plain")
    return Response("ok\n", media_type="text/plain")
