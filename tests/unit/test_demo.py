# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a demo leaves up, however its story ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal import demo
from portal.interrupts import Interrupted
from portal.lab.lab import Lab


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[BaseException], list[bool]]:
    """Let the story end so; whether its lab is kept is told by what this gives."""
    closed: list[bool] = []
    monkeypatch.setattr(demo.Lab, "create", lambda name: Lab(name, tmp_path / "inventory", tmp_path / name))
    monkeypatch.setattr(demo.Story, "close", lambda story, keep: closed.append(keep))

    def so(error: BaseException) -> list[bool]:
        def play(story: Any) -> None:
            raise error

        monkeypatch.setattr(demo.Story, "play", play)
        return closed

    return so


@pytest.mark.parametrize("signal", [Interrupted(), KeyboardInterrupt()], ids=["between two runs", "in a run"])
@pytest.mark.parametrize("unattended", [True, False])
def test_an_interrupted_demo_keeps_nothing(signal: BaseException, unattended: bool, ends: Callable[[BaseException], list[bool]]) -> None:
    closed = ends(signal)
    assert demo.play(unattended=unattended, as_json=False) == 1
    assert closed == [False]


@pytest.mark.parametrize("unattended", [True, False])
def test_after_a_failure_a_person_may_look(unattended: bool, ends: Callable[[BaseException], list[bool]]) -> None:
    closed = ends(XdrError("it broke"))
    with pytest.raises(XdrError, match="it broke"):
        demo.play(unattended=unattended, as_json=False)
    assert closed == [not unattended]
