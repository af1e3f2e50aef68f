# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The module xdr_health against real sockets and commands."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils import health
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from tests.support.http_server import http_server
from tests.support.processes import free_port
from tests.support.site_host import ModuleCaller, SiteHost, site_host


@pytest.fixture
def host(tmp_path: Path) -> SiteHost:
    return site_host(tmp_path)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> ModuleCaller:
    return ModuleCaller(capsys)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Answers 200 everywhere but for /sick, 503."""
    with http_server(tmp_path_factory.mktemp("web"), "primary") as port:
        yield port


def resource(name: str, *checks: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "checks": list(checks)}


def test_all_kinds_pass(host: SiteHost, call: ModuleCaller, web: int) -> None:
    checks: list[dict[str, Any]] = [
        {"tcp": web},
        {"http": {"port": web, "path": "/"}},
        {"http": {"port": web, "path": "/sick", "status": 503}},
        {"command": ["true"]},
    ]
    answer = call("xdr_health", host.changing(phase="health_checks/g", deadline=5, resources=[resource("shop", *checks), resource("bare")]))
    assert not answer["changed"]
    assert [result["resource_state"] for result in answer["results"]] == ["Validated", "Validated"]
    assert [(check["ok"], check["why"], check["tries"]) for check in answer["results"][0]["checks"]] == [(True, "", 1)] * 4
    assert (host.record.run or {})["phases"]["health_checks/g"]["done"]


def test_failures_name_resource_check_reason_and_deadline(host: SiteHost, call: ModuleCaller, web: int) -> None:
    closed = free_port()
    resources = [resource("db", {"tcp": closed}), resource("shop", {"tcp": web})]
    answer = call("xdr_health", host.changing(phase="health_checks/g", deadline=0.4, interval=0.1, resources=resources))
    assert f"db: tcp 127.0.0.1:{closed} did not pass (Connection refused); the deadline was 0.4 s" in answer["msg"]
    assert answer["xdr_code"] == "unhealthy"
    assert [result["resource_state"] for result in answer["results"]] == ["Failed", "Validated"]
    assert answer["results"][0]["checks"][0]["tries"] >= 3
    assert (host.record.run or {})["phases"]["health_checks/g"]["done"] is None


def test_without_an_attempt_no_phase_is_marked(host: SiteHost, call: ModuleCaller) -> None:
    assert "failed" not in call("xdr_health", host.arguments(resources=[resource("a", {"command": ["true"]})]))
    assert host.record.run is None


def test_a_service_that_comes_late_passes() -> None:
    port = free_port()
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def listen() -> None:
        server.bind(("127.0.0.1", port))
        server.listen()

    late = threading.Timer(0.3, listen)
    late.start()
    try:
        (result,) = health.run_checks(health.read_checks([resource("a", {"tcp": port})]), 5, 0.05)
    finally:
        late.join()
        server.close()
    assert result.ok
    assert result.tries > 1
    assert result.seconds < 4


def test_check_mode_checks_nothing(host: SiteHost, call: ModuleCaller) -> None:
    answer = call("xdr_health", host.changing(phase="health_checks/g", resources=[resource("db", {"tcp": free_port()})]), check=True)
    assert answer["skipped"]
    assert answer["results"] == [{"name": "db", "resource_state": "Pending", "checks": []}]
    assert host.record.run is None


def test_a_stale_attempt_is_refused(host: SiteHost, call: ModuleCaller) -> None:
    host.write_record(attempt=(1, 5))
    assert call("xdr_health", host.changing(resources=[resource("db", {"command": ["true"]})]))["xdr_code"] == "stale_attempt"


@pytest.mark.parametrize(
    ("check", "why"),
    [
        ({"command": ["sh", "-c", "echo no such table >&2; exit 3"]}, "exit status 3, it said: no such table"),
        ({"command": ["false"]}, "exit status 1"),
        ({"command": ["/nonexistent/program"]}, "No such file or directory"),
        ({"command": ["sleep", "60"]}, "it had not ended after 0.5 s"),
        ({"command": ["sh", "-c", "sleep 60 & sleep 60"]}, "it had not ended after 0.5 s"),
    ],
)
def test_why_a_command_fails(check: dict[str, Any], why: str) -> None:
    began = time.monotonic()
    (result,) = health.run_checks(health.read_checks([resource("a", check)]), 0.1, 0.2)
    assert (result.ok, result.why) == (False, why)
    assert time.monotonic() - began < 3


def test_why_http_fails(web: int) -> None:
    (check,) = health.read_checks([resource("a", {"http": {"port": web, "path": "/sick"}})])
    assert health.try_once(check, 2) == "HTTP status 503, expected 200"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (check,) = health.read_checks([resource("a", {"http": {"port": silent.getsockname()[1]}})])
        assert health.try_once(check, 0.2) == "no answer in 0.2 s"


@pytest.mark.parametrize(
    "check", [{}, {"udp": 1}, {"tcp": "x"}, {"tcp": 1, "command": ["a"]}, {"http": {}}, {"http": 80}, {"command": "a b"}, {"command": []}]
)
def test_what_is_no_check(check: dict[str, Any]) -> None:
    with pytest.raises(XdrError, match=r"^shop: the health check .* is not one"):
        health.read_checks([resource("shop", check)])


def test_more_checks_than_threads() -> None:
    checks = health.read_checks([resource(f"r{number}", {"command": [sys.executable, "-S", "-c", ""]}) for number in range(40)])
    assert all(result.ok for result in health.run_checks(checks, 30, 0.1))
