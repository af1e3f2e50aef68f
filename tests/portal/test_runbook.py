# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The editor of a plan: its text, its priorities, its versions; over a folder of its own and a real git."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from portal.runbook import digest
from portal.store import audit, runs
from portal.store.accounts import Role
from portal.versions import FOUND, Versions
from tests.support.portal import INVENTORY, Portal, filled, seen
from tests.support.stores import opened

HOSTILE = "# <script>alert(1)</script></textarea>\"'&{{7*7}}"
RUNBOOK = "/plans/webshop/runbook"

OTHER = """\
plan: other
sites: {primary: frankfurt, dr: amsterdam}
targets: {rpo: 5m, rto: 15m}
groups:
  - name: one
    priority: 1
    resources:
      - {name: spare, hosts: {primary: fra-hv1, dr: ams-hv1}, instance: {driver: supervisor, program: spare}}
traffic: {load_balancers: [{name: x, driver: haproxy, host: edge1, backend: spare, servers: {primary: [a], dr: [b]}}]}
"""


class Desk:
    """A browser with the editor open, in front of a copy of the lab's inventory."""

    def __init__(self, portal: Portal, folder: Path, role: Role = Role.dr_admin) -> None:
        self.portal, self.file = portal, folder / "plans" / "webshop.yml"
        self.versions = Versions(folder, self.file)
        self.client: TestClient = portal.client(role)

    @property
    def text(self) -> str:
        return self.file.read_bytes().decode()

    def post(self, what: str, text: str | None = None, **fields: str) -> Response:
        """As a browser sends a text: each line ends in CR LF."""
        typed = {} if text is None else {"text": re.sub("\r?\n", "\r\n", text)}
        return self.client.post(f"{RUNBOOK}/{what}", data=self.portal.form(self.client, **typed, **{"base": digest(self.text), **fields}))

    def see(self, path: str = "") -> str:
        answer = self.client.get(RUNBOOK + path)
        assert answer.status_code == 200
        return answer.text


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(_portal(tmp_path), tmp_path / "inventory")


def _portal(folder: Path) -> Portal:
    shutil.copytree(INVENTORY, folder / "inventory")
    return Portal(folder, folder / "inventory", users=False, store=opened(folder, filled))


def typed(page: str) -> str:
    """What stands in the page's textarea."""
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    assert found
    return html.unescape(found[1])


def problems(page: str) -> str:
    found = re.search(r'id="problems">(.*?)(?:</ul>|</p>\n(?!<ul))', page, re.DOTALL)
    assert found
    return " ".join(html.unescape(re.sub("<[^>]*>", "", found[1])).split()).removeprefix("✖ ")


def orders(page: str) -> list[list[str]]:
    return [re.findall(r"<strong>(.*?)</strong>", one) for one in re.findall(r'<ol class="order">(.*?)</ol>', page, re.DOTALL)]


def test_the_text_with_the_order_that_it_makes_and_the_help_of_its_fields(desk: Desk) -> None:
    page = desk.see()
    assert typed(page) == desk.text
    assert "It validates, with all other plans" in problems(page)
    assert orders(page) == [["database", "application", "frontend"], ["frontend", "application", "database"]]
    line = desk.text.splitlines().index("    priority: 2") + 1
    assert f'id="L{line}" title="groups[application].priority: 1 starts first and stops last' in page
    assert "<code>on_failed_health</code> <small>rollback or hold or commit</small>" in page


def test_what_is_wrong_stands_at_its_line(desk: Desk) -> None:
    page = desk.post("check", desk.text.replace("priority: 2", "priority: 1")).text
    assert "groups[application].priority: priority 1 is that of group database already" in problems(page)
    page = desk.post("check", desk.text.replace("rpo: 5m", "rpo: 5x").replace("soak: 0s", "soaked: 0s")).text
    assert problems(page).startswith("2 problems line 5 targets.rpo: expected")
    assert "line 7 failback.soaked: unknown field; did you mean 'soak'?" in problems(page)
    assert re.search(r'<span id="L5" class="bad" title="[^"]*5x', page)
    assert '<a href="#L5" data-line="5" data-column="11">line 5</a>' in page


def test_yaml_that_cannot_be_read_stays_on_the_page(desk: Desk) -> None:
    page = desk.post("check", desk.text + "\tx: [\n").text
    assert "a tab; YAML is indented with spaces" in problems(page)
    assert typed(page).endswith("\tx: [\n")


