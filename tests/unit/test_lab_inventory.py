# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from hypothesis import given
from hypothesis import strategies as st

from portal.lab.addresses import BALANCER_PORT, HOSTS, SSH_PORT, choose, free, usable
from portal.lab.inventory import PROJECT, materialise, move_ports, read_choice, read_lab, service_port, service_ports

PORTS = [17101, 17102]


def all_free(_address: str, _port: int) -> bool:
    return True


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(PROJECT / "inventories" / "lab", tmp_path / "inventories" / "lab")
    return tmp_path


def test_each_host_has_its_own_loopback_address() -> None:
    choice = choose("lab", PORTS, all_free)
    assert set(choice.addresses) == set(HOSTS)
    assert len(set(choice.addresses.values())) == 3
    assert all(address.startswith("127.77.") for address in choice.addresses.values())
    assert (choice.ssh_port, choice.balancer_port, choice.offset) == (SSH_PORT, BALANCER_PORT, 0)


def test_two_labs_do_not_share_addresses() -> None:
    assert not set(choose("lab", PORTS, all_free).addresses.values()) & set(choose("test", PORTS, all_free).addresses.values())


def test_addresses_in_use_are_left_to_their_user() -> None:
    first = choose("lab", PORTS, all_free)
    other = choose("lab", PORTS, lambda address, port: (address, port) != (first.addresses["fra-hv1"], 17101))
    assert other.addresses != first.addresses
    assert other.offset == 0


@given(st.sets(st.sampled_from([SSH_PORT, SSH_PORT + 1, BALANCER_PORT, 17101, 17102, 17201, 17302])))
def test_ports_taken_on_all_addresses_are_avoided(taken: set[int]) -> None:
    def is_free(_address: str, port: int) -> bool:
        return port not in taken

    choice = choose("lab", PORTS, is_free)
    assert usable(choice, [port + choice.offset for port in PORTS], is_free)
    assert (choice.offset == 0) == (not taken & set(PORTS))


def test_nothing_free_is_one_sentence() -> None:
    with pytest.raises(XdrError, match="are all taken"):
        choose("lab", PORTS, lambda _address, _port: False)


def test_real_listener_on_all_addresses_takes_the_port() -> None:
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))  # noqa: S104 - that is what is tested; nobody is told of the port
        sock.listen()
        port = sock.getsockname()[1]
        assert not free("127.77.200.1", port)
    assert free("127.77.200.1", port)


def test_moved_ports_keep_comments_and_quotes(project: Path) -> None:
    plans = project / "inventories" / "lab" / "plans"
    before = (plans / "webshop.yml").read_text()
    ports = service_ports(plans)
    move_ports(plans, 100)
    after = (plans / "webshop.yml").read_text()
    for port in ports:
        before = before.replace(str(port), str(port + 100))
    assert after == before


def test_inventory_says_where_the_lab_is(project: Path) -> None:
    path = materialise("lab", Path("/somewhere/lab"), project=project, is_free=all_free)
    lab = read_lab(path)
    assert (lab["name"], lab["root"]) == ("lab", "/somewhere/lab")
    assert (path / "hosts.yml").exists()
    assert service_port(path / "plans", "orders-db") == service_ports(path / "plans")[0]


def test_choice_is_kept_while_it_is_free(project: Path) -> None:
    path = materialise("lab", Path("/lab"), project=project, is_free=lambda _, port: port not in (17101, SSH_PORT))
    first = read_choice(path)
    assert first is not None
    assert (first.offset, first.ssh_port) == (100, SSH_PORT + 1)
    materialise("lab", Path("/lab"), project=project, is_free=all_free)
    assert read_choice(path) == first
    assert service_ports(path / "plans")[0] == 17201
    materialise("lab", Path("/lab"), project=project, is_free=lambda _, port: port != first.ssh_port)
    assert read_choice(path) != first


def test_inventory_of_a_standing_lab_keeps_its_edited_plans(project: Path) -> None:
    path = materialise("lab", Path("/lab"), project=project, is_free=all_free)
    plan = path / "plans" / "webshop.yml"
    plan.write_text(plan.read_text().replace("priority: 3", "priority: 4"))
    materialise("lab", Path("/lab"), project=project, keep=True, is_free=lambda _address, _port: False)
    assert "priority: 4" in plan.read_text()
    materialise("lab", Path("/lab"), project=project, is_free=all_free)
    assert "priority: 4" not in plan.read_text()


@pytest.mark.parametrize("text", ["", "lab: [", "lab: 7", "lab: {addresses: {}}", "nothing: 1"])
def test_torn_file_of_an_earlier_run_is_no_obstacle(project: Path, text: str) -> None:
    path = materialise("lab", Path("/lab"), project=project, is_free=all_free)
    (path / "group_vars" / "all" / "lab.yml").write_text(text)
    (path / "plans" / "webshop.yml").write_text("groups: [")
    assert read_choice(path) is None
    materialise("lab", Path("/lab"), project=project, is_free=all_free)
    assert read_choice(path) is not None
