# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Saving a plan's file: all of it or nothing, whatever fails. What may be saved when: tests/portal/test_runbook.py."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal import PROJECT
from portal.edition import Edition
from portal.plan_view import one_plan
from portal.runbook import Runbook, digest
from portal.store import audit
from portal.versions import Author
from tests.support import stores

ALICE = Author("alice", "command line")


class Saving:
    """The lab's plan with a line more, in a copy of its inventory."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(PROJECT / "inventories" / "lab", folder / "inventory")
        self.store = stores.opened(folder)
        self.book = Runbook(folder / "inventory", one_plan("webshop", folder / "inventory"))
        self.before = self.book.read()
        self.edition = Edition(self.book, self.before + "# more\n", digest(self.before))

    def refused(self) -> str:
        with pytest.raises(XdrError) as refusal:
            self.edition.save(self.store, "why", ALICE)
        entry = audit.latest(self.store, 1)[0]
        assert (entry.who, entry.action, entry.outcome) == ("alice", "edit-plan", "refused")
        assert self.book.read() == self.before
        return refusal.value.sentence()

    def files(self) -> list[str]:
        return sorted(path.name for path in self.book.path.parent.iterdir())


@pytest.fixture
def saving(tmp_path: Path) -> Iterator[Saving]:
    one = Saving(tmp_path)
    yield one
    one.store.close()


def test_mode_and_owner_are_kept_and_nothing_else_is_left(saving: Saving) -> None:
    saving.book.path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(saving.book.path, 0, 65534)
    was = saving.book.path.stat()
    saving.edition.save(saving.store, "why", ALICE)
    now = saving.book.path.stat()
    assert (now.st_mode, now.st_uid, now.st_gid) == (was.st_mode, was.st_uid, was.st_gid)
    assert saving.files() == ["webshop.yml"]


def test_a_version_that_cannot_be_kept_puts_the_file_back(saving: Saving) -> None:
    saving.edition.versions.ready()
    (saving.book.folder / ".git" / "refs" / "heads" / "main.lock").touch()
    assert "git keeps no version" in saving.refused()
    assert len(saving.edition.versions.all()) == 1
    (saving.book.folder / ".git" / "refs" / "heads" / "main.lock").unlink()
    saving.edition.save(saving.store, "why", ALICE)
    assert saving.book.read() == saving.edition.text


def test_a_file_that_cannot_be_written_leaves_no_version_of_it(saving: Saving) -> None:
    saving.book.path.with_name(f".webshop.yml.{os.getpid()}").mkdir()
    assert "the file cannot be written (Is a directory)" in saving.refused()
    assert [version.who for version in saving.edition.versions.all()] == ["unknown"], "what was found"


def test_a_link_is_not_replaced_by_a_file(saving: Saving) -> None:
    real = saving.book.path.rename(saving.book.folder / "elsewhere")
    saving.book.path.symlink_to(real)
    assert "the file is a link" in saving.refused()
    assert saving.book.path.is_symlink()


def test_a_folder_that_may_not_be_written_to() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        saving = Saving(folder)
        for path in (saving.book.folder, saving.book.path.parent):
            path.chmod(0o555)
        with _as_nobody():
            with pytest.raises(XdrError, match=r"(?s)git keeps no version: .*[Pp]ermission denied.*Let the folder and its \.git belong"):
                saving.edition.versions.ready()
            with pytest.raises(XdrError, match="the file cannot be written"):
                _replaced(saving)
        assert saving.book.read() == saving.before
        assert saving.files() == ["webshop.yml"]
        saving.store.close()
    finally:
        for path in (folder / "inventory", folder / "inventory" / "plans"):
            path.chmod(0o755)
        shutil.rmtree(folder)


def _replaced(saving: Saving) -> None:
    from portal.edition import _replace

    _replace(saving.book.path, saving.edition.text)


@contextlib.contextmanager
def _as_nobody() -> Iterator[None]:
    """Root may write anywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
