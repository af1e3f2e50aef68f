# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The module xdr_traffic with a real HAProxy and a real server for each site."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.traffic import haproxy as driver
from ansible_collections.xdr.failback.plugins.module_utils.traffic import interface
from hypothesis import given
from hypothesis import strategies as st

from tests.support.haproxy import RunningHAProxy, haproxy
from tests.support.http_server import http_server
from tests.support.processes import free_port
from tests.support.site_host import ModuleCaller, SiteHost, site_host

SERVERS = {"primary": ["fra-1", "fra-2"], "dr": ["ams-1"]}


@pytest.fixture
def host(tmp_path: Path) -> SiteHost:
    return site_host(tmp_path, site="witness")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> ModuleCaller:
    return ModuleCaller(capsys)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    folder = tmp_path_factory.mktemp("web")
    with http_server(folder, "frankfurt") as primary, http_server(folder, "amsterdam") as dr:
        yield primary, dr


@pytest.fixture
def proxy(sites: tuple[int, int]) -> Iterator[RunningHAProxy]:
    primary, dr = sites
    check = "check inter 100 fall 1 rise 1"
    servers = {
        "fra-1": f"127.0.0.1:{primary} {check} disabled",
        "fra-2": f"127.0.0.1:{primary} disabled",
        "ams-1": f"127.0.0.1:{dr} {check}",
        "dead": f"127.0.0.1:{free_port()} {check} disabled",
    }
    with haproxy(servers) as proxy:
        yield proxy


def balancer(proxy: RunningHAProxy, **other: Any) -> dict[str, Any]:
    verify = {"url": f"http://127.0.0.1:{proxy.port}/", "header": "X-XDR-Site", "values": {"primary": "frankfurt", "dr": "amsterdam"}}
    return {"name": "front", "socket": str(proxy.socket), "backend": "shop", "servers": SERVERS, "verify": verify, **other}


def switched(host: SiteHost, to: str, *balancers: dict[str, Any], deadline: float = 10) -> dict[str, Any]:
    return host.changing(state="switched", to=to, phase="switch_traffic", load_balancers=list(balancers), deadline=deadline)


def status(host: SiteHost, call: ModuleCaller, proxy: RunningHAProxy) -> str:
    side: str = call("xdr_traffic", host.arguments(load_balancers=[balancer(proxy)]))["results"][0]["before"]
    return side


def answered_by(proxy: RunningHAProxy) -> str:
    return driver.read_header(f"http://127.0.0.1:{proxy.port}/", "X-XDR-Site", 2)


def test_there_and_back_and_twice(host: SiteHost, call: ModuleCaller, proxy: RunningHAProxy) -> None:
    assert status(host, call, proxy) == "dr"
    home = call("xdr_traffic", switched(host, "primary", balancer(proxy)))
    [result] = home["results"]
    [seen] = result.pop("evidence")
    assert 0 < result.pop("seconds") < 60
    assert result == {"name": "front", "before": "dr", "after": "primary", "changed": True, "verified": True, "remark": "", "why": ""}
    assert (seen["by"], seen["said"]) == (f"GET http://127.0.0.1:{proxy.port}/", "X-XDR-Site: frankfurt")
    assert seen["at"] <= time.time()
    assert home["diff"]["before"] == "front/ams-1: ready\nfront/fra-1: maint\nfront/fra-2: maint\n"
    assert home["diff"]["after"] == "front/ams-1: maint\nfront/fra-1: ready\nfront/fra-2: ready\n"
    assert {answered_by(proxy) for _ in range(6)} == {"X-XDR-Site: frankfurt"}
    assert (host.record.run or {})["phases"]["switch_traffic"]["done"]

    again = call("xdr_traffic", switched(host, "primary", balancer(proxy)))
    assert not again["changed"]
    assert again["results"][0]["verified"]

    assert call("xdr_traffic", switched(host, "dr", balancer(proxy)))["changed"]
    assert answered_by(proxy) == "X-XDR-Site: amsterdam"


def test_check_mode(host: SiteHost, call: ModuleCaller, proxy: RunningHAProxy) -> None:
    answer = call("xdr_traffic", switched(host, "primary", balancer(proxy)), check=True)
    assert answer["changed"]
    assert (answer["results"][0]["before"], answer["results"][0]["after"]) == ("dr", "primary")
    assert status(host, call, proxy) == "dr"
    assert host.record.run is None


def test_without_an_attempt_on_a_host_without_the_plan(call: ModuleCaller, proxy: RunningHAProxy, tmp_path: Path) -> None:
    arguments = {"plan": "webshop", "state_dir": str(tmp_path / "none"), "state": "switched", "to": "primary"}
    answer = call("xdr_traffic", {**arguments, "load_balancers": [balancer(proxy, verify=None)]})
    assert answer["results"][0]["after"] == "primary"
    assert not answer["results"][0]["verified"]


