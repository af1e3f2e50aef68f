# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The module xdr_plan on real files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json, write_json
from ansible_collections.xdr.failback.plugins.module_utils.running import start_time

from tests.support.site_host import ModuleCaller, SiteHost


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> ModuleCaller:
    return ModuleCaller(capsys)


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    (tmp_path / "volumes").mkdir()
    (tmp_path / "volumes" / "orders.img").write_bytes(bytes(4096))
    return tmp_path / "volumes"


@pytest.fixture
def host(tmp_path: Path, roots: Path) -> SiteHost:
    host = SiteHost(tmp_path / "state")
    host.write_site(volume_roots=[str(roots)])
    return host


def document(roots: Path, plan: str = "webshop", *, path: str = "orders.img", instance: str = "db", **fields: Any) -> dict[str, Any]:
    volume = {"path": str(roots / path), "driver": "delta", "grows": False, "resource": instance, "group": "g"}
    return {
        "plan": plan,
        "hash": "h",
        "site": "primary",
        "host": "hv1",
        "witness": "w1",
        "record_host": True,
        "volumes": {"orders": {**volume, "quiesce": None, "unit": "g", "peer": "hv2"}},
        "instances": {instance: {"driver": "supervisor", "group": "g", "priority": 1}},
        **fields,
    }


def present(host: SiteHost, wanted: dict[str, Any]) -> dict[str, Any]:
    return {"plan": wanted["plan"], "state_dir": str(host.state_dir), "document": wanted}


def test_read_needs_no_file_and_makes_none(tmp_path: Path, call: ModuleCaller) -> None:
    answer = call("xdr_plan", {"plan": "shop", "state_dir": str(tmp_path), "state": "read", "replication": True, "lag": True})
    assert (answer["changed"], answer["document"], answer["owns"], answer["results"]) == (False, None, False, [])
    assert (answer["record"]["epoch"], answer["record"]["standing"]) == (0, "none")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "told"), [({}, []), ({"replication": True}, ["orders"]), ({"replication": True, "lag": True}, ["orders"])]
)
def test_read_tells_the_registration_the_record_and_on_demand_the_replication(
    host: SiteHost, roots: Path, call: ModuleCaller, asked: dict[str, bool], told: list[str]
) -> None:
    call("xdr_plan", present(host, document(roots)))
    host.write_record()
    answer = call("xdr_plan", host.arguments(state="read", **asked))
    assert (answer["document"], answer["owns"], answer["record"]["epoch"]) == (document(roots), True, 1)
    assert [(one["volume"], one["role"]) for one in answer["results"]] == [(name, "none") for name in told]


def test_present_twice_and_absent_twice(host: SiteHost, roots: Path, call: ModuleCaller) -> None:
    wanted = document(roots)
    predicted = call("xdr_plan", present(host, wanted), check=True)
    assert predicted["changed"]
    assert not host.plan_dir.exists()
    first = call("xdr_plan", present(host, wanted))
    assert (first["changed"], first["diff"]) == (True, {"before": {}, "after": wanted})
    assert read_json(host.plan_dir / "plan.json") == wanted
    assert not call("xdr_plan", present(host, wanted))["changed"]
    changed = call("xdr_plan", present(host, {**wanted, "hash": "h2"}))
    assert (changed["diff"]["before"]["hash"], changed["diff"]["after"]["hash"]) == ("h", "h2")
    host.write_record(epoch=7)
    gone = host.arguments(state="absent")
    assert call("xdr_plan", gone, check=True)["changed"]
    assert call("xdr_plan", gone)["changed"]
    assert not call("xdr_plan", gone)["changed"]
    assert host.record.epoch == 7, "an epoch that was once known is never forgotten"


REFUSALS: list[tuple[str, str, str, str, str]] = [
    ("the same path", "orders.img", "other", "taken", "is that of volume orders of plan webshop"),
    ("a symbolic link to it", "symbolic.img", "other", "taken", "is that of volume orders of plan webshop"),
    ("a hard link to it", "hard.img", "other", "taken", "is that of volume orders of plan webshop"),
    ("by a detour", "sub/../orders.img", "other", "taken", "is that of volume orders of plan webshop"),
    ("the same instance", "free.img", "db", "taken", "instance db belongs to plan webshop"),
    ("outside the roots", "../outside.img", "other", "outside_roots", "volume orders lies outside the volume roots"),
    ("a link that leads outside", "outside-link.img", "other", "outside_roots", "volume orders lies outside the volume roots"),
    ("the root itself", ".", "other", "outside_roots", "volume orders lies outside the volume roots"),
]


