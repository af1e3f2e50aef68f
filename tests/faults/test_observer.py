# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The observer, on journals as services write them."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from portal.faults.observer import Sighting, breaches, disorder, read, running, strangers
from tests.support.processes import wait_until
from tests.unit.test_lab_services import ask, free_port, make, service

GROUPS = {"database": ("db",), "shop": ("api", "web")}


def seen(*words: str) -> list[Sighting]:
    """``frankfurt.db.start``, one a second; the pid is the same for all of a resource at a site."""
    parts = [word.split(".") for word in words]
    pids = {key: 10**9 + number for number, key in enumerate(dict.fromkeys((site, name) for site, name, _ in parts))}
    return [Sighting(float(at), name, site, event, pids[site, name]) for at, (site, name, event) in enumerate(parts)]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["f.db.start", "f.db.healthy", "f.api.start", "f.web.start"], []),
        (["f.db.start", "f.api.start"], ["api started at f before db had passed a health check"]),
        (["f.api.start"], ["api started at f before db ran"]),
        (["a.db.start", "a.db.healthy", "f.api.start"], ["api started at f before db ran"]),
        (["f.db.start", "f.db.healthy", "f.db.stop", "f.api.start"], ["api started at f before db ran"]),
        (["f.db.start", "f.db.healthy", "f.api.start", "f.api.stop", "f.db.stop"], []),
        (["f.db.start", "f.db.healthy", "f.api.start", "f.db.stop"], ["db stopped at f before api"]),
    ],
)
def test_the_order_of_groups(words: list[str], wrong: list[str]) -> None:
    assert disorder(seen(*words), GROUPS, checked_from=0) == wrong


def test_nothing_starts_where_the_plan_was_never_owned() -> None:
    assert strangers(seen("f.db.start", "a.db.start", "a.db.stop"), "a") == ["db started at a, which never owned the plan"]


def test_a_boot_starts_by_priority_without_checks() -> None:
    assert disorder(seen("f.db.start", "f.api.start"), GROUPS, checked_from=math.inf) == []
    assert disorder(seen("f.api.start", "f.db.start"), GROUPS, checked_from=math.inf) == ["api started at f before db ran"]


def test_who_runs_is_who_is_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()", "--name", "db"]) as process:
        alive = [Sighting(1, "db", "f", "start", process.pid), Sighting(1, "api", "f", "start", process.pid), *seen("a.db.start")]
        wait_until(lambda: running(alive) == {"f": {"db"}}, "it is seen")
        assert running([*alive, Sighting(2, "db", "f", "stop", process.pid)]) == {}
        process.kill()
    assert running(alive) == {}


def test_a_second_holder_is_a_breach(tmp_path: Path) -> None:
    """Two real services of one resource at two sites, both able to write."""
    first, second = tmp_path / "first.img", tmp_path / "second.img"
    make(tmp_path, "--volume", f"image:1:{first}", "--volume", f"image:1:{second}")
    one, other, observed = free_port("127.77.254.1"), free_port("127.77.254.1"), ("--observed", str(tmp_path))
    with service("store", first, one, *observed):
        ask(one, "/health")
        assert breaches(read(tmp_path)) == []
        with service("store", second, other, *observed):
            assert breaches(read(tmp_path)) == ["store started at frankfurt while another process could still write"]
    with service("store", second, other, *observed):
        pass
    events = [one.event for one in read(tmp_path)]
    assert events.count("breach") == 1
    assert events[:2] == ["start", "healthy"]
    assert events[-2:] == ["start", "stop"]
