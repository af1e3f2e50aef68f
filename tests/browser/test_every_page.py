# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Every page in light, dark and on a phone: nothing for axe-core to find, nothing wider than the phone; screenshots in var/screenshots."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from starlette.routing import Route

from portal import PROJECT
from portal.achieved import Achieved
from portal.actions import asked
from portal.diagnosis.finding import Finding
from portal.store import checks, links, runs
from portal.store.runs import Run
from portal.web.app import ROUTES
from tests.support import axe
from tests.support.browsers import chromium, served
from tests.support.pages import filled, invited, saved
from tests.support.portal import PLAN, Portal, Role, failback, pause, plan, seen, timed
from tests.support.windows import PEOPLE, environment, recurring

pytestmark = pytest.mark.browser

SHOTS = PROJECT / "var" / "screenshots"
LAPTOP = {"width": 1366, "height": 768}
PHONE = {"width": 390, "height": 844}
NO_PAGES = {  # parts of pages, data
    *("/healthz", "/banner", "/stream", "/windows.ics", "/plans/{plan}/windows.ics"),
    *("/plans/{plan}/lag", "/sites/{site}/links", "/runs/{run}/board", "/runs/{run}/stream"),
}


@dataclass(frozen=True)
class Sight:
    """A page in one state. ``seed`` brings the store there, and tells what the path names: a run, a version or the token of a link."""

    name: str
    route: str
    seed: Callable[[Portal], Run | str | None]
    path: str = ""  # where it is not the route itself

    def address(self, named: Run | str | None) -> str:
        wanted = str(named.id if isinstance(named, Run) else named)
        return filled(self.path or self.route, run=wanted, version=wanted, token=wanted)


def ready(portal: Portal) -> None:
    portal.see()


def queued(portal: Portal) -> Run:
    return portal.request("failback")


def _ended(portal: Portal) -> None:
    for run in runs.unended(portal.store):
        portal.finish(run)


def middle(portal: Portal) -> Run:
    run = portal.request("failback")
    runs.begin(portal.store, run.id, "here-1")
    for number, batch in enumerate(failback()):
        if number > 9:
            break
        portal.tell(run, timed(batch))
    return run


def home(portal: Portal) -> Run:
    run = portal.request("failback")
    runs.begin(portal.store, run.id, "here-1")
    for batch in failback():
        portal.tell(run, timed(batch))
    cost = Achieved(4.5, time.time() - 60, time.time() - 55.5, targets=plan()["targets"])
    portal.finish(run, changed=20, state="FAILED_BACK", achieved=cost.to_json(), seconds=9.0)
    portal.see(**seen("FAILED_BACK", "primary", epoch=5, lag="unknown", age="unknown"))
    return run


def halted(portal: Portal) -> Run:
    return portal.halts()


def previewed(portal: Portal) -> Run:
    portal.see()
    return portal.previews()


def paused(portal: Portal) -> Run:
    portal.see()
    run = portal.request("failback")
    runs.begin(portal.store, run.id, "here-1")
    portal.tell(run, timed([{"kind": "started", "action": "failback", "plan": PLAN, "playbook": "failback.yml", "check": False}]))
    portal.tell(run, [pause("open", time.time() + 600)])
    return run


def diagnosed(portal: Portal) -> Run:
    run = runs.request(portal.store, asked("diagnose", PLAN, by="otto", origin="portal"))
    found = [
        Finding("link", "wrong", "fra-hv1 does not reach ams-hv1", "Mend the way between them", ("TCP: no answer in 5 s",)),
        Finding("clock", "unknown", "The clock of fra-hv1 is not known", "Look whether it answers"),
        Finding("lag", "ok", "The copy is within its RPO"),
    ]
    portal.finish(run, findings=[one.to_json() for one in found])
    return run


def measured(portal: Portal) -> None:
    wanted = {"host": "fra-hv1", "check": "agent", "wanted": "it runs"}
    checks.keep(portal.store, [{**wanted, "result": "ok", "found": "0.1.0"}])
    checks.keep(portal.store, [{**wanted, "result": "failed", "found": "it is gone"}])
    links.keep(portal.store, [{"from": "fra-hv1", "to": "ams-hv1", "latency_ms": 4.25, "bytes_per_s": 3 << 20}])


