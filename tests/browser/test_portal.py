# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The portal in a real browser, over a store that a thread fills as a worker would. Screenshots are left in var/screenshots."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from portal import PROJECT
from portal.achieved import Achieved
from portal.store import observations, runs, tables, workers
from tests.support.browsers import chromium, served
from tests.support.portal import NAMES, PASSWORD, PLAN, Portal, Role, failback, plan, resource, seen, timed
from tests.support.proxy import Proxy

pytestmark = pytest.mark.browser

SHOTS = PROJECT / "var" / "screenshots"
LAPTOP = {"width": 1366, "height": 768}
PHONE = {"width": 360, "height": 740}
PACE = 0.15  # seconds between two batches of events: slow enough to be seen


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture
def portal(tmp_path: Path) -> Portal:
    one = Portal(tmp_path)
    one.worker()
    one.see()
    observations.put(one.store, observations.SITES, sites())
    return one


@pytest.fixture
def address(portal: Portal, tmp_path: Path) -> Iterator[str]:
    with served(portal.inventory, tmp_path) as one:
        yield one


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def page(browser: Browser, address: str, scheme: str) -> Iterator[Page]:
    """A laptop's window; whatever the page says in its console is an error of ours."""
    context: BrowserContext = browser.new_context(viewport=LAPTOP, color_scheme=scheme, base_url=address)  # type: ignore[arg-type]
    one = context.new_page()
    said: list[str] = []
    one.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    one.on("pageerror", lambda error: said.append(str(error)))
    one.on("dialog", lambda dialog: dialog.accept())
    yield one
    context.close()
    assert said == []


def sites() -> dict[str, object]:
    hosts = ("fra-hv1", "ams-hv1", "edge1")
    reason = ["/var/lib/xdr: 4.1 GiB free of 40.0 GiB, below 15 %"]
    legs = [
        {"from": start, "to": end, "result": "CONNECTED", "ms": 41, "tcp_ms": 1, "why": None}
        for start in ("controller", *hosts)
        for end in hosts
        if start != end
    ]
    legs[-1].update(result="HOST_KEY", ms=None, why="the host shows another key than the pinned one")
    health = ("Healthy", "Degraded", "Healthy")
    told = [{"host": host, "health": one, "reasons": reason if one == "Degraded" else []} for host, one in zip(hosts, health, strict=True)]
    return {"hosts": told, "connectivity": legs, "exit_code": 0, "error": ""}


def login(page: Page, role: Role) -> None:
    page.goto("/")
    page.get_by_label("Name").fill(NAMES[role])
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Plans")).to_be_visible()


def begin(page: Page) -> None:
    """A failback, confirmed by the plan's name."""
    page.locator("#do-failback").get_by_label("to confirm").fill(PLAN)
    page.get_by_role("button", name="Failback").click()


def shot(page: Page, name: str, scheme: str, *, whole: bool = False) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}-{scheme}.png", full_page=whole)


class Worker(threading.Thread):
    """Executes the failback that is asked for next, in the store only."""

    def __init__(self, portal: Portal, fail_in: str = "") -> None:
        super().__init__(daemon=True)
        self.portal, self.fail_in = portal, fail_in
        self.half = threading.Event()  # set when it is in the middle, where it waits for `on`
        self.on = threading.Event()

    def run(self) -> None:
        store = self.portal.store
        while not (waiting := runs.unended(store)):
            time.sleep(0.05)
        run = waiting[0]
        runs.begin(store, run.id, "here-1")
        for number, batch in enumerate(failback(self.fail_in)):
            self.portal.tell(run, timed(batch))
            if number == 10:
                self.half.set()
                self.on.wait(60)
            time.sleep(PACE)
        error = "fra-hv1: cart: http did not pass (Connection refused). Read the log of the resource" if self.fail_in else ""
        state = "HALTED" if self.fail_in else "FAILED_BACK"
        self.portal.finish(run, exit_code=2 if self.fail_in else 0, code="unhealthy" * bool(error), error=error, seconds=9, state=state)
        self.portal.see(**seen(state, "primary", epoch=5, lag="unknown", age="unknown"))


