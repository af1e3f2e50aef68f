# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The module xdr_connectivity with a real sshd."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils import measuring
from ansible_collections.xdr.failback.plugins.module_utils.errors import NotReached
from ansible_collections.xdr.failback.plugins.module_utils.site import load_site
from ansible_collections.xdr.failback.plugins.plugin_utils.agent_archive import build

from tests.support.processes import free_port
from tests.support.site_host import ModuleCaller, SiteHost, site_host
from tests.support.sshd import Sshd, known_hosts_line, make_key, sshd

ADDRESS = "127.0.0.41"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> ModuleCaller:
    return ModuleCaller(capsys)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd"), address=ADDRESS) as server:
        yield server


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An sshd whose forced command answers only a ping."""
    folder = tmp_path_factory.mktemp("agent")
    script = folder / "agent.sh"
    script.write_text('#!/bin/sh\nif [ "$SSH_ORIGINAL_COMMAND" = ping ]; then echo pong; else echo "invalid choice" >&2; exit 2; fi\n')
    script.chmod(0o755)
    with sshd(folder / "sshd", address=ADDRESS, forced_command=str(script)) as server:
        yield server


@pytest.fixture(scope="module")
def strange_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "strange"
    make_key(path)
    return path


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts and says nothing."""
    with socket.create_server((ADDRESS, 0)) as server:
        yield server.getsockname()[1]


def target(server: Sshd, **other: Any) -> dict[str, Any]:
    return {"name": "fra-hv1", **server.peer(), **other}


def one(answer: dict[str, Any]) -> dict[str, Any]:
    (result,) = answer["results"]
    assert isinstance(result, dict)
    return result