def test_a_stale_attempt_switches_nothing(host: SiteHost, call: ModuleCaller, proxy: RunningHAProxy) -> None:
    host.write_record(attempt=(1, 9))
    assert call("xdr_traffic", switched(host, "primary", balancer(proxy)))["xdr_code"] == "stale_attempt"
    assert status(host, call, proxy) == "dr"


def test_servers_that_are_down_are_named_with_haproxys_reason(host: SiteHost, call: ModuleCaller, proxy: RunningHAProxy) -> None:
    item = balancer(proxy, servers={"primary": ["dead"], "dr": ["ams-1"]})
    answer = call("xdr_traffic", switched(host, "primary", item, deadline=1.5))
    assert answer["failed"]
    assert "front: " in answer["msg"]
    assert "dead is DOWN" in answer["msg"] or "X-XDR-Site: frankfurt" in answer["msg"]
    assert answer["results"][0]["after"] == "primary"


def test_the_answer_through_the_balancer_counts(host: SiteHost, call: ModuleCaller, proxy: RunningHAProxy) -> None:
    verify = {"url": f"http://127.0.0.1:{proxy.port}/", "header": "X-XDR-Site", "values": {"primary": "berlin", "dr": "amsterdam"}}
    answer = call("xdr_traffic", switched(host, "primary", balancer(proxy, verify=verify), deadline=0.5))
    assert "was not answered with X-XDR-Site: berlin in 0.5 s, the last answer was X-XDR-Site: frankfurt" in answer["msg"]
    assert (host.record.run or {})["phases"]["switch_traffic"]["done"] is None


@pytest.mark.parametrize(
    ("other", "code", "words"),
    [
        (
            {"socket": "/nonexistent/a.sock"},
            "not_reached",
            "HAProxy does not answer at its runtime socket /nonexistent/a.sock (No such file or directory)",
        ),
        ({"backend": "cellar"}, "failed", "HAProxy has no backend 'cellar'"),
        (
            {"servers": {"primary": ["fra-9"], "dr": []}},
            "failed",
            "backend shop has no server 'fra-9'. Correct the plan's servers; it has: fra-1",
        ),
    ],
)
def test_what_is_not_there_is_named(
    host: SiteHost, call: ModuleCaller, proxy: RunningHAProxy, other: dict[str, Any], code: str, words: str
) -> None:
    answer = call("xdr_traffic", switched(host, "primary", balancer(proxy, **other)))
    assert words in answer["msg"]
    assert answer["xdr_code"] == code
    assert status(host, call, proxy) == "dr"


def test_a_socket_that_may_only_look(host: SiteHost, call: ModuleCaller, proxy: RunningHAProxy) -> None:
    answer = call("xdr_traffic", switched(host, "primary", balancer(proxy, socket=str(proxy.reader_socket))))
    assert "Give its stats socket 'level admin'" in answer["msg"]
    assert not answer["changed"]


def test_the_write_access_is_tried_and_nothing_is_switched(host: SiteHost, call: ModuleCaller, proxy: RunningHAProxy) -> None:
    answer = call("xdr_traffic", host.arguments(state="checked", load_balancers=[balancer(proxy)]))
    assert (answer["changed"], answer["results"][0]["before"], answer["results"][0]["remark"]) == (False, "dr", "")
    refused = call("xdr_traffic", host.arguments(state="checked", load_balancers=[balancer(proxy, socket=str(proxy.reader_socket))]))
    assert "Give its stats socket 'level admin'" in refused["msg"]
    assert status(host, call, proxy) == "dr"


@pytest.mark.parametrize(
    ("bits", "state"),
    [(0, "ready"), (1, "maint"), (2, "maint"), (4, "ready"), (5, "maint"), (8, "drain"), (16, "drain"), (9, "maint"), (32, "maint")],
)
def test_admin_state(bits: int, state: str) -> None:
    assert driver.admin_state(bits) == state


STATES = st.fixed_dictionaries({name: st.sampled_from(["ready", "drain", "maint"]) for names in SERVERS.values() for name in names})


@given(states=STATES, to=st.sampled_from(["primary", "dr"]))
def test_a_plan_leads_to_its_side_and_never_to_both(states: dict[str, str], to: str) -> None:
    """Once this side's first server comes in, none of the other's is in; planned again, nothing is left to do."""
    now = dict(states)
    for switch in driver.plan_switches(states, SERVERS, to):
        assert isinstance(switch, interface.Switch)
        assert now[switch.server] == switch.before
        now[switch.server] = switch.after
        if switch.after == "ready":
            assert not any(now[name] == "ready" for name in SERVERS[driver.OTHER[to]])
    assert driver.which_side(now, SERVERS) == to
    assert driver.plan_switches(now, SERVERS, to) == []