def test_a_failback_from_login_to_its_end(page: Page, portal: Portal, scheme: str) -> None:
    page.goto("/")
    shot(page, "login", scheme)
    login(page, Role.operator)
    expect(page.locator("#plan-webshop")).to_contain_text("READY")
    expect(page.locator("#plan-webshop")).to_contain_text("amsterdam")
    shot(page, "plans", scheme)
    page.get_by_role("link", name=PLAN).click()
    expect(page.get_by_role("button", name="Failback")).to_be_enabled()
    shot(page, "plan-ready", scheme)
    shot(page, "plan-ready-whole", scheme, whole=True)

    worker = Worker(portal)
    worker.start()
    begin(page)
    page.wait_for_url("**/runs/*")
    assert worker.half.wait(30)
    expect(page.locator(".steps li.running")).to_contain_text("final_sync")
    expect(page.locator(".steps li.running .begin")).to_have_text(re.compile(r"^began \d\d:\d\d:\d\d$"))
    expect(page.locator("#board")).to_contain_text("40.0 MiB of 64.0 MiB")
    expect(page.locator("#log")).to_contain_text("orders-db: Stopping")
    shot(page, "run-middle", scheme)
    shot(page, "run-middle-whole", scheme, whole=True)
    other = page.context.new_page()
    other.goto(f"/plans/{PLAN}")
    expect(other.locator("#do-failback")).to_contain_text("Another run is active")
    expect(other.locator("#do-rollback button").first).to_be_enabled()
    shot(other, "plan-running", scheme)

    worker.on.set()
    expect(page.locator("#outcome")).to_contain_text("FAILED_BACK", timeout=20_000)
    expect(page.locator("#outcome")).to_contain_text("Reprotect now")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    numbers = page.locator("#log li").evaluate_all("rows => rows.map(row => Number(row.id.slice(1)))")
    assert numbers == list(range(1, len(numbers) + 1))
    shot(page, "run-end", scheme)
    expect(other.locator("#plan")).to_contain_text("FAILED_BACK")  # it was not loaded again
    expect(other.get_by_role("button", name="Reprotect")).to_be_enabled()
    shot(other, "plan-home", scheme)
    other.close()


def test_a_failback_that_fails_and_is_asked_to_roll_back(page: Page, portal: Portal, scheme: str) -> None:
    login(page, Role.operator)
    worker = Worker(portal, fail_in="health_checks")
    worker.start()
    page.goto(f"/plans/{PLAN}")
    begin(page)
    page.wait_for_url("**/runs/*")
    assert worker.half.wait(30)
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator("#board")).to_contain_text("being rolled back, as otto asked")
    expect(page.get_by_role("button", name="Roll back")).to_be_disabled()
    worker.on.set()
    expect(page.locator("#outcome")).to_contain_text("Connection refused", timeout=20_000)
    expect(page.locator("#log li.fail").first).to_be_visible()
    shot(page, "run-failed", scheme)
    page.goto(f"/plans/{PLAN}")
    expect(page.locator("#plan")).to_contain_text("HALTED")
    shot(page, "plan-halted", scheme)


def test_a_halted_failback_asks_and_is_answered(page: Page, portal: Portal, scheme: str) -> None:
    run = portal.halts()
    login(page, Role.operator)
    page.goto(f"/runs/{run.id}")
    expect(page.locator("#question")).to_contain_text("Recommended: only health checks failed")
    shot(page, "run-asks-whole", scheme, whole=True)
    page.goto(f"/plans/{PLAN}")
    page.get_by_label("Why may they be left out?").fill("the check asks for a page that is gone")
    shot(page, "plan-asks", scheme)
    shot(page, "plan-asks-whole", scheme, whole=True)
    found = observations.get(portal.store, observations.of_plan(PLAN))
    assert found
    assert found.document
    portal.see(**{**found.document, "unreachable": ["ams-hv1"]})
    expect(page.locator("#question")).to_contain_text("ams-hv1 did not answer, and neither way goes without that")
    expect(page.locator("#question .facts")).to_contain_text("unknown")
    assert page.get_by_label("Why may they be left out?").input_value() == "the check asks for a page that is gone"
    shot(page, "plan-asks-silent", scheme)
    page.get_by_role("button", name="Skip").click()
    page.wait_for_url("**/runs/*failback*")
    expect(page.locator("#board")).to_contain_text("It is the answer skip to what")
    expect(page.locator("#board")).to_contain_text("the check asks for a page that is gone")
    expect(page.locator("#log")).to_contain_text("otto answered: skip")
    page.goto(f"/runs/{run.id}")
    expect(page.locator("#outcome")).to_contain_text("otto answered failback")
    expect(page.locator("#question")).to_have_count(0)