def test_the_order_at_once(desk: Desk) -> None:
    page = desk.post("check", desk.text.replace("priority: 3", "priority: 0").replace("priority: 1 ", "priority: 4 ")).text
    assert orders(page)[0] == ["frontend", "application", "database"], "also where something is wrong"


def test_text_of_others_is_text(desk: Desk) -> None:
    page = desk.post("check", HOSTILE + "\n" + desk.text.replace("name: cart", f"'{HOSTILE}': x\n        name: <b>")).text
    assert "<script>alert" not in page
    assert "<b>" not in page.partition('id="checked"')[2]
    assert typed(page).startswith(HOSTILE)
    assert "49" not in problems(page)


def test_saved_with_a_reason_and_kept_as_a_version(desk: Desk) -> None:
    before = desk.text
    text = before.replace("rpo: 5m, rto: 15m}", "rpo: 10m, rto: 15m}  # longer")
    review = desk.post("review", text)
    assert "becomes" in review.text
    assert '<tr class="less">' in review.text
    assert "rto: 15m}  # longer</code>" in review.text
    answer = desk.post("save", text, reason="the cache\nneeds longer")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{RUNBOOK}/versions")
    assert desk.text == text
    newest, found = desk.versions.all()
    assert (newest.who, newest.reason, newest.role) == ("dora", "the cache needs longer", "dr-admin")
    assert newest.origin.startswith("portal ")
    assert (found.reason, desk.versions.text(found)) == (FOUND, before)
    entry = audit.latest(desk.portal.store, 1)[0]
    assert (entry.who, entry.action, entry.subject, entry.outcome) == ("dora", "edit-plan", "plan webshop", "done")
    assert entry.detail == f"{digest(before)} -> {digest(text)}, version {newest.short}: the cache needs longer"
    plans = desk.portal.app.state.desk.inventory.plans
    assert newest.plan_hash == plans["webshop"]["hash"]
    assert plans["webshop"]["targets"]["rpo"] == 600


@pytest.mark.parametrize("reason", ["", " \n ", "x" * 501])
def test_no_version_without_a_reason(desk: Desk, reason: str) -> None:
    before = desk.text
    answer = desk.post("save", before + "# more\n", reason=reason)
    assert answer.status_code == 400
    assert "reason" in answer.text
    assert typed(answer.text) == before + "# more\n"
    assert f'value="{reason}"' in answer.text, "what was typed stays"
    assert (desk.text, desk.versions.all()) == (before, [])


def test_what_does_not_validate_is_not_saved(desk: Desk) -> None:
    before, text = desk.text, desk.text.replace("rpo: 5m", "rpo: 5x")
    answer = desk.post("save", text, reason="why")
    assert answer.status_code == 409
    assert "It does not validate, and was not saved" in answer.text
    assert problems(answer.text).startswith("1 problem line 5")
    assert typed(answer.text) == text
    assert desk.text == before
    entry = audit.latest(desk.portal.store, 1)[0]
    assert (entry.action, entry.outcome) == ("edit-plan", "refused")
    assert "webshop.yml:5: targets.rpo" in entry.detail


def test_a_backend_of_another_plan_is_refused(desk: Desk) -> None:
    (desk.file.parent / "other.yml").write_text(OTHER, encoding="utf-8")
    answer = desk.post("save", desk.text.replace("backend: shop", "backend: spare"), reason="why")
    assert answer.status_code == 409
    assert "traffic.load_balancers[front].backend: backend 'spare' on edge1 belongs to" in problems(answer.text)


def test_a_mistake_in_another_file_is_told_as_such(desk: Desk) -> None:
    desk.see()
    (desk.file.parent / "other.yml").write_text(OTHER.replace("edge1", "edge9"), encoding="utf-8")
    page = desk.post("check", desk.text + "# more\n").text
    assert problems(page) == "This file is right by itself, and another file of the environment is not."
    assert "the inventory has no host &#39;edge9&#39;" in page.partition("In other files")[2]
    assert desk.post("save", desk.text + "# more\n", reason="why").status_code == 409


