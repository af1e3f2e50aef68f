# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""How the controller finds out where hosts are: by asking Ansible, once for each state of the inventory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal.hosts import Host, load_hosts

HOSTS = """
all:
  children:
    frankfurt:
      hosts:
        fra:
        ams: {xdr_state_dir: /other, xdr_controller_known_hosts: "{{ root }}/pinned"}
      vars:
        root: /srv
        ansible_host: "{{ {'fra': '127.0.0.2', 'ams': '127.0.0.3'}[inventory_hostname] }}"
        ansible_port: "{{ 2200 + 22 }}"
        ansible_user: ann
        ansible_ssh_private_key_file: "{{ root }}/key"
        ansible_ssh_common_args: -o UserKnownHostsFile={{ root }}/known_hosts -o StrictHostKeyChecking=yes
        xdr_state_dir: "{{ root }}/{{ inventory_hostname }}"
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    folder = tmp_path / "inventory"
    folder.mkdir()
    (folder / "hosts.yml").write_text(HOSTS)
    return folder


def test_templates_are_resolved_and_the_answer_is_kept(inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = load_hosts(inventory, project=tmp_path, var=tmp_path)
    assert hosts["fra"] == Host("fra", "127.0.0.2", 2222, "ann", "/srv/key", "/srv/known_hosts", "/srv/fra", ["frankfurt"])
    assert (hosts["ams"].known_hosts, hosts["ams"].state_dir) == ("/srv/pinned", "/other")

    monkeypatch.setattr("sys.executable", "/nowhere/python")  # Ansible cannot be asked any more
    assert load_hosts(inventory, project=tmp_path, var=tmp_path) == hosts
    stat = (inventory / "hosts.yml").stat()
    os.utime(inventory / "hosts.yml", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    with pytest.raises(FileNotFoundError):
        load_hosts(inventory, project=tmp_path, var=tmp_path)


def test_no_inventory(tmp_path: Path) -> None:
    with pytest.raises(XdrError, match="no such inventory"):
        load_hosts(tmp_path / "none", project=tmp_path, var=tmp_path)


def test_a_variable_that_is_not_defined(inventory: Path, tmp_path: Path) -> None:
    (inventory / "hosts.yml").write_text(HOSTS.replace("root: /srv", "base: /srv"))
    with pytest.raises(XdrError, match=r"'root' is undefined"):
        load_hosts(inventory, project=tmp_path, var=tmp_path)
