# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The editor of a plan: its YAML, its priorities, and its versions. What is typed is kept on the page whatever is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.source import Problem
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from ..edition import CHANGED, INVALID, LONGEST, Edition, leaving, versions_of
from ..runbook import Checked, Line, Place, Runbook, difference, digest, moved, reprioritised, typed
from ..schema_help import reference
from ..store.accounts import Role
from ..versions import Author, Version
from .pages import page
from .visit import Visit, allowed

TEXT = 2 << 20  # bytes of a form that holds a plan: most of its signs take one, some three
MANY = 1000  # groups of a plan whose numbers a form may hold
SAVES = Role.dr_admin


@dataclass(frozen=True)
class Sheet:
    """A text of a plan on its page; ``saved`` is what the file holds, ``base`` the digest of what the text began from."""

    visit: Visit
    book: Runbook
    saved: str
    text: str
    base: str

    @cached_property
    def checked(self) -> Checked:
        return self.book.check(self.text)

    @cached_property
    def before(self) -> Sequence[Place]:
        """The order that is saved."""
        return self.checked.start if self.text == self.saved else self.book.start(self.saved)

    @property
    def wrong(self) -> Mapping[int, list[Problem]]:
        """The problems by line."""
        found: dict[int, list[Problem]] = {}
        for problem in self.checked.problems:
            found.setdefault(problem.line, []).append(problem)
        return found

    @property
    def lines(self) -> range:
        return range(1, self.text.count("\n") + 2)

    @property
    def changes(self) -> Sequence[Line]:
        return difference(self.saved, self.text)

    @cached_property
    def objections(self) -> Sequence[str]:
        return Edition(self.book, self.text, self.base).objections(self.visit.desk.store, self.checked)

    @property
    def leaving(self) -> Sequence[str]:
        return leaving(self.book.plan, self.checked.plan) if self.checked.plan else ()

    @property
    def may_edit(self) -> bool:
        return self.visit.user.role >= Role.operator

    @property
    def may_save(self) -> bool:
        return self.visit.user.role >= SAVES


@allowed(Role.viewer)
def yaml(visit: Visit) -> Response:
    return _editor(visit, _opened(visit))


@allowed(Role.operator, largest=TEXT)
def check(visit: Visit) -> Response:
    """What is wrong with the text, and which order it makes; for each pause while somebody types, and for a button."""
    return _editor(visit, _typed(visit))


@allowed(Role.operator, largest=TEXT)
def review(visit: Visit) -> Response:
    """What would be saved, beside what is."""
    sheet = _typed(visit)
    return _editor(visit, sheet, "Correct what is wrong first") if sheet.checked.plan is None else _review(visit, sheet)


@allowed(SAVES, largest=TEXT)
def save(visit: Visit) -> Response:
    sheet = _typed(visit)
    try:
        _kept(visit, Edition(sheet.book, sheet.text, sheet.base))
    except XdrError as error:
        if error.code in (CHANGED, INVALID):
            # what was saved in between is now on the left side of the difference
            renewed = Sheet(visit, sheet.book, sheet.saved, sheet.text, digest(sheet.saved))
            return _editor(visit, renewed, _sentence(error), 409, error.code == CHANGED)
        return _review(visit, sheet, error.sentence(), 400 if error.code == "usage" else 409)
    return _to(sheet.book, "versions")


# -- priorities ------------------------------------------------------------------------------------------------


@allowed(Role.viewer)
def priorities(visit: Visit) -> Response:
    sheet = _opened(visit)
    return _priorities(visit, sheet, _numbers(sheet, {}))


@allowed(Role.operator, largest=TEXT, fields=MANY)
def reprioritise(visit: Visit) -> Response:
    """A button to move a group, to see the order, or to go on to the differences."""
    opened = _opened(visit)
    try:
        numbers = _numbers(opened, visit.form)
        direction, _, group = visit.form.get("move", "").partition(":")
        if direction in ("up", "down") and group in numbers:
            numbers = moved(numbers, group, -1 if direction == "up" else 1)
        text = reprioritised(opened.saved, numbers)
    except XdrError as error:
        return _priorities(visit, opened, _numbers(opened, {}), error.sentence(), 400)
    sheet = Sheet(visit, opened.book, opened.saved, text, visit.form.get("base", ""))
    if visit.form.get("review") and sheet.checked.plan is not None:
        return _review(visit, sheet)
    return _priorities(visit, sheet, numbers)


