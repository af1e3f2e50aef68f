# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Versions of a plan's file: real git, in a work tree and in none, and what else is going on there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal.versions import FOUND, Author, Versions

ALICE = Author("alice", "portal 192.0.2.7", "dr-admin")
OWN = ("-c", "user.name=Bob", "-c", "user.email=bob@example.org", "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false")


def git(folder: Path, *args: str) -> str:
    return subprocess.run(["git", *OWN, "-C", folder, *args], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A work tree with an environment and a README beside it."""
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "inventories" / "prod" / "plans").mkdir(parents=True)
    (tmp_path / "README").write_text("read\n")
    plan(tmp_path).write_bytes(b"a: 1\r\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "Bob's")
    return tmp_path


def plan(tree: Path) -> Path:
    return tree / "inventories" / "prod" / "plans" / "web.yml"


def versions(tree: Path) -> Versions:
    return Versions(plan(tree).parent.parent, plan(tree))


def keep(one: Versions, text: str, reason: str = "why") -> None:
    one.ready()
    one.file.write_bytes(text.encode())
    one.keep(reason, ALICE, "0123456789abcdef")


def loose(tmp_path: Path) -> Versions:
    """An environment in no work tree."""
    plan(tmp_path).parent.mkdir(parents=True)
    plan(tmp_path).write_text("a: 1\n")
    return versions(tmp_path)


def test_in_no_work_tree_the_environment_gets_a_repository_with_the_first_version(tmp_path: Path) -> None:
    one = loose(tmp_path)
    assert one.all() == []
    assert not (one.folder / ".git").exists(), "to look makes nothing"
    keep(one, "a: 2\n", "change 7:\n  earlier")
    newest, found = one.all()
    assert (newest.who, newest.reason, newest.origin, newest.role, newest.plan_hash) == (
        *("alice", "change 7: earlier", "portal 192.0.2.7", "dr-admin", "0123456789abcdef"),
    )
    assert (found.who, found.reason) == ("unknown", FOUND)
    assert [one.text(version) for version in one.all()] == ["a: 2\n", "a: 1\n"]
    assert (one.folder / ".git").is_dir()
    assert "alice <alice@xdr.invalid>" in git(one.folder, "log", "-1", "--format=%an <%ae>")
    assert one.one(newest.short) == newest
    assert one.one("0" * 40) is None


def test_in_a_work_tree_that_ignores_it_too(tree: Path) -> None:
    (tree / ".gitignore").write_text("var/\n")
    one = loose(tree / "var")
    keep(one, "a: 2\n")
    assert (one.folder / ".git").is_dir()
    assert len(one.all()) == 2
    assert git(tree, "status", "--porcelain") == "?? .gitignore\n"


def test_in_a_work_tree_it_is_a_commit_of_this_file_alone(tree: Path) -> None:
    one = versions(tree)
    (tree / "README").write_text("staged\n")
    git(tree, "add", "README")
    (tree / "README").write_text("edited\n")
    keep(one, "a: 2\r\n")
    assert git(tree, "show", "--format=", "--name-only") == "inventories/prod/plans/web.yml\n"
    assert git(tree, "status", "--porcelain") == "MM README\n", "what others had staged still is"
    assert [(version.who, version.reason) for version in one.all()] == [("alice", "why"), ("Bob", "Bob's")]
    assert [one.text(version) for version in one.all()] == ["a: 2\r\n", "a: 1\r\n"]
    assert not (one.folder / ".git").exists()


def test_what_was_edited_by_hand_is_a_version_of_its_own(tree: Path) -> None:
    one = versions(tree)
    one.file.write_text("a: by hand\n")
    keep(one, "a: 2\n")
    assert [one.text(version) for version in one.all()] == ["a: 2\n", "a: by hand\n", "a: 1\r\n"]
    assert one.all()[1].reason == FOUND


def test_a_new_file_and_another_plan_beside_it(tree: Path) -> None:
    one = Versions(versions(tree).folder, plan(tree).with_name('--all "*".yml'))
    one.file.write_text("b: 1\n")
    keep(one, "b: 2\n")
    assert [(version.reason, one.text(version)) for version in one.all()] == [("why", "b: 2\n"), (FOUND, "b: 1\n")]
    assert [version.reason for version in versions(tree).all()] == ["Bob's"]


@pytest.mark.parametrize(
    ("begun", "told"),
    [
        (lambda tree: (plan(tree).write_text("a: staged\n"), git(tree, "add", "-A")), "changes that somebody has staged"),
        (lambda tree: git(tree, "checkout", "-q", "--detach"), "without a branch"),
        (lambda tree: merging(tree), "where a merge is in progress"),
        (lambda tree: (tree / ".git" / "rebase-merge").mkdir(), "where a rebase is in progress"),
    ],
    ids=["staged", "detached", "merge", "rebase"],
)
def test_other_work_on_the_tree_is_left_alone(tree: Path, begun: object, told: str) -> None:
    assert callable(begun)
    begun(tree)
    before = git(tree, "rev-parse", "HEAD") + git(tree, "status", "--porcelain")
    with pytest.raises(XdrError, match=told):
        versions(tree).ready()
    assert git(tree, "rev-parse", "HEAD") + git(tree, "status", "--porcelain") == before


def merging(tree: Path) -> None:
    git(tree, "checkout", "-qb", "side")
    git(tree, "commit", "-qm", "side", "--allow-empty")
    git(tree, "checkout", "-q", "main")
    git(tree, "merge", "-q", "--no-ff", "--no-commit", "side")
    assert (tree / ".git" / "MERGE_HEAD").exists()


def test_no_hook_and_no_configuration_of_an_account_is_used(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for hook in ("pre-commit", "commit-msg", "post-commit", "reference-transaction", "prepare-commit-msg"):
        path = tree / ".git" / "hooks" / hook
        path.write_text(f"#!/bin/sh\ntouch {tree / 'ran'}\nexit 1\n")
        path.chmod(0o755)
    home = tree / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\nname = Eve\n[commit]\ngpgSign = true\ntemplate = /x\n[log]\nshowSignature = true\n")
    monkeypatch.setenv("HOME", str(home))
    for name, value in {"GIT_DIR": "/nowhere", "GIT_INDEX_FILE": "/nowhere/index", "GIT_AUTHOR_NAME": "Eve", "GIT_EDITOR": "false"}.items():
        monkeypatch.setenv(name, value)
    one = versions(tree)
    keep(one, "a: 2\n")
    assert not (tree / "ran").exists()
    assert one.all()[0].who == "alice"


def test_a_name_or_reason_of_others_is_no_option_and_no_trailer(tree: Path) -> None:
    one = versions(tree)
    one.file.write_text("a: 2\n")
    one.keep("--amend\nXDR-Role: dr-admin\n# no comment", Author("--author=<x>\ny", "a\nXDR-Role: b", ""), "")
    newest = one.all()[0]
    assert newest.reason == "--amend XDR-Role: dr-admin # no comment"
    assert (newest.role, newest.origin, newest.who) == ("", "a XDR-Role: b", "--author--x--y")


def test_a_commit_that_fails_leaves_nothing_staged(tree: Path) -> None:
    one = Versions(versions(tree).folder, plan(tree).with_name("new.yml"))
    one.file.write_text("b: 1\n")
    (tree / ".git" / "refs" / "heads" / "main.lock").touch()
    with pytest.raises(XdrError, match="git keeps no version: "):
        one.keep("why", ALICE, "")
    assert git(tree, "status", "--porcelain") == "?? inventories/prod/plans/new.yml\n"


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = loose(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(XdrError, match="git is not installed"):
        one.ready()


def test_a_git_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = loose(tmp_path)
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("portal.versions.WITHIN", 0.2)
    with pytest.raises(XdrError, match=r"did not end within 0\.2 s"):
        one.all()


def test_a_repository_of_another_account_is_told(tree: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    for path in (tree, tree / ".git", plan(tree).parent):
        os.chown(path, 65534, 65534)
    with pytest.raises(XdrError, match="dubious ownership"):
        versions(tree).all()
