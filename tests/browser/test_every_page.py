# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Every page in light, dark and on a phone: nothing for axe-core to find, nothing wider than the phone; screenshots in var/screenshots."""

from __future__ import annotations

import contextlib
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
    heading: str
    fact: str  # what somebody comes for
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
    Sight("login", "/login", ready, "XDR", "Log in"),
    Sight("plans", "/", ready, "Plans", "last consistent point"),
    Sight("incidents-none", "/plans/{plan}/incidents", ready, "Incidents of webshop", "None: the plan has not been moved"),
    Sight("plan-ready", "/plans/{plan}", ready, "webshop ◆ READY", "Full compare"),
    Sight("plan-running", "/plans/{plan}", middle, "webshop ▶ FAILING_BACK", "now: final_sync"),
    Sight("plan-silent", "/plans/{plan}", silent, "webshop ● ACTIVE", "Did not answer at the last look: fra-hv1"),
    Sight("plan-halted", "/plans/{plan}", halted, "webshop ■ HALTED", "It asks: retry, skip or abort?"),
    Sight("run-queued", "/runs/{run}", queued, "failback of webshop ○ queued", "It waits for a worker"),
    Sight("run-middle", "/runs/{run}", middle, "failback of webshop ▶ running", "orders 16.0 MiB of 64.0 MiB"),
    Sight("run-halted", "/runs/{run}", halted, "failback of webshop ✖ failed", "cart: http did not pass"),
    Sight("run-home", "/runs/{run}", home, "failback of webshop ✔ done", "the plan is FAILED_BACK"),
    Sight("incidents", "/plans/{plan}/incidents", home, "Incidents of webshop", "▲ open"),
    Sight("incident", "/plans/{plan}/incidents/{run}", home, "Incident of webshop", "within the RTO of 15 min"),
    Sight("run-previewed", "/runs/{run}", previewed, "failback of webshop ✔ done", "sends 28.0 KiB"),
    Sight("run-paused", "/runs/{run}", paused, "failback of webshop ▶ running", "Are the <invoices> printed?"),
    Sight("plan-paused", "/plans/{plan}", paused, "webshop ◆ READY", "Are the <invoices> printed?"),
    Sight("run-diagnosed", "/runs/{run}", diagnosed, "diagnose of webshop ✔ done", "Mend the way between them"),
    Sight(
        "preview-none",
        "/plans/{plan}/preview/{action}",
        ready,
        "Preview: failover of webshop",
        "There is none yet",
        "/plans/{plan}/preview/failover",
    ),
    Sight("preview", "/plans/{plan}/preview/{action}", previewed, "Preview: failback of webshop", "sends 28.0 KiB"),
    Sight("windows-of-plan", "/plans/{plan}/windows", ready, "Maintenance windows of webshop", "3 to be asked"),
    Sight("windows", "/windows", ready, "Maintenance windows", "not asked Ben Koch"),
    Sight("answer", "/answer/{token}", invited, "May the services of webshop be interrupted?", "Anna Weber, you are asked"),
    Sight("runbook", "/plans/{plan}/runbook", ready, "Runbook of webshop", "plan: webshop"),
    Sight("priorities", "/plans/{plan}/runbook/priorities", ready, "Runbook of webshop", "shop-api, cart, pricing"),
    Sight("versions", "/plans/{plan}/runbook/versions", saved, "Runbook of webshop", "looked through"),
    Sight("version", "/plans/{plan}/runbook/versions/{version}", saved, "Runbook of webshop", "# looked through"),
    Sight("diagnosis-none", "/sites/{site}/diagnosis", ready, "What is wrong with frankfurt?", "Nobody has asked yet"),
    Sight("diagnosis", "/plans/{plan}/diagnosis", diagnosed, "What is wrong with webshop?", "fra-hv1 does not reach ams-hv1"),
    Sight("runs", "/runs", ready, "Runs", "otto portal"),
    Sight("sites", "/sites", ready, "Sites", "record on fra-hv1"),
    Sight("site", "/sites/{site}", measured, "frankfurt", "it is gone"),
    Sight("audit", "/audit", ready, "Audit trail", "plan webshop"),
    Sight("audit-verified", "/audit", ready, "Audit trail", "each as it was written", "/audit?verify=1"),
    Sight("users", "/users", ready, "Users", "dr-admin"),
    Sight("no-such-page", "/{path}", ready, "There is no such page", "To the plans", "/nothing"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def portal(folder: Path) -> Portal:
    return made(folder)


def made(folder: Path) -> Portal:
    one = Portal(folder, environment(folder, recurring(time.time() + 2 * 86_400) + PEOPLE))
    one.worker()
    return one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def page(browser: Browser, portal: Portal, folder: Path) -> Iterator[Page]:
    with tab(browser, portal, folder) as one:
        yield one


@contextlib.contextmanager
def tab(browser: Browser, portal: Portal, folder: Path, *, scripts: bool = True) -> Iterator[Page]:
    """Of a dr-admin, with the portal served."""
    with served(portal.inventory, folder) as address:
        context = browser.new_context(viewport=LAPTOP, base_url=address, java_script_enabled=scripts)  # type: ignore[arg-type]
        context.add_cookies([{"name": "xdr_session", "value": portal.session(Role.dr_admin), "url": address}])
        yield context.new_page()
        context.close()


def go(page: Page, sight: Sight, named: Run | str | None) -> None:
    """To the page; the one to log in at is only there for who has not."""
    cookies = page.context.cookies()
    if sight.route == "/login":
        page.context.clear_cookies()
    page.goto(sight.address(named))
    page.context.add_cookies(cookies)  # type: ignore[arg-type]


def test_no_page_is_forgotten() -> None:
    pages = {route.path for route in ROUTES if isinstance(route, Route) and route.methods and "GET" in route.methods}
    assert pages - NO_PAGES == {sight.route for sight in SIGHTS} - {"/{path}"}


@pytest.mark.parametrize("sight", SIGHTS, ids=lambda sight: sight.name)
def test_a_page(sight: Sight, page: Page, portal: Portal) -> None:
    run = sight.seed(portal)
    page.set_viewport_size(LAPTOP)  # type: ignore[arg-type]
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    go(page, sight, run)
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


def test_without_javascript_every_page_is_there_to_read(browser: Browser, tmp_path: Path) -> None:
    portal, missing = made(tmp_path), list[str]()
    with tab(browser, portal, tmp_path, scripts=False) as page:
        for sight in SIGHTS:
            go(page, sight, sight.seed(portal))
            main, title = page.get_by_role("main"), page.get_by_role("heading", level=1).inner_text()
            told = [main.inner_text(), *(area.input_value() for area in main.locator("textarea:visible").all())]
            missing += [] if sight.heading in title else [f"{sight.name}: the heading is {title}"]
            missing += [] if sight.fact in "\n".join(told) else [f"{sight.name}: does not tell {sight.fact}"]
            missing += [f"{sight.name}: tells of a lost connection"] if page.locator("#offline").is_visible() else []
            _ended(portal)
    assert not missing, "\n".join(missing)


def shot(page: Page, name: str, how: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"every-{name}-{how}.png", full_page=True)