def test_the_time_that_a_failback_has_left(page: Page, portal: Portal, scheme: str) -> None:
    login(page, Role.operator)
    page.goto(f"/plans/{PLAN}")
    soon = time.localtime(time.time() + 2 * 3600)
    page.get_by_label("The window ends at").fill(time.strftime("%H:%M", soon))
    shot(page, "plan-window", scheme)
    begin(page)
    page.wait_for_url("**/runs/*")
    (run,) = runs.unended(portal.store)
    runs.begin(portal.store, run.id, "here-1")
    portal.tell(run, timed(next(failback())))
    left = page.locator("#deadline time")
    expect(left).to_contain_text("1 h 5")
    expect(page.locator("#deadline")).to_contain_text("less 5 min for a rollback (assumed")
    shot(page, "run-deadline", scheme)


def test_what_is_typed_outlives_a_refresh(page: Page, portal: Portal, scheme: str) -> None:
    portal.see(**seen("ACTIVE", "primary", unreachable=["fra-hv1"], lag=5 << 20, age=9.0))
    login(page, Role.dr_admin)
    page.goto(f"/plans/{PLAN}")
    page.get_by_label("Who saw that it is off").fill("Weber, on site: power is cut")
    page.locator("h1").click()
    shot(page, "plan-primary-silent", scheme)
    portal.see(**seen("ACTIVE", "primary", unreachable=["fra-hv1"], lag=6 << 20, age=19.0))
    expect(page.locator("#plan .facts")).to_contain_text("6.0 MiB")
    assert page.get_by_label("Who saw that it is off").input_value() == "Weber, on site: power is cut"


def test_sites_users_audit_and_runs(page: Page, portal: Portal, scheme: str) -> None:
    login(page, Role.dr_admin)
    page.goto("/sites")
    shot(page, "sites", scheme)
    page.get_by_role("button", name="Test Connectivity").click()
    page.wait_for_url("**/runs/*")
    page.goto("/sites")
    expect(page.get_by_role("button", name="Test Connectivity")).to_be_disabled()
    page.goto("/users")
    page.get_by_label("Name").fill("night-shift")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#made")).to_contain_text("night-shift")
    shot(page, "users", scheme)
    page.goto("/audit")
    expect(page.get_by_role("main")).to_contain_text("user night-shift")
    shot(page, "audit", scheme)
    page.goto("/runs")
    shot(page, "runs", scheme)


def test_a_plan_is_edited(page: Page, scheme: str) -> None:
    """Errors at the line while one types, the order at once, groups moved by keys and by dragging; nothing is saved here."""
    login(page, Role.operator)
    page.goto(f"/plans/{PLAN}")
    page.get_by_role("link", name="the runbook").click()
    text = page.get_by_label(f"YAML of {PLAN}")
    before = text.input_value()
    text.fill(before.replace("priority: 3", "priorty: 3"))
    line = before.splitlines().index("    priority: 3") + 1
    expect(page.locator(f"#L{line}")).to_have_class("bad")
    page.locator("#problems a").last.click()
    assert text.evaluate("area => area.value.slice(area.selectionStart, area.selectionEnd)") == "priorty: 3"
    expect(page.locator("#field-help")).to_contain_text(f"line {line}: unknown field; did you mean 'priority'?")
    shot(page, "runbook-wrong", scheme)
    text.fill(before.replace("priority: 3", "priority: 3\n").replace("priority: 1 ", "priority: 4 "))
    expect(page.locator("#problems")).to_contain_text("It validates")
    expect(page.locator(".order").last.locator("strong")).to_have_text(["database", "frontend", "application"])
    expect(page.locator("#gutter span")).to_have_count(before.count("\n") + 2)
    shot(page, "runbook", scheme)
    page.get_by_role("button", name="Differences, and save").click()
    expect(page.locator("tr.more").first).to_contain_text("priority: 4")
    expect(page.get_by_role("main")).to_contain_text("Saving takes the role dr-admin")
    shot(page, "runbook-review", scheme, whole=True)
    page.get_by_role("link", name="Priorities").click()
    page.get_by_role("button", name="frontend starts earlier").press("ArrowUp")
    expect(page.locator(".order").first.locator("strong")).to_have_text(["database", "frontend", "application"])
    expect(page.get_by_role("button", name="frontend starts earlier")).to_be_focused()
    page.locator("tr[data-group=database]").drag_to(page.locator("tr[data-group=application]"))
    expect(page.locator(".order").first.locator("strong")).to_have_text(["frontend", "application", "database"])
    assert [page.get_by_label(f"Priority of {group}").input_value() for group in ("frontend", "application", "database")] == ["1", "2", "3"]
    shot(page, "priorities", scheme)


