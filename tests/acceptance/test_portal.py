# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A failed-over plan brought home from the portal in a real browser: real worker, real sites, and a portal that is killed on the way."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from portal import PROJECT
from portal.store import Store, accounts, runs, workers
from portal.store.accounts import Role
from tests.support.browsers import chromium
from tests.support.luck import PLAN, XDR, Luck
from tests.support.processes import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.browser, pytest.mark.timeout(900)]

SHOTS = PROJECT / "var" / "screenshots"
LAPTOP = {"width": 1366, "height": 768}
LONG = 90_000  # milliseconds that a run may take


class Served:
    """``xdr worker`` and ``xdr portal`` as a person starts them; the portal on one port, however often it is started."""

    def __init__(self, luck: Luck) -> None:
        self.luck = luck
        self.store = Store.open(f"sqlite:///{luck.var / 'xdr.sqlite'}")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.address = f"http://127.0.0.1:{self.port}"
        self.worker = self._started("worker")
        self.start_portal()
        wait_until(lambda: bool(workers.alive(self.store)), "the worker lives", 20)

    def start_portal(self) -> None:
        self.portal = self._started("portal", "--port", str(self.port))
        wait_until(self._answers, "the portal answers", 20)

    def _started(self, *words: str) -> subprocess.Popen[bytes]:
        argv = [XDR, *words, "--inventory", str(self.luck.lab.inventory)]
        with (self.luck.var / f"{words[0]}.log").open("ab") as log:
            return subprocess.Popen(argv, cwd=PROJECT, env=self.luck.environment(), stdout=log, stderr=log, start_new_session=True)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.address}/healthz", timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
        return False

    def close(self) -> None:
        for process in (self.portal, self.worker):
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(30) for process in (self.portal, self.worker)]
        self.store.close()
        assert codes == [0, 0]


@pytest.fixture
def served(luck: Luck) -> Iterator[Served]:
    luck.failed_over()
    one = Served(luck)
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def page(served: Served) -> Iterator[Page]:
    with chromium() as browser:
        context = browser.new_context(viewport=LAPTOP, reduced_motion="reduce", base_url=served.address)  # type: ignore[arg-type]
        one = context.new_page()
        one.set_default_timeout(LONG)
        one.on("dialog", lambda dialog: dialog.accept())
        yield one
        context.close()


def shot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.screenshot(path=SHOTS / f"live-{name}-{scheme}.png")


def login(page: Page, served: Served) -> None:
    password = accounts.add(served.store, "otto", Role.operator)
    page.goto("/")
    page.get_by_label("Name").fill("otto")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def press(page: Page, name: str) -> str:
    """Press a plan's button, once it can be pressed; the id of the run whose page that opens."""
    button = page.get_by_role("button", name=name, exact=True).first
    expect(button).to_be_enabled(timeout=LONG)
    if name in ("Failback", "Failover"):
        page.locator(f"#do-{name.lower()}").get_by_label("to confirm").fill(PLAN)
    button.click()
    page.wait_for_url(re.compile("/runs/.+"))
    return page.url.rpartition("/")[2]


def watch(page: Page) -> None:
    expect(page.locator("main")).to_contain_text("Done in", timeout=LONG)


def asks_a_person(plan: Any) -> None:
    plan["hooks"] = {"pre_failback": [{"name": "invoices", "pause": "Are the invoices printed?", "deadline": "5m"}]}


def answer_the_pause(page: Page) -> None:
    question = page.locator("#pause")
    expect(question).to_contain_text("Are the invoices printed?", timeout=LONG)
    shot(page, "pause")
    question.get_by_label("How do you know?").fill("K. Lindt: all 214 are printed")
    question.get_by_role("button", name="Yes, go on").click()
    expect(question).to_have_count(0, timeout=LONG)


def test_home_by_the_buttons(page: Page, served: Served, luck: Luck) -> None:
    login(page, served)
    page.goto("/sites")
    press(page, "Test Connectivity")
    watch(page)
    page.goto("/sites")
    expect(page.locator("main")).to_contain_text("CONNECTED")
    shot(page, "sites")

    page.goto(f"/plans/{PLAN}")
    expect(page.locator("main")).to_contain_text("FAILED_OVER", timeout=LONG)
    shot(page, "failed-over")
    luck.state = ""
    press(page, "Reverse Replication")
    watch(page)
    luck.stage = "reversed"

    with luck.edited(asks_a_person):
        page.goto(f"/plans/{PLAN}")
        expect(page.locator("main")).to_contain_text("READY", timeout=LONG)
        shot(page, "ready")
        run_id = press(page, "Failback")
        answer_the_pause(page)
        expect(page.locator(".steps li.running")).to_contain_text("stop_services", timeout=LONG)
        shot(page, "failback")
        expect(page.locator(".steps li.running")).to_contain_text("start_instances", timeout=LONG)
        served.portal.kill()
        served.portal.wait(10)
        assert not runs.get(served.store, run_id).ended
        served.start_portal()
        watch(page)
    numbers = page.locator("#log li").evaluate_all("rows => rows.map(row => Number(row.id.slice(1)))")
    assert numbers == list(range(1, len(numbers) + 1))  # the log went on where it was
    assert "otto answered yes to invoices: K. Lindt: all 214 are printed" in page.locator("#log").inner_text()
    shot(page, "home")
    luck.stage = "moved"
    run = runs.get(served.store, run_id)
    assert (run.exit_code, run.attempts, run.requested_by) == (0, 1, "otto")
    page.goto(f"/plans/{PLAN}")
    expect(page.locator("main")).to_contain_text("FAILED_BACK", timeout=LONG)
    luck.serves("primary")
