# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils import order
from hypothesis import given
from hypothesis import strategies as st

GROUPS = st.lists(st.integers(1, 9999), unique=True, min_size=1, max_size=12).map(
    lambda priorities: [{"name": f"g{n}", "priority": priority, "resources": []} for n, priority in enumerate(priorities)]
)


@given(GROUPS)
def test_stop_order_is_the_exact_reverse_of_start_order(groups: list[dict[str, Any]]) -> None:
    started = [group["name"] for group in order.start_order(groups)]
    assert order.stop_order(groups) == started[::-1]
    assert [group["priority"] for group in order.start_order(groups)] == sorted(group["priority"] for group in groups)


@given(GROUPS, st.randoms(use_true_random=False))
def test_order_and_hash_do_not_depend_on_where_a_group_stands_in_the_file(groups: list[dict[str, Any]], random: Any) -> None:
    shuffled = copy.deepcopy(groups)
    random.shuffle(shuffled)
    one = order.finished({"name": "shop", "file": "a.yml", "start_order": groups})
    other = order.finished({"name": "shop", "file": "b.yml", "start_order": shuffled})
    assert {**one, "file": ""} == {**other, "file": ""}


@given(GROUPS, st.data())
def test_hash_changes_with_a_priority(groups: list[dict[str, Any]], data: st.DataObject) -> None:
    before = order.finished({"name": "shop", "file": "", "start_order": copy.deepcopy(groups)})["hash"]
    data.draw(st.sampled_from(groups))["priority"] = 10_000
    assert order.finished({"name": "shop", "file": "", "start_order": groups})["hash"] != before


QEMU = {"kind": "qemu_bitmap", "image": "orders.qcow2", "socket": "/run/orders.qmp", "nbd": "run/nbd"}
PLAN: dict[str, Any] = {
    "name": "shop",
    "hash": "h",
    "witness": "wit",
    "sites": {
        "primary": {"name": "frankfurt", "hosts": ["fra1", "fra2"], "record_host": "fra1"},
        "dr": {"name": "amsterdam", "hosts": ["ams1"], "record_host": "ams1"},
    },
    "start_order": [
        {
            "name": "db",
            "priority": 1,
            "consistency_group": True,
            "resources": [
                {
                    "name": "orders-db",
                    "hosts": {"primary": "fra1", "dr": "ams1"},
                    "instance": {"driver": "supervisor", "program": "orders"},
                    "volumes": [{"name": "orders", "path": "orders.img", "driver": "delta", "grows": True, "tracker": QEMU}],
                    "quiesce": {"before": [["freeze", "{volume}"]], "after": [["{site_dir}/thaw", "{state_dir}"]]},
                    "health": [{"tcp": 5432}],
                    "start_timeout": 30,
                    "stop_timeout": 40,
                }
            ],
        },
        {
            "name": "web",
            "priority": 2,
            "consistency_group": False,
            "resources": [
                {
                    "name": "web",
                    "hosts": {"primary": "fra2", "dr": "ams1"},
                    "instance": {"driver": "supervisor", "program": "web"},
                    "volumes": [{"name": "web", "path": "/data/web.img", "driver": "delta", "grows": False, "tracker": {"kind": "auto"}}],
                    "quiesce": None,
                    "health": [],
                    "start_timeout": 60,
                    "stop_timeout": 60,
                }
            ],
        },
    ],
    "traffic": {"load_balancers": [{"name": "front", "host": "wit", "socket": None, "backend": "shop", "servers": {}, "verify": None}]},
}  # fmt: skip
HOST = {"xdr_volume_roots": ["/srv/volumes", "/data"], "xdr_state_dir": "/srv/xdr/state", "xdr_service_address": "127.0.0.9"}


def test_each_host_gets_what_runs_there() -> None:
    assert [v["name"] for v in order.volumes_for(PLAN, "primary", "fra1")] == ["orders"]
    assert [v["name"] for v in order.volumes_for(PLAN, "dr", "ams1")] == ["orders", "web"]
    assert order.volumes_for(PLAN, "dr", "fra1") == []
    assert order.instances_for(PLAN, "web", "primary", "fra2") == [{"name": "web"}]
    assert order.instances_for(PLAN, "web", "primary", "fra1") == []