def from_controller(*targets: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {"origin": "controller", "targets": list(targets), "timeout": 5, **other}


def test_the_controller_connects(call: ModuleCaller, server: Sshd) -> None:
    result = one(call("xdr_connectivity", from_controller(target(server))))
    assert (result["from"], result["to"], result["result"], result["why"]) == ("controller", "fra-hv1", "CONNECTED", "")
    assert all(0 < result[leg] < 5000 for leg in ("ms", "tcp_ms", "ssh_ms"))


def test_a_strange_host_key_of_either_kind(call: ModuleCaller, server: Sshd, strange_key: Path, tmp_path: Path) -> None:
    pinned = tmp_path / "known_hosts"
    public = strange_key.with_suffix(".pub").read_text().strip()
    pinned.write_text(known_hosts_line(server.address, server.port, public))
    answer = call("xdr_connectivity", from_controller(target(server, known_hosts=str(pinned))))
    assert answer["failed"]
    assert one(answer)["result"] == "HOST_KEY"
    assert f"{pinned} pins another" in answer["msg"]
    assert answer["msg"].startswith("controller → fra-hv1, HOST_KEY: ")
    pinned.write_text("")
    assert "pins no host key" in call("xdr_connectivity", from_controller(target(server, known_hosts=str(pinned))))["msg"]
    assert "cannot be read" in call("xdr_connectivity", from_controller(target(server, known_hosts=str(tmp_path / "none"))))["msg"]


def test_a_login_that_is_refused(call: ModuleCaller, server: Sshd, strange_key: Path) -> None:
    result = one(call("xdr_connectivity", from_controller(target(server, key=str(strange_key)))))
    assert result["result"] == "LOGIN"
    assert "refused the login" in result["why"]
    assert result["tcp_ms"] > 0
    assert result["ms"] is None
    missing = one(call("xdr_connectivity", from_controller(target(server, key="/nonexistent/key"))))
    assert (missing["result"], "does not exist" in missing["why"]) == ("LOGIN", True)


def test_a_key_that_is_none(call: ModuleCaller, server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("nonsense")
    result = one(call("xdr_connectivity", from_controller(target(server, key=str(tmp_path / "key")))))
    assert result["result"] in ("LOGIN", "SSH")
    assert result["why"]


def test_tcp_that_is_refused_and_a_port_that_is_silent(call: ModuleCaller, server: Sshd, silent: int) -> None:
    refused = target(server, port=free_port(ADDRESS))
    known = server.known_hosts
    quiet = target(server, name="ams-hv1", port=silent, known_hosts=str(known.with_name("silent_hosts")))
    key = known.read_text().split(" ", 1)[1].strip()
    known.with_name("silent_hosts").write_text(known_hosts_line(ADDRESS, silent, key))
    answer = call("xdr_connectivity", from_controller(refused, quiet, timeout=1, must_connect=False))
    assert "failed" not in answer
    assert [result["result"] for result in answer["results"]] == ["TCP", "SSH"]
    assert "refused the connection. Start sshd there" in answer["results"][0]["why"]


def test_an_account_that_may_run_nothing(call: ModuleCaller, agent: Sshd) -> None:
    result = one(call("xdr_connectivity", from_controller(target(agent))))
    assert (result["result"], "exit status 2" in result["why"]) == ("AGENT", True)


@pytest.fixture
def site(tmp_path: Path, agent: Sshd, server: Sshd, strange_key: Path) -> SiteHost:
    host = site_host(tmp_path / "state")
    pinned = tmp_path / "known_hosts"
    pinned.write_text(known_hosts_line(agent.address, agent.port, strange_key.with_suffix(".pub").read_text().strip()))
    peers = {
        "good": agent.peer(),
        "wrong-key": {**agent.peer(), "known_hosts": str(pinned)},
        "wrong-login": {**agent.peer(), "key": str(strange_key)},
        "off": {**agent.peer(), "port": free_port(ADDRESS)},
        "no-agent": server.peer(),
    }
    host.write_site(peers=peers)
    return host


def test_from_site_to_site(call: ModuleCaller, site: SiteHost) -> None:
    names = ["good", "wrong-key", "wrong-login", "off", "no-agent"]
    answer = call("xdr_connectivity", site.arguments(origin="site", peers=names, timeout=8))
    results = {result["to"]: result for result in answer["results"]}
    assert {name: result["result"] for name, result in results.items()} == {
        "good": "CONNECTED",
        "wrong-key": "HOST_KEY",
        "wrong-login": "LOGIN",
        "off": "TCP",
        "no-agent": "AGENT",
    }
    assert results["good"]["ms"] > results["good"]["tcp_ms"] > 0
    assert all(result["from"] == "hv1" for result in answer["results"])
    assert answer["xdr_code"] == "no_connection"
    assert "good" not in answer["msg"].replace("hv1 → ", "").split(";")[0]


@pytest.fixture
def linked(tmp_path: Path) -> Iterator[SiteHost]:
    """A host whose peer runs the real agent."""
    far = site_host(tmp_path / "far")
    path = tmp_path / "agent.pyz"
    path.write_bytes(build().content)
    forced = f"/usr/bin/python3 -I {path} ssh --state-dir {far.state_dir}"
    with sshd(tmp_path / "sshd", address=ADDRESS, forced_command=forced) as server:
        host = site_host(tmp_path / "state")
        host.write_site(peers={"far": server.peer()})
        yield host


def test_the_real_agent_tells_version_and_clock_and_the_way_is_measured(call: ModuleCaller, linked: SiteHost) -> None:
    asked = linked.arguments(origin="site", peers=["far"], measure=["far"])
    result = one(call("xdr_connectivity", asked))
    assert (result["result"], result["version"], result["unmeasured"]) == ("CONNECTED", build().version, "")
    assert abs(result["clock_s"]) <= result["clock_error_s"] + 0.1, "it is one machine"
    assert 0 < result["latency_ms"] < result["ms"]
    assert result["bytes_per_s"] is None
    with_bytes = one(call("xdr_connectivity", {**asked, "transfer_bytes": 3 << 20}))
    assert with_bytes["bytes_per_s"] > 0


def test_no_more_is_sent_than_allowed(linked: SiteHost) -> None:
    peer = load_site(linked.state_dir).peers["far"]
    assert measuring.measure(peer, 1 << 20)["bytes_sent"] <= 1 << 20
    assert "bytes_sent" not in measuring.measure(peer, 0)


def test_an_agent_that_does_not_measure(call: ModuleCaller, site: SiteHost) -> None:
    """An older one, here one that knows only ping."""
    result = one(call("xdr_connectivity", site.arguments(origin="site", peers=["good"], measure=["good"], transfer_bytes=1 << 20)))
    assert (result["result"], result["latency_ms"]) == ("CONNECTED", None)
    assert result["unmeasured"] == "good: its agent is older and measures nothing. Apply the role site_agent to it"


def test_a_measurement_that_takes_too_long_is_given_up(linked: SiteHost) -> None:
    peer = load_site(linked.state_dir).peers["far"]
    with pytest.raises(NotReached, match=r"took longer than 0\.001 s"):
        measuring.measure(peer, 1 << 20, within=0.001)


def test_what_is_no_question_ends_the_measurement() -> None:
    answers = io.BytesIO()
    assert measuring.serve(io.BytesIO(b"P\0\0\0\0D\0\0\0\3abcE\0\0\0\0"), answers) == 0
    assert answers.getvalue() == b"PE"
    assert measuring.serve(io.BytesIO(b"D\xff\xff\xff\xff"), answers) == 2
    assert measuring.serve(io.BytesIO(b"X\0\0\0\0"), answers) == 2


def test_a_name_that_is_no_peer(call: ModuleCaller, site: SiteHost) -> None:
    answer = call("xdr_connectivity", site.arguments(origin="site", peers=["mars"]))
    assert "hv1: 'mars' is no peer of this host; it has: good, " in answer["msg"]
