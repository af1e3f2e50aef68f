# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A few scenarios over the real fault lab; `xdr faults run` plays all of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from portal.faults import observer
from portal.faults.ground import Ground
from portal.faults.play import play
from portal.faults.scenario import every
from portal.lab.lab import PYTHON
from tests.support.labs import named
from tests.support.processes import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.namespaces, pytest.mark.timeout(900)]  # a busy machine; alone each takes less than 20 s


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    one = Ground.create(named("faults-t"))
    one.down()
    try:
        one.ready()
        yield one
    finally:
        one.down()


def played(ground: Ground, name: str) -> dict[str, Any]:
    [scenario] = every(name)
    told = play(ground, scenario)
    assert told["breaches"] == [], json.dumps(told, indent=1)
    assert told["reached"]
    assert told["acknowledged"] > 0
    return told


def test_a_frozen_controller_wakes_after_another_has_rolled_back(ground: Ground) -> None:
    told = played(ground, "replace-controller@verify/intent")
    assert told["outcome"] == "rolled back"
    assert told["owner"] == "dr"


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("kill-controller@offer/done", "home"),
        ("kill-sshd@verify/done", "rolled back"),
        pytest.param("reply-lost@accept/intent", "home", marks=pytest.mark.slow),
        pytest.param("restore-controller@accept/done", "home", marks=pytest.mark.slow),
    ],
)
def test_it_comes_to_a_good_end(ground: Ground, name: str, outcome: str) -> None:
    assert played(ground, name)["outcome"] == outcome


@pytest.mark.slow
def test_a_controller_that_died_with_portal_and_worker_goes_on_when_it_is_started_again(ground: Ground) -> None:
    told = played(ground, "restart-controller@accept/intent")
    assert (told["outcome"], told["operator"]) == ("home", [])
    assert any("xdr portal" in command for command in told["hit"])
    assert [one["inexact"] for one in told["reported"]] == [""]


def test_the_observer_sees_a_service_that_was_started_past_the_guard(ground: Ground) -> None:
    """What the scenarios assert is no empty promise: here is the fault that they must never find."""
    ground.reset()
    assert observer.breaches(observer.read(ground.observed)) == []
    where = ["--address", ground.network.addresses["fra-hv1"], "--port", "17103", "--to", "17101"]
    what = ["api", "--name", "shop-api", "--site", "frankfurt", "--volume", str(ground.volume("primary", "shop-api.img"))]
    program = [PYTHON, "-B", str(ground.root / "bin" / "lab_service.py"), *what, *where, "--observed", str(ground.observed)]
    process = subprocess.Popen([*ground.network.inside("fra-hv1"), *program], stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: "frankfurt" in observer.running(observer.read(ground.observed)), "it runs at the primary site")
    finally:
        process.kill()
        process.wait(10)
    assert observer.breaches(observer.read(ground.observed)) == ["shop-api started at frankfurt while another process could still write"]
