# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The module xdr_site on real folders."""

from __future__ import annotations

import os
import socket
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils import capacity

from tests.support.processes import short_folder
from tests.support.site_host import ModuleCaller, SiteHost, site_host


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> ModuleCaller:
    return ModuleCaller(capsys)


def write_agent(host: SiteHost, code: str = "print('0.1.0')") -> None:
    path = host.state_dir / capacity.AGENT
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__main__.py", code)


@pytest.fixture
def host() -> Iterator[SiteHost]:
    """A healthy one, with a socket in the supervisor's place."""
    with short_folder() as folder, socket.socket(socket.AF_UNIX) as server:
        host = site_host(folder / "state")
        server.bind(str(folder / "s.sock"))
        server.listen()
        (folder / "volumes").mkdir()
        host.write_site(volume_roots=[str(folder / "volumes")], supervisor_socket=str(folder / "s.sock"))
        write_agent(host)
        yield host


def look(host: SiteHost, call: ModuleCaller, *paths: dict[str, Any]) -> dict[str, Any]:
    return call("xdr_site", host.arguments(paths=list(paths)))


def test_healthy(host: SiteHost, call: ModuleCaller) -> None:
    answer = look(host, call, {"path": str(host.state_dir / "not" / "there.img"), "needs_bytes": 1})
    assert (answer["health"], answer["reasons"], answer["agent_version"]) == ("Healthy", [], "0.1.0")
    assert not answer["changed"]
    assert 0 < answer["capacity"][0]["free_bytes"] <= answer["capacity"][0]["total_bytes"]
    assert abs(answer["time"] - time.time()) < 60


def test_room_is_added_up_for_each_file_system(host: SiteHost, call: ModuleCaller) -> None:
    free = look(host, call, {"path": str(host.state_dir)})["capacity"][0]["free_bytes"]
    wanted = [{"path": str(host.state_dir / name), "needs_bytes": free * 2 // 3} for name in ("a", "b")]
    assert look(host, call, wanted[0])["health"] == "Healthy"
    answer = look(host, call, *wanted)
    assert answer["health"] == "Failed"
    assert "a, " in answer["reasons"][0]
    assert "bytes are needed" in answer["reasons"][0]


def test_a_missing_volume_root_fails(host: SiteHost, call: ModuleCaller) -> None:
    host.write_site(volume_roots=["/nonexistent/volumes"])
    answer = look(host, call)
    assert answer["health"] == "Failed"
    assert answer["reasons"] == ["the volume root /nonexistent/volumes does not exist. Make it, or apply the role site_agent"]


def test_a_silent_supervisor_degrades(host: SiteHost, call: ModuleCaller) -> None:
    host.write_site(supervisor_socket="/nonexistent/s.sock")
    answer = look(host, call)
    assert answer["health"] == "Degraded"
    assert "no instance can be started" in answer["reasons"][0]


@pytest.mark.parametrize(
    ("code", "words"), [("raise SystemExit(3)", "exit status 3"), ("no python here", "SyntaxError"), (None, "is missing")]
)
def test_an_agent_that_cannot_be_run_fails(host: SiteHost, call: ModuleCaller, code: str | None, words: str) -> None:
    if code is None:
        (host.state_dir / capacity.AGENT).unlink()
    else:
        write_agent(host, code)
    answer = look(host, call)
    assert (answer["health"], answer["agent_version"]) == ("Failed", "")
    assert words in answer["reasons"][0]


def test_a_host_that_is_not_set_up_fails_with_what_to_do(call: ModuleCaller, tmp_path: Path) -> None:
    answer = call("xdr_site", {"state_dir": str(tmp_path / "none"), "paths": [{"path": str(tmp_path)}]})
    assert answer["health"] == "Failed"
    assert any("Apply the role site_agent" in reason for reason in answer["reasons"])


def test_a_clock_that_jumped_back_degrades(host: SiteHost, call: ModuleCaller) -> None:
    ahead = time.time() + 3600
    os.utime(host.state_dir / "site.json", (ahead, ahead))
    answer = look(host, call)
    assert answer["health"] == "Degraded"
    assert answer["reasons"][0].startswith("the clock is 3")
