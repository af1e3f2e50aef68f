# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What is found before anything is stopped: hosts that are not reached, volumes of another size, ports that are taken."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils import health
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.gate import decide
from ansible_collections.xdr.failback.plugins.plugin_utils.order import ports_for
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import derive

from tests.support.processes import free_port
from tests.support.site_host import ModuleCaller, site_host
from tests.support.world import PLAN, World

HOSTS = {"primary": "fra", "dr": "ams"}


@contextlib.contextmanager
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Connection refused", "fra does not answer. Run the connectivity test"),
        ("Host key verification failed.", "fra shows another host key than the pinned one. Find out why"),
        ("xdr@fra: Permission denied (publickey).", "fra refuses the login. See that its authorized_keys"),
    ],
)
def test_why_a_host_is_not_reached(said: str, told: str) -> None:
    world = World().reversing()
    world.dead = {"primary"}
    reads = world.reads()
    reads["fra"]["why"] = said
    with pytest.raises(XdrError, match="nothing was changed") as refusal:
        decide("failback", PLAN, derive(PLAN, reads), reads, {})
    assert told in refusal.value.sentence()
    assert refusal.value.code == "not_reached"


@pytest.mark.parametrize(("size", "grows", "refused"), [(9, False, True), (9, True, False), (8, False, False), (None, False, False)])
def test_volumes_of_another_size(size: int | None, grows: bool, refused: bool) -> None:
    volume = {"name": "orders", "grows": grows}
    plan = {**PLAN, "start_order": [{"name": "db", "resources": [{"name": "orders-db", "hosts": HOSTS, "volumes": [volume]}]}]}
    reads = World().reversing().reads()
    reads["fra"]["replication"][0]["size"] = size
    reads["ams"]["replication"][0]["size"] = 8
    with pytest.raises(XdrError, match="orders has 9 bytes on fra and 8 bytes on ams") if refused else contextlib.nullcontext():
        assert decide("failback", plan, derive(plan, reads), reads, {}).proceed


def test_the_ports_of_a_host() -> None:
    resource = {"name": "shop", "hosts": HOSTS, "health": [{"tcp": 1}, {"http": {"port": 2, "path": "/"}}, {"command": ["true"]}]}
    plan: dict[str, Any] = {**PLAN, "start_order": [{"name": "web", "resources": [resource]}]}
    assert ports_for(plan, "primary", "fra", {"xdr_service_address": "127.0.0.5"}) == [
        {"name": "shop", "address": "127.0.0.5", "port": 1},
        {"name": "shop", "address": "127.0.0.5", "port": 2},
    ]


def test_a_taken_port_degrades_and_is_refused_where_that_matters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host, call = site_host(tmp_path), ModuleCaller(capsys)
    with listener() as taken:
        ports = [{"name": "shop", "address": "127.0.0.1", "port": port} for port in (taken, free_port())]
        found = call("xdr_site", host.arguments(ports=ports))
        refused = call("xdr_site", host.arguments(ports=ports, at_least="Healthy"))
    [reason] = [reason for reason in found["reasons"] if "is taken" in reason]
    assert reason.startswith(f"port {taken} on 127.0.0.1 is taken by another program, so shop cannot start")
    assert "failed" not in found
    assert refused["xdr_code"] == "unhealthy"
    assert refused["msg"].startswith("hv1: this host is ")
    assert reason in refused["msg"]


def test_an_ended_instance_passes_no_check_whatever_answers() -> None:
    with listener() as port:
        checks = health.read_checks([{"name": "shop", "checks": [{"tcp": port}]}])
        [result] = health.run_checks(checks, 60, 0.1, lambda resource: f"{resource} ended")
    assert (result.ok, result.why, result.tries) == (False, "shop ended", 1)