@pytest.mark.parametrize("check", [False, True], ids=["", "check"])
@pytest.mark.parametrize(("path", "instance", "code", "sentence"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_refusal(host: SiteHost, roots: Path, call: ModuleCaller, path: str, instance: str, code: str, sentence: str, check: bool) -> None:
    call("xdr_plan", present(host, document(roots)))
    (roots / "sub").mkdir()
    (roots / "symbolic.img").symlink_to("orders.img")
    (roots / "hard.img").hardlink_to(roots / "orders.img")
    (roots / "outside-link.img").symlink_to("/etc/hostname")
    answer = call("xdr_plan", present(host, document(roots, "second", path=path, instance=instance)), check=check)
    assert answer["xdr_code"] == code
    assert sentence in answer["msg"]
    assert not (host.state_dir / "plans" / "second" / "plan.json").exists()


def test_two_volumes_of_one_plan_are_two(host: SiteHost, roots: Path, call: ModuleCaller) -> None:
    wanted = document(roots)
    wanted["volumes"]["copy"] = wanted["volumes"]["orders"]
    answer = call("xdr_plan", present(host, wanted))
    assert "of volume copy is that of volume orders" in answer["msg"]


@pytest.mark.parametrize(
    ("image", "code"),
    [("orders.img", "taken"), ("../outside.qcow2", "outside_roots"), ("orders.qcow2", "")],
    ids=["its volume", "outside", "own"],
)
def test_the_image_of_a_tracker_is_the_volumes_own(host: SiteHost, roots: Path, call: ModuleCaller, image: str, code: str) -> None:
    wanted = document(roots)
    wanted["volumes"]["orders"]["tracker"] = {"kind": "qemu_bitmap", "image": str(roots / image)}
    assert call("xdr_plan", present(host, wanted)).get("xdr_code", "") == code


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"site": "moon"}, "expected primary, dr or witness"),
        ({"host": "hv9"}, "the document is for host hv9"),
        ({"hash": None, "volumes": {"orders": {}}}, "wrong or missing field: 'path'"),
        ({"instances": {"../x": {}}}, "is not a name of a resource"),
    ],
)
def test_a_wrong_document_is_named(host: SiteHost, roots: Path, call: ModuleCaller, fields: dict[str, Any], sentence: str) -> None:
    assert sentence in call("xdr_plan", present(host, document(roots, **fields)))["msg"]


def test_the_document_of_another_plan(host: SiteHost, roots: Path, call: ModuleCaller) -> None:
    assert "the document is of plan second" in call("xdr_plan", host.arguments(document=document(roots, "second")))["msg"]


def test_a_host_that_is_no_site_host(tmp_path: Path, roots: Path, call: ModuleCaller) -> None:
    answer = call("xdr_plan", {"plan": "webshop", "state_dir": str(tmp_path / "none"), "document": document(roots)})
    assert "Apply the role site_agent" in answer["msg"]


def test_what_runs_is_neither_moved_nor_forgotten(host: SiteHost, roots: Path, call: ModuleCaller) -> None:
    call("xdr_plan", present(host, document(roots)))
    host.write_record()
    write_json(host.plan_dir / "running" / "db.json", {"pid": os.getpid(), "started": start_time(os.getpid())})
    moved = call("xdr_plan", present(host, document(roots, path="elsewhere.img")))
    assert (moved["xdr_code"], f"while instance db runs: process {os.getpid()} (" in moved["msg"]) == ("in_use", True)
    instances = {"db": {"driver": "supervisor", "program": "other", "group": "g", "priority": 1}}
    renamed = call("xdr_plan", present(host, document(roots, instances=instances)))
    assert (renamed["xdr_code"], "the program or unit of instance db changes while" in renamed["msg"]) == ("in_use", True)
    gone = call("xdr_plan", host.arguments(state="absent"))
    assert (gone["xdr_code"], "this site owns the plan and instance db runs" in gone["msg"]) == ("in_use", True)
    assert not call("xdr_plan", present(host, document(roots)))["changed"]
