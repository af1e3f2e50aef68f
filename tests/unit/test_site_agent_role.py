# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The role site_agent by a real ansible-playbook on two hosts with an sshd each: check mode, twice, and what a peer may do then."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.channel import argv, run
from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json
from ansible_collections.xdr.failback.plugins.module_utils.site import load_site
from ansible_collections.xdr.failback.plugins.plugin_utils.agent_archive import build

from tests.support.sshd import Sshd, sshd

PLAYBOOK = """
- hosts: all
  gather_facts: false
  any_errors_fatal: true
  roles: [site_agent]

- hosts: hv1
  gather_facts: false
  tasks:
    - name: Register a plan
      xdr.failback.xdr_plan:
        plan: shop
        state_dir: "{{ xdr_state_dir }}"
        document: {plan: shop, hash: h, site: primary, host: hv1, witness: w1, record_host: true}
      when: not ansible_check_mode
    - name: Found it
      xdr.failback.xdr_ownership: {plan: shop, state_dir: "{{ xdr_state_dir }}", state: founded, epoch: 0, attempt: 1}
      when: not ansible_check_mode
"""


@dataclass(frozen=True)
class Hosts:
    folder: Path
    servers: dict[str, Sshd]

    def play(self, *options: str) -> dict[str, dict[str, int]]:
        """The statistics of each host."""
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(self.folder / "hosts.json"), *options]
        done = subprocess.run(
            [*command, str(self.folder / "play.yml")],
            capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(_recap(line) for line in done.stdout.partition("PLAY RECAP")[2].splitlines() if " : " in line)

    def state(self, host: str) -> Path:
        return self.folder / host / "state"


def _recap(line: str) -> tuple[str, dict[str, int]]:
    host, _, counts = line.partition(" : ")
    return host.strip(), {key: int(value) for key, value in (word.split("=") for word in counts.split())}


def _variables(folder: Path, host: str, server: Sshd) -> dict[str, Any]:
    return {
        "ansible_connection": "local",
        "ansible_python_interpreter": "/usr/bin/python3",
        "xdr_state_dir": str(folder / host / "state"),
        "xdr_volume_roots": [str(folder / host / "volumes")],
        "xdr_agent_address": server.address,
        "xdr_agent_port": server.port,
        "xdr_agent_user": server.user,
        "xdr_agent_host_key": (server.folder / "host_key.pub").read_text(),
        "xdr_agent_key": str(folder / host / "ssh" / "agent key"),
        "xdr_agent_known_hosts": str(folder / host / "ssh" / "known_hosts"),
        "xdr_authorized_keys_file": str(server.folder / "authorized_keys"),
    }


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("role")
    with sshd(folder / "hv1" / "sshd", address="127.0.0.11") as first, sshd(folder / "w1" / "sshd", address="127.0.0.12") as second:
        hosts = Hosts(folder, {"hv1": first, "w1": second})
        variables = {host: _variables(folder, host, server) for host, server in hosts.servers.items()}
        (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": variables}}))
        (folder / "play.yml").write_text(PLAYBOOK)
        yield hosts


@pytest.fixture(scope="module")
def built(hosts: Hosts) -> list[dict[str, dict[str, int]]]:
    """The statistics of check mode, of the first run and of the second."""
    runs = [hosts.play("--check", "--diff")]
    assert not (hosts.folder / "hv1" / "state").exists()
    return [*runs, hosts.play(), hosts.play("--diff")]


def test_check_mode_predicts_and_the_second_run_changes_nothing(built: list[dict[str, dict[str, int]]]) -> None:
    check, first, second = built
    assert all(counts["changed"] > 0 and counts["failed"] == 0 for run in (check, first) for counts in run.values())
    assert {host: counts["changed"] for host, counts in second.items()} == {"hv1": 0, "w1": 0}


@pytest.mark.usefixtures("built")
def test_what_it_leaves_is_private_and_complete(hosts: Hosts) -> None:
    state = hosts.state("hv1")
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "site.json").stat().st_mode & 0o777 == 0o600
    assert (state / "agent" / "xdr-site-agent.pyz").read_bytes() == build().content
    site = load_site(state)
    assert (site.host, site.boot_without_witness, list(site.peers)) == ("hv1", "wait", ["w1"])
    assert (hosts.folder / "hv1" / "ssh" / "agent key").stat().st_mode & 0o777 == 0o600
    record = read_json(state / "plans" / "shop" / "ownership.json")
    assert (record["owner"], record["standing"]) == ("primary", "accepted")


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(("here", "there"), [("hv1", "w1"), ("w1", "hv1")])
def test_each_peer_reaches_the_agent_of_the_other_and_nothing_else(hosts: Hosts, here: str, there: str) -> None:
    peer = load_site(hosts.state(here)).peers[there]
    assert json.loads(run(peer, "ping", timeout=20))["host"] == there
    assert json.loads(run(peer, "record", "shop", timeout=20))["epoch"] == (1 if there == "hv1" else 0)
    harm = subprocess.run([*argv(peer, "ping")[:-1], "id"], capture_output=True, timeout=20, check=False)
    assert (harm.returncode, harm.stdout) == (2, b"")


@pytest.mark.usefixtures("built")
def test_a_run_for_one_host_keeps_the_others(hosts: Hosts) -> None:
    before = (hosts.servers["hv1"].folder / "authorized_keys").read_text()
    assert hosts.play("--limit", "hv1")["hv1"]["changed"] == 0
    assert (hosts.servers["hv1"].folder / "authorized_keys").read_text() == before
    assert len(before.splitlines()) == 2, "the line that was there, and the peer's"