def test_two_who_edit_at_once(desk: Desk, tmp_path: Path) -> None:
    base, mine = digest(desk.text), desk.text.replace("deadline: 5m", "deadline: 7m")
    theirs = desk.text.replace("rto: 15m", "rto: 20m")
    assert desk.post("save", theirs, reason="theirs").status_code == 303
    answer = desk.post("save", mine, reason="mine", base=base)
    assert answer.status_code == 409
    assert "somebody has changed the file since" in answer.text
    assert typed(answer.text) == mine
    assert desk.text == theirs
    conflict = answer.text.partition('id="conflict"')[2]
    assert "rto: 20m" in conflict, "what would be taken back"
    assert f'name="base" value="{digest(theirs)}"' in answer.text
    assert desk.post("save", mine, reason="on purpose").status_code == 303
    assert desk.text == mine


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (seen("READY"), "would leave the plan while it is READY"),
        (seen("ACTIVE", "primary"), ""),
        (seen("UNPROTECTED", "primary"), ""),
        ({"plan": "webshop", "state": "unknown"}, "would leave the plan while its state is not known"),
    ],
    ids=lambda value: value.get("state") if isinstance(value, dict) else "",
)
def test_a_resource_leaves_only_while_the_plan_is_active(desk: Desk, state: dict[str, object], told: str) -> None:
    desk.portal.see(**{"run": None, **state})
    text = re.sub(r"      - name: pricing\n(?:        .*\n)+?(?=\n)", "", desk.text)
    assert "pricing" not in text
    review = desk.post("review", text).text
    answer = desk.post("save", text, reason="why")
    if told:
        assert answer.status_code == 409
        assert f"resource pricing on fra-hv1 and ams-hv1, volume pricing (pricing.img) of pricing {told}" in answer.text
        assert told in review
        assert "pricing" in desk.text
    else:
        assert answer.status_code == 303
        assert "No longer protected by this plan: resource pricing" in review


def test_another_file_for_a_volume_is_another_volume(desk: Desk) -> None:
    answer = desk.post("save", desk.text.replace("path: cart.img", "path: cart2.img"), reason="why")
    assert answer.status_code == 409
    assert "volume cart (cart.img) of cart would leave the plan" in answer.text


def test_the_plan_of_a_run_stays_as_it_is(desk: Desk) -> None:
    run = desk.portal.request("failback")
    text = desk.text.replace("deadline: 5m", "deadline: 7m")
    answer = desk.post("save", text, reason="why")
    assert answer.status_code == 409
    assert f"run {run.id} (failback) is active and has pinned the plan" in answer.text
    assert desk.post("save", desk.text + "# a comment\n", reason="why").status_code == 303
    desk.portal.finish(run)
    assert desk.post("save", desk.text.replace("deadline: 5m", "deadline: 7m"), reason="why").status_code == 303


def test_a_halted_plan_stays_as_it_is_until_its_run_is_over(desk: Desk) -> None:
    desk.portal.halts()
    answer = desk.post("save", desk.text.replace("deadline: 5m", "deadline: 7m"), reason="why")
    assert answer.status_code == 409
    assert "(failback) has not ended and has pinned the plan: with another one it could neither go on nor be rolled back" in answer.text


def test_a_plan_that_was_edited_by_hand_meanwhile_can_be_put_back(desk: Desk) -> None:
    desk.portal.halts()
    pinned = desk.text
    desk.file.write_text(pinned.replace("deadline: 5m", "deadline: 7m"), encoding="utf-8")
    assert desk.post("save", pinned, reason="as it was").status_code == 303


def test_a_plan_keeps_its_name(desk: Desk) -> None:
    answer = desk.post("save", desk.text.replace("plan: webshop", "plan: shop"), reason="why")
    assert answer.status_code == 409
    assert "webshop cannot become shop" in answer.text


# -- roles -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "edits", "saves"), [(Role.viewer, False, False), (Role.operator, True, False), (Role.dr_admin, True, True)]
)
def test_who_is_offered_what(desk: Desk, role: Role, edits: bool, saves: bool) -> None:
    one = Desk(desk.portal, desk.file.parent.parent, role)
    page = one.see()
    assert ("readonly>" in page) is not edits
    assert ("Differences, and save" in page) is edits
    assert ('name="move"' in one.see("/priorities")) is edits
    if edits:
        assert ("Saving takes the role dr-admin" in one.post("review", one.text + "# more\n").text) is not saves
    assert (one.post("save", one.text + "# more\n", reason="why").status_code == 303) is saves


def test_a_large_plan_fits_and_a_larger_one_is_refused(desk: Desk) -> None:
    assert desk.post("check", desk.text + "# " + "ä" * 30_000).status_code == 200
    assert desk.post("check", "#" * (2 << 20)).status_code == 413


# -- priorities ------------------------------------------------------------------------------------------------


def numbers(page: str) -> dict[str, str]:
    return dict(re.findall(r'name="priority:([^"]+)" value="(\d+)"', page))