def test_document_of_a_host() -> None:
    document = order.plan_document(PLAN, "dr", "ams1", HOST)
    assert (document["site"], document["record_host"]) == ("dr", True)
    assert document["volumes"]["orders"]["path"] == "/srv/volumes/orders.img"
    assert document["volumes"]["orders"]["unit"] == "db"
    assert document["volumes"]["orders"]["peer"] == "fra1"
    assert document["volumes"]["orders"]["quiesce"] == {
        "before": [["freeze", "/srv/volumes/orders.img"]],
        "after": [["/srv/xdr/thaw", "/srv/xdr/state"]],
    }
    assert document["volumes"]["orders"]["tracker"] == {
        "kind": "qemu_bitmap",
        "image": "/srv/volumes/orders.qcow2",
        "socket": "/run/orders.qmp",
        "nbd": "/srv/volumes/run/nbd",
    }
    web = document["volumes"]["web"]
    assert web["tracker"] == {"kind": "auto"}
    assert (web["path"], web["unit"], web["peer"], web["quiesce"]) == ("/data/web.img", "web", "fra2", None)
    assert document["instances"]["orders-db"]["stop_timeout"] == 40
    assert order.plan_document(PLAN, "primary", "fra2", HOST)["record_host"] is False


def test_document_of_the_witness_is_empty_but_for_the_names() -> None:
    document = order.plan_document(PLAN, "witness", "wit", HOST)
    assert (document["record_host"], document["volumes"], document["instances"]) == (True, {}, {})


def test_health_is_checked_where_the_services_listen() -> None:
    assert order.health_for(PLAN, "db", "dr", "ams1", HOST) == [{"name": "orders-db", "checks": [{"tcp": 5432}], "address": "127.0.0.9"}]
    assert order.health_for(PLAN, "web", "dr", "ams1", HOST) == []


def test_balancer_takes_its_socket_from_the_hosts_variables() -> None:
    items = order.load_balancers_for(PLAN, "wit", {"xdr_haproxy_socket": "/run/haproxy.sock"})
    assert [item["socket"] for item in items] == ["/run/haproxy.sock"]
    assert order.load_balancers_for(PLAN, "fra1", {}) == []


def test_room_is_needed_where_volumes_and_spool_lie() -> None:
    items = order.capacity_for(PLAN, "dr", "ams1", HOST, 1000)
    assert {item["path"]: item["needs_bytes"] for item in items} == {"/srv/xdr/state": 1000, "/srv/volumes": 1000, "/data": 1000}
    assert all(item["needs_bytes"] == 0 for item in order.capacity_for(PLAN, "dr", "ams1", HOST, "unknown"))


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({**HOST, "xdr_volume_roots": []}, "ams1: the inventory variable xdr_volume_roots is not set"),
        ({**HOST, "xdr_state_dir": ""}, "ams1: the inventory variable xdr_state_dir is not set"),
        ({**HOST, "xdr_volume_roots": ["/srv/volumes"]}, "ams1: the volume path /data/web.img is outside the volume roots"),
    ],
)
def test_document_needs_the_hosts_variables(variables: dict[str, Any], says: str) -> None:
    with pytest.raises(XdrError, match=says):
        order.plan_document(PLAN, "dr", "ams1", {**variables, "inventory_hostname": "ams1"})


def test_who_learns_of_a_lease() -> None:
    """DR's hosts do not: nobody takes over from them unasked, so a lease could only stop their services."""
    plan = copy.deepcopy(PLAN)
    for group in plan["start_order"]:
        for resource in group["resources"]:
            resource["stop_timeout"] = 30
    plan["start_order"][0]["resources"][0]["stop_timeout"] = 45
    plan["ownership"] = {"lease": {"ttl": 90, "loop_wait": 10, "retry_timeout": 10}}
    terms = {"ttl": 90, "loop_wait": 10, "retry_timeout": 10, "stop_timeout": 45}
    hosts = sorted({resource["hosts"]["primary"] for group in plan["start_order"] for resource in group["resources"]})
    assert order.plan_document(plan, "primary", "fra1", HOST)["lease"] == terms
    assert order.plan_document(plan, "witness", "wit", HOST)["lease"] == {**terms, "hosts": hosts}
    assert "lease" not in order.plan_document(plan, "dr", "ams1", HOST)
    plan["ownership"] = {"lease": None}
    assert "lease" not in order.plan_document(plan, "primary", "fra1", HOST)