def _numbers(sheet: Sheet, form: Mapping[str, str]) -> dict[str, int]:
    """By group; what the form does not say is as it is saved. Raises XdrError, code usage, for what is no number."""
    found = {place.group: place.priority for place in sheet.before if place.priority is not None}
    for group in found:
        given = form.get(f"priority:{group}", str(found[group])).strip()
        if not given.isascii() or not given.isdecimal() or len(given) > 6:
            raise XdrError(f"group {group} needs a whole number from 1 to 9999, not {given!r}", code="usage")
        found[group] = int(given)
    return {group: number for group, number in found.items() if number is not None}


def _priorities(visit: Visit, sheet: Sheet, numbers: Mapping[str, int], refusal: str = "", status: int = 200) -> Response:
    return page(visit, "runbook_priorities.html", status, sheet=sheet, book=sheet.book, numbers=numbers, refusal=refusal, here="priorities")


# -- versions --------------------------------------------------------------------------------------------------


@allowed(Role.viewer)
def versions(visit: Visit) -> Response:
    sheet = _opened(visit)
    try:
        found, trouble = versions_of(sheet.book).all(), ""
    except XdrError as error:
        found, trouble = [], error.sentence()
    return page(visit, "runbook_versions.html", book=sheet.book, versions=found, refusal=trouble, here="versions")


@allowed(Role.viewer)
def version(visit: Visit) -> Response:
    return _version(visit, _opened(visit))


@allowed(SAVES)
def restore(visit: Visit) -> Response:
    """An old text becomes the newest version."""
    opened = _opened(visit)
    _, text = _found(visit, opened.book)
    sheet = Sheet(visit, opened.book, opened.saved, text, visit.form.get("base", ""))
    try:
        _kept(visit, Edition(sheet.book, sheet.text, sheet.base))
    except XdrError as error:
        return _version(visit, sheet, _sentence(error), 400 if error.code == "usage" else 409)
    return _to(sheet.book, "versions")


def _version(visit: Visit, sheet: Sheet, refusal: str = "", status: int = 200) -> Response:
    """What the version changed, and what restoring it would change now."""
    found, text = _found(visit, sheet.book)
    kept = versions_of(sheet.book)
    older = kept.all()
    later = older[older.index(found) + 1 :]
    values: dict[str, Any] = {
        "changed": difference(kept.text(later[0]) if later else "", text),
        "first": not later,
        "sheet": Sheet(visit, sheet.book, sheet.saved, text, digest(sheet.saved)),
        "given": visit.form.get("reason", ""),
        "longest": LONGEST,
    }
    return page(visit, "runbook_version.html", status, book=sheet.book, version=found, refusal=refusal, here="versions", **values)


def _found(visit: Visit, book: Runbook) -> tuple[Version, str]:
    kept = versions_of(book)
    found = kept.one(visit.path("version"))
    if found is None:
        raise HTTPException(404)
    return found, kept.text(found)


# -- what they share -------------------------------------------------------------------------------------------


def _opened(visit: Visit) -> Sheet:
    plan = visit.desk.inventory.plans.get(visit.path("plan"))
    if plan is None:
        raise HTTPException(404)
    book = Runbook(visit.desk.inventory.folder, plan, visit.desk.inventory.kept)
    try:
        text = book.read()
    except XdrError as error:
        raise HTTPException(409, error.sentence()) from error
    return Sheet(visit, book, text, text, digest(text))


def _typed(visit: Visit) -> Sheet:
    opened = _opened(visit)
    return Sheet(visit, opened.book, opened.saved, typed(visit.form.get("text", ""), opened.saved), visit.form.get("base", ""))


def _kept(visit: Visit, edition: Edition) -> Version:
    author = Author(visit.user.name, visit.origin, visit.user.role.label)
    return edition.save(visit.desk.store, visit.form.get("reason", ""), author)


def _sentence(error: XdrError) -> str:
    """The problems stand at their lines; here it is enough that there are some."""
    return "It does not validate, and was not saved" if error.code == INVALID else error.sentence()


def _editor(visit: Visit, sheet: Sheet, refusal: str = "", status: int = 200, conflict: bool = False) -> Response:
    values = {"sheet": sheet, "book": sheet.book, "reference": reference(), "conflict": conflict}
    return page(visit, "runbook.html", status, refusal=refusal, here="yaml", **values)


def _review(visit: Visit, sheet: Sheet, refusal: str = "", status: int = 200) -> Response:
    values = {"sheet": sheet, "book": sheet.book, "longest": LONGEST, "given": visit.form.get("reason", "")}
    return page(visit, "runbook_review.html", status, refusal=refusal, here="yaml", **values)


def _to(book: Runbook, where: str) -> Response:
    return RedirectResponse(f"/plans/{quote(book.name, safe='')}/runbook/{where}", 303)