def silent(portal: Portal) -> None:
    portal.see(**seen("ACTIVE", "primary", unreachable=["fra-hv1"], lag=5 << 20, age=9.0))


SIGHTS = (
    Sight("login", "/login", ready),
    Sight("plans", "/", ready),
    Sight("plan-ready", "/plans/{plan}", ready),
    Sight("plan-running", "/plans/{plan}", middle),
    Sight("plan-silent", "/plans/{plan}", silent),
    Sight("plan-halted", "/plans/{plan}", halted),
    Sight("incidents-none", "/plans/{plan}/incidents", ready),
    Sight("run-queued", "/runs/{run}", queued),
    Sight("run-middle", "/runs/{run}", middle),
    Sight("run-halted", "/runs/{run}", halted),
    Sight("run-home", "/runs/{run}", home),
    Sight("incidents", "/plans/{plan}/incidents", home),
    Sight("incident", "/plans/{plan}/incidents/{run}", home),
    Sight("run-previewed", "/runs/{run}", previewed),
    Sight("run-paused", "/runs/{run}", paused),
    Sight("plan-paused", "/plans/{plan}", paused),
    Sight("run-diagnosed", "/runs/{run}", diagnosed),
    Sight("preview-none", "/plans/{plan}/preview/{action}", ready, "/plans/{plan}/preview/failover"),
    Sight("preview", "/plans/{plan}/preview/{action}", previewed),
    Sight("windows-of-plan", "/plans/{plan}/windows", ready),
    Sight("windows", "/windows", ready),
    Sight("answer", "/answer/{token}", invited),
    Sight("runbook", "/plans/{plan}/runbook", ready),
    Sight("priorities", "/plans/{plan}/runbook/priorities", ready),
    Sight("versions", "/plans/{plan}/runbook/versions", saved),
    Sight("version", "/plans/{plan}/runbook/versions/{version}", saved),
    Sight("diagnosis-none", "/sites/{site}/diagnosis", ready),
    Sight("diagnosis", "/plans/{plan}/diagnosis", diagnosed),
    Sight("runs", "/runs", ready),
    Sight("sites", "/sites", ready),
    Sight("site", "/sites/{site}", measured),
    Sight("audit", "/audit", ready),
    Sight("audit-verified", "/audit", ready, "/audit?verify=1"),
    Sight("users", "/users", ready),
    Sight("no-such-page", "/{path}", ready, "/nothing"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def portal(folder: Path) -> Portal:
    one = Portal(folder, environment(folder, recurring(time.time() + 2 * 86_400) + PEOPLE))
    one.worker()
    return one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def page(browser: Browser, portal: Portal, folder: Path) -> Iterator[Page]:
    with served(portal.inventory, folder) as address:
        context = browser.new_context(viewport=LAPTOP, base_url=address)  # type: ignore[arg-type]
        context.add_cookies([{"name": "xdr_session", "value": portal.session(Role.dr_admin), "url": address}])
        one = context.new_page()
        yield one
        context.close()


def test_no_page_is_forgotten() -> None:
    pages = {route.path for route in ROUTES if isinstance(route, Route) and route.methods and "GET" in route.methods}
    assert pages - NO_PAGES == {sight.route for sight in SIGHTS} - {"/{path}"}


@pytest.mark.parametrize("sight", SIGHTS, ids=lambda sight: sight.name)
def test_a_page(sight: Sight, page: Page, portal: Portal) -> None:
    run = sight.seed(portal)
    page.set_viewport_size(LAPTOP)  # type: ignore[arg-type]
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.goto(sight.address(run))
    shot(page, sight.name, "light")
    found = axe.violations(page)
    page.emulate_media(color_scheme="dark")
    shot(page, sight.name, "dark")
    found += [f"dark: {one}" for one in axe.violations(page, axe.COLOURS)]
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    shot(page, sight.name, "phone")
    if (width := page.evaluate("document.scrollingElement.scrollWidth")) > PHONE["width"]:
        found.append(f"{width} px wide")
    _ended(portal)
    assert not found, "\n".join(found)


def shot(page: Page, name: str, how: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"every-{name}-{how}.png", full_page=True)