def test_no_page_is_wider_than_a_phone(page: Page, portal: Portal, scheme: str) -> None:
    run = portal.request("failback")
    runs.begin(portal.store, run.id, "here-1")
    for batch in failback("health_checks"):
        portal.tell(run, timed(batch))
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    login(page, Role.dr_admin)
    for name, path in (
        ("plans", "/"),
        ("plan", f"/plans/{PLAN}"),
        ("run", f"/runs/{run.id}"),
        ("runbook", f"/plans/{PLAN}/runbook"),
        ("priorities", f"/plans/{PLAN}/runbook/priorities"),
        ("versions", f"/plans/{PLAN}/runbook/versions"),
        *((name, f"/{name}") for name in ("sites", "runs", "users", "audit")),
    ):
        page.goto(path)
        shot(page, f"phone-{name}", scheme, whole=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path


def test_without_javascript_everything_is_there_to_read(browser: Browser, address: str, portal: Portal) -> None:
    context = browser.new_context(java_script_enabled=False, base_url=address)
    page = context.new_page()
    login(page, Role.operator)
    run = portal.request("failback")
    runs.begin(portal.store, run.id, "here-1")
    for batch in failback():
        last = portal.tell(run, timed(batch))
    page.goto(f"/plans/{PLAN}")
    expect(page.locator("#plan")).to_contain_text("Another run is active")
    page.get_by_role("button", name="Watch it").click()
    expect(page.locator("#log li")).to_have_count(last)
    expect(page.locator("#offline")).to_be_hidden()
    context.close()


def test_a_preview_cannot_be_missed_and_starts_what_it_shows(page: Page, portal: Portal, scheme: str) -> None:
    run = portal.previews()
    login(page, Role.operator)
    page.goto(f"/runs/{run.id}")
    shot(page, "preview-whole", scheme, whole=True)
    banner, confirm = page.locator(".preview-banner"), page.locator("#start").get_by_label("to confirm")
    confirm.fill(PLAN)
    page.locator("#start").scroll_into_view_if_needed()
    expect(banner).to_be_in_viewport()
    page.locator("#approve button").click()
    expect(page.locator("#approvals")).to_contain_text("otto (portal) approved it")
    confirm.fill(PLAN)
    portal.see(**seen(lag=5 << 20))
    expect(page.locator(".what")).to_contain_text("5.0 MiB")
    assert confirm.input_value() == PLAN
    shot(page, "preview-approved", scheme)
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    expect(banner).to_be_in_viewport()
    shot(page, "preview-phone", scheme, whole=True)
    page.locator("#start button").click()
    page.wait_for_url("**/runs/*")
    expect(page.locator("#approved")).to_contain_text(f"as the preview {run.id} shows it")
    expect(banner).to_have_count(0)


def test_the_keyboard_alone_starts_a_check(page: Page, portal: Portal) -> None:
    login(page, Role.operator)
    page.goto(f"/plans/{PLAN}")
    page.locator("#do-failback button[name=check]").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/*")
    expect(page.locator("#board")).to_contain_text("Only checking")


def test_the_lag_over_time(page: Page, portal: Portal, scheme: str) -> None:
    now = time.time()
    looks = [
        {"plan": PLAN, "at": now - 86400 + 300 * n, "bytes": 1e6 * (1 + n % 9), "age": None if 90 < n < 100 else 20.0 + 3 * (n % 100)}
        for n in range(288)
    ]
    with portal.store.writing() as connection:
        connection.execute(tables.lags.insert(), looks)
    login(page, Role.viewer)
    page.goto(f"/plans/{PLAN}")
    expect(page.locator("#lag")).to_contain_text("Last 24 hours: at worst 5 min 17 s old")
    expect(page.locator("#lag-chart .u-legend")).to_contain_text("age of the last consistent point")
    page.locator("#lag").screenshot(path=SHOTS / f"lag-{scheme}.png")
    page.get_by_role("button", name="7 days").click()
    expect(page.get_by_role("button", name="7 days")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#lag-chart .uplot")).to_have_count(1)


def test_the_report_of_an_incident(page: Page, portal: Portal, scheme: str) -> None:
    portal.halts()
    home = portal.request("failback")
    for batch in failback():
        portal.tell(home, timed(batch))
    cost = Achieved(4.5, time.time() - 60, time.time() - 55.5, targets=plan()["targets"])
    portal.finish(home, changed=20, state="FAILED_BACK", achieved=cost.to_json())
    login(page, Role.operator)
    page.goto(f"/plans/{PLAN}")
    page.get_by_role("link", name="Incidents and their reports").click()
    page.locator("table.rows tbody a").first.click()
    expect(page.locator("#costs")).to_contain_text("within RTO")
    expect(page.locator("#issues")).to_contain_text("cart: http did not pass")
    page.get_by_label("Add a note").fill("Cause: the switch in rack 4.\nTo do: a second one.")
    page.get_by_role("button", name="Add").click()
    expect(page.locator(".note").first).to_contain_text("Cause: the switch in rack 4.")
    page.get_by_label("It ticks, where no run has shown it").select_option("traffic")
    page.get_by_label("Add a note").fill("DNS was moved by hand")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#checklist")).to_contain_text("“DNS was moved by hand”")
    shot(page, "incident", scheme, whole=True)
    expect(page.locator("#costs").get_by_role("link", name=home.id)).to_be_visible()
    page.emulate_media(media="print")
    expect(page.locator(".top")).to_be_hidden()
    expect(page.get_by_label("Add a note")).to_be_hidden()
    expect(page.locator("#timeline")).to_be_visible()
    shot(page, "incident-paper", scheme, whole=True)


def test_a_stream_that_is_down(browser: Browser, portal: Portal, address: str) -> None:
    """What would start something waits until the page is fresh, Stop and Roll back do not; no event of the gap is missed or doubled."""
    run = portal.request("failback")
    runs.begin(portal.store, run.id, "here-1")
    batches = failback()
    for _ in range(6):
        portal.tell(run, timed(next(batches)))
    with Proxy(int(address.rpartition(":")[2])) as proxy:
        context = browser.new_context(viewport=LAPTOP, base_url=f"http://127.0.0.1:{proxy.port}")  # type: ignore[arg-type]
        context.add_cookies([{"name": "xdr_session", "value": portal.session(Role.operator), "url": f"http://127.0.0.1:{proxy.port}"}])
        page, other = context.new_page(), context.new_page()
        page.goto(f"/runs/{run.id}")
        other.goto(f"/plans/{PLAN}")
        last = portal.tell(run, timed(next(batches)))
        expect(page.locator("#log li")).to_have_count(last)
        expect(other.get_by_role("button", name="Verify primary")).to_be_enabled()
        expect(page.locator("#offline")).to_be_hidden()

        proxy.cut()
        last = portal.tell(run, timed([*next(batches), *next(batches)]))
        for one in (page, other):
            expect(one.locator("#offline")).to_contain_text("last event")
            expect(one.locator("#offline")).to_be_visible()
        expect(other.get_by_role("button", name="Verify primary")).to_be_disabled()
        expect(other.get_by_role("button", name="Rollback", exact=True)).to_be_enabled()
        for name in ("Stop after this step", "Roll back"):
            expect(page.get_by_role("button", name=name)).to_be_enabled()
        counted = page.locator("#last-heard").inner_text()
        expect(page.locator("#last-heard")).not_to_have_text(counted)
        shot(page, "run-offline", "light")
        shot(other, "plan-offline", "light")

        proxy.mend()
        for one in (page, other):
            expect(one.locator("#offline")).to_be_hidden(timeout=30_000)
        expect(other.get_by_role("button", name="Verify primary")).to_be_enabled()
        expect(page.locator("#log li")).to_have_count(last)
        assert _numbers(page) == list(range(1, last + 1))
        expect(page.locator(".steps li.running")).to_contain_text("final_sync")
        context.close()


def test_nothing_that_is_read_moves_when_the_worker_is_gone(page: Page, portal: Portal, scheme: str) -> None:
    login(page, Role.operator)
    page.goto(f"/plans/{PLAN}")
    title, banner = page.locator("h1"), page.locator("#banner")
    place = title.bounding_box()
    workers.left(portal.store, "here-1")
    expect(banner).to_contain_text("No worker runs", timeout=30_000)
    expect(banner).to_be_in_viewport()
    shot(page, "plan-no-worker", scheme)
    assert title.bounding_box() == place
    portal.worker()
    expect(banner).not_to_contain_text("No worker runs", timeout=30_000)
    assert title.bounding_box() == place


def test_a_stream_that_falls_silent(browser: Browser, portal: Portal, address: str) -> None:
    """A link may break without a word: no sign of life for long counts as down."""
    run = portal.request("failback")
    runs.begin(portal.store, run.id, "here-1")
    portal.tell(run, timed(next(failback())))
    with Proxy(int(address.rpartition(":")[2])) as proxy:
        context = browser.new_context(viewport=LAPTOP, base_url=f"http://127.0.0.1:{proxy.port}")  # type: ignore[arg-type]
        context.add_cookies([{"name": "xdr_session", "value": portal.session(Role.operator), "url": f"http://127.0.0.1:{proxy.port}"}])
        page = context.new_page()
        page.clock.install()
        page.goto(f"/runs/{run.id}")
        last = portal.tell(run, timed([resource("cart", "Stopping")]))
        expect(page.locator("#log li")).to_have_count(last)
        proxy.freeze()
        last = portal.tell(run, timed([resource("cart", "Failed")]))
        page.clock.run_for(14_000)
        expect(page.locator("#offline")).to_be_visible()
        proxy.thaw()
        page.clock.run_for(6_000)
        expect(page.locator("#log li")).to_have_count(last)
        page.clock.run_for(1_000)
        expect(page.locator("#offline")).to_be_hidden()
        assert _numbers(page) == list(range(1, last + 1))
        context.close()


def _numbers(page: Page) -> list[int]:
    return list(page.locator("#log li").evaluate_all("rows => rows.map(row => Number(row.id.slice(1)))"))


def test_a_run_fits_a_laptop_and_tells_the_log_of_a_resource(page: Page, portal: Portal, scheme: str) -> None:
    run = portal.request("failback")
    runs.begin(portal.store, run.id, "here-1")
    for batch in list(failback())[:10]:
        portal.tell(run, timed(batch))
    login(page, Role.operator)
    page.goto(f"/runs/{run.id}")
    assert page.evaluate("document.scrollingElement.scrollHeight") <= LAPTOP["height"]
    for inside in ("#stop button", "#rollback button", "#resource-shop-web-2", ".steps li:last-child", "#deadline", "#log"):
        expect(page.locator(inside)).to_be_in_viewport(ratio=1)
    place = page.locator("#rollback button").bounding_box()
    page.get_by_role("link", name="cart", exact=True).press("Enter")
    expect(page).to_have_url(f"{page.url.partition('?')[0]}?resource=cart")
    expect(page.locator("#log-of")).to_contain_text("cart")
    expect(page.locator("#log li:visible")).to_have_text([re.compile("cart: Stopping")])
    portal.tell(run, timed([resource("pricing", "Recovering"), resource("cart", "Recovering")]))
    expect(page.locator("#log li:visible")).to_have_count(2)
    expect(page.locator("#resource-cart")).to_contain_text("Recovering")  # the board was fetched again
    expect(page.get_by_role("link", name="cart", exact=True)).to_have_attribute("aria-current", "true")
    expect(page.get_by_role("link", name="cart", exact=True)).to_be_focused()
    assert page.locator("#rollback button").bounding_box() == place
    shot(page, "run-resource", scheme)
    page.reload()
    expect(page.locator("#log li:visible")).to_have_count(2)
    page.get_by_role("link", name="whole log").click()
    expect(page.locator("#log li").first).to_contain_text("failback.yml begins")