def test_the_priorities_are_moved_by_buttons(desk: Desk) -> None:
    assert numbers(desk.see("/priorities")) == {"database": "1", "application": "2", "frontend": "3"}
    page = desk.post("reorder", move="up:frontend").text
    assert list(numbers(page).items()) == [("database", "1"), ("frontend", "2"), ("application", "3")]
    assert orders(page)[1] == ["application", "frontend", "database"]
    again = desk.post("reorder", move="down:database", **{f"priority:{group}": number for group, number in numbers(page).items()}).text
    assert list(numbers(again)) == ["frontend", "database", "application"]


def test_the_priorities_are_written_back_with_all_else_as_it_was(desk: Desk) -> None:
    before = desk.text
    review = desk.post("reorder", review="1", **{"priority:database": "5"})
    text = typed(review.text)
    changed = [(old, new) for old, new in zip(before.splitlines(), text.splitlines(), strict=True) if old != new]
    assert changed == [
        ("    priority: 1                  # starts first, stops last", "    priority: 5                  # starts first, stops last")
    ]
    assert desk.post("save", text, reason="last").status_code == 303
    assert desk.text == text


def test_the_form_of_a_plan_with_many_groups(desk: Desk) -> None:
    assert desk.post("reorder", **{f"priority:group-{number}": "1" for number in range(100)}).status_code == 200


@pytest.mark.parametrize("given", ["", "x", "-1", "1.5", "٣", "12345678"])
def test_a_priority_is_a_number(desk: Desk, given: str) -> None:
    answer = desk.post("reorder", **{"priority:database": given})
    assert answer.status_code == 400
    assert "group database needs a whole number from 1 to 9999" in answer.text


def test_two_groups_of_one_priority_are_told_and_not_reviewed(desk: Desk) -> None:
    page = desk.post("reorder", review="1", **{"priority:database": "2"}).text
    assert "priority 2 is that of group database already" in problems(page)
    assert 'name="reason"' not in page


# -- versions --------------------------------------------------------------------------------------------------


def test_a_version_is_shown_and_restored(desk: Desk) -> None:
    first = desk.text
    assert "None yet" in desk.see("/versions")
    desk.post("save", first.replace("deadline: 5m", "deadline: 7m"), reason=HOSTILE)
    page = desk.see("/versions")
    assert "<script>alert" not in page
    newest, found = desk.versions.all()
    assert page.index(newest.short) < page.index(found.short)
    shown = desk.see(f"/versions/{newest.id}")
    assert "deadline: 7m" in shown
    assert "It is what is saved now" in shown
    shown = desk.see(f"/versions/{found.id}")
    assert "It is the first one" in shown
    assert desk.post(f"versions/{found.id}/restore", reason="").status_code == 400
    assert desk.post(f"versions/{found.id}/restore", reason="back", base="x").status_code == 409
    assert desk.post(f"versions/{found.id}/restore", reason="back").status_code == 303
    assert desk.text == first
    assert desk.versions.all()[0].reason == "back"


@pytest.mark.parametrize("version", ["0" * 40, "HEAD", "--help", "..%2f..%2fplans.yml", "abc"])
def test_no_other_version(desk: Desk, version: str) -> None:
    desk.post("save", desk.text + "# more\n", reason="why")
    assert desk.client.get(f"{RUNBOOK}/versions/{version}").status_code == 404


def test_a_version_that_does_not_validate_any_more_is_not_restored(desk: Desk) -> None:
    desk.file.write_text(desk.text.replace("primary: fra-hv1", "primary: fra-old"), encoding="utf-8")
    desk.versions.ready()
    (old,) = desk.versions.all()
    desk.file.write_text((INVENTORY / "plans" / "webshop.yml").read_text(encoding="utf-8"), encoding="utf-8")
    assert "&#39;fra-old&#39; is no host of site frankfurt" in desk.see(f"/versions/{old.id}")
    answer = desk.post(f"versions/{old.id}/restore", reason="why")
    assert answer.status_code == 409
    assert "It does not validate, and was not saved" in answer.text


def test_a_file_that_has_mistakes_is_mended_here(desk: Desk) -> None:
    good = desk.text
    desk.see()
    desk.file.write_text(good.replace("rpo: 5m", "rpo: 5x"), encoding="utf-8")
    assert problems(desk.see()).startswith("1 problem line 5")
    assert desk.post("save", good, reason="mended").status_code == 303


def test_no_such_plan(desk: Desk) -> None:
    for path in ("", "/priorities", "/versions"):
        assert desk.client.get(f"/plans/nix/runbook{path}").status_code == 404
    assert runs.latest(desk.portal.store) == []
