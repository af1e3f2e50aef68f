# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Hooks around a read: all thawed in reverse order, whatever happens."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.quiesce import Member, frozen

from tests.support.delta_pair import Pair, content

NOTE = "import os, sys; open(sys.argv[1], 'a').write(os.environ.get('XDR_PLAN_NAME', '') + ' '.join(sys.argv[2:]) + chr(10))"


def note(log: Path, *words: str) -> list[str]:
    return [sys.executable, "-c", NOTE, str(log), *words]


def member(log: Path, name: str, **hooks: list[Any]) -> Member:
    own: dict[str, Any] = {"before": [note(log, "before", name)], "after": [note(log, "after", name)], **hooks}
    return Member(name, own["before"], own["after"])


def test_members_are_frozen_in_order_and_thawed_in_reverse(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with frozen([member(log, "a"), member(log, "b")]):
        assert log.read_text().split("\n") == ["before a", "before b", ""]
    assert log.read_text().split("\n")[2:4] == ["after b", "after a"]


def test_a_failing_freeze_thaws_what_was_begun(tmp_path: Path) -> None:
    log = tmp_path / "log"
    members = [member(log, "a"), member(log, "b", before=[["false"]]), member(log, "c")]
    with pytest.raises(XdrError, match=r"resource b, quiesce\.before: false: it failed with code 1") as failure, frozen(members):
        pytest.fail("nothing is read")
    assert failure.value.code == "quiesce_failed"
    assert log.read_text().split("\n") == ["before a", "after b", "after a", ""]


def test_a_failing_thaw_is_told_and_the_others_are_thawed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    hook = [sys.executable, "-c", "print('the freeze had expired'); raise SystemExit(3)"]
    with pytest.raises(XdrError, match="code 3: the freeze had expired"), frozen([member(log, "a"), member(log, "b", after=[hook])]):
        pass
    assert "after a" in log.read_text()


def test_a_failure_of_the_read_is_told_and_thawed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(ZeroDivisionError), frozen([member(log, "a", after=[note(log, "thawed"), ["false"]])]):
        raise ZeroDivisionError
    assert "thawed" in log.read_text()


def test_a_hook_has_a_time_limit(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(XdrError, match=r"it did not end within 0\.2 s"), frozen([Member("a", [["sleep", "60"]], [])], timeout=0.2):
        pytest.fail("nothing is read")
    assert time.monotonic() - began < 10


def test_a_hook_that_leaves_a_process_behind_does_not_hang(tmp_path: Path) -> None:
    script = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, file=open(sys.argv[1], 'w'))"
    pid = tmp_path / "pid"
    began = time.monotonic()
    try:
        with frozen([Member("a", [[sys.executable, "-c", script, str(pid)]], [])]):
            pass
        assert time.monotonic() - began < 10
    finally:
        os.kill(int(pid.read_text()), 9)


def test_a_hook_that_is_missing_is_named() -> None:
    with pytest.raises(XdrError, match="/nowhere/hook 'a b': it cannot be run"), frozen([Member("a", [["/nowhere/hook", "a b"]], [])]):
        pytest.fail("nothing is read")


def quiesced(folder: Path, after: list[list[str]]) -> Pair:
    log = folder / "log"
    hooks = {"before": [note(log, "before", "{volume}", "{state_dir}", "{site_dir}")], "after": [note(log, "after"), *after]}
    pair = Pair(folder, "orders", quiesce=hooks)
    pair.write(pair.source, "orders", content([1, 2]))
    return pair.ready()


def test_a_cycle_freezes_the_source_and_fills_in_the_hooks_words(tmp_path: Path) -> None:
    pair = quiesced(tmp_path, [])
    pair.sync()
    state = pair.source.state_dir
    expected = [f"webshopbefore {pair.path(pair.source, 'orders')} {state} {state.parent}", "webshopafter", ""]
    assert (tmp_path / "log").read_text().split("\n") == expected


def test_a_cycle_whose_freeze_had_expired_applies_nothing(tmp_path: Path) -> None:
    pair = quiesced(tmp_path, [["false"]])
    with pytest.raises(XdrError, match="code 1"):
        pair.sync()
    assert not pair.path(pair.target, "orders").exists()
    assert pair.replication(pair.target, "orders").state.cycle == 0
    assert pair.sync(final=True)[0]["cycle"] == 1  # at rest nothing is frozen
