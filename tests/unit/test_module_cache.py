# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The callback that keeps packed modules: real runs of ansible-playbook, with an ANSIBLE_HOME of their own."""

from __future__ import annotations

import base64
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible.executor.module_common import _CachedModule

from portal import PROJECT

PLAYBOOK = """
- name: Run one module of ours and one of Ansible's
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Ours
      xdr.failback.xdr_plan:
        plan: shop
        state_dir: "{{ playbook_dir }}/state"
        state: read
    - name: Ansible's
      ansible.builtin.command:
        argv: ["true"]
      changed_when: false
"""
PACKS, FINDS = "ANSIBALLZ: Creating module", "ANSIBALLZ: using cached module"


class Place:
    def __init__(self, folder: Path) -> None:
        self.playbook = folder / "playbook.yml"
        self.playbook.write_text(PLAYBOOK)
        (folder / "ansible.cfg").touch()
        self.plugins = shutil.copytree(PROJECT / "xdr_plugins", folder / "xdr_plugins")
        self.home = folder / "home"

    def play(self) -> str:
        """Ansible's debug output."""
        environment = {
            "ANSIBLE_CALLBACKS_ENABLED": "xdr.failback.module_cache",
            "ANSIBLE_COLLECTIONS_PATH": str(self.plugins),
            "ANSIBLE_CONFIG": str(self.playbook.with_name("ansible.cfg")),
            "ANSIBLE_DEBUG": "1",
            "ANSIBLE_HOME": str(self.home),
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
            "LC_ALL": "C.UTF-8",
        }
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", str(self.playbook)]
        done = subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    @property
    def kept(self) -> list[Path]:
        return sorted(path for path in (self.home / "xdr_modules").rglob("*") if path.is_file())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_second_run_packs_nothing(place: Place) -> None:
    assert place.play().count(PACKS) == 2
    assert [path.name.rpartition(".")[2].partition("-")[0] for path in place.kept] == ["command", "xdr_plan"]
    again = place.play()
    assert (again.count(PACKS), again.count(FINDS)) == (0, 2)


def test_what_is_kept_has_the_bytecode_of_each_file(place: Place) -> None:
    place.play()
    for path in place.kept:
        module = _CachedModule.load(str(path))
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(module.zip_data))) as archive:
            sources = {name for name in archive.namelist() if name.endswith(".py")}
            assert sources
            assert set(archive.namelist()) == sources | {f"{name}c" for name in sources}


def test_a_changed_file_is_packed_again(place: Place) -> None:
    place.play()
    errors = place.plugins / "ansible_collections" / "xdr" / "failback" / "plugins" / "module_utils" / "errors.py"
    errors.write_text(errors.read_text() + "\n# changed\n")
    assert place.play().count(PACKS) == 2
    assert place.play().count(PACKS) == 0


def test_what_others_may_have_written_is_not_used(place: Place) -> None:
    place.play()
    (place.home / "xdr_modules").chmod(0o777)
    assert place.play().count(PACKS) == 2


def test_nothing_is_kept_beside_a_folder_of_module_utils(place: Place) -> None:
    (place.playbook.parent / "module_utils").mkdir()
    place.play()
    assert not (place.home / "xdr_modules").exists()


def test_only_the_newest_sets_are_kept(place: Place) -> None:
    place.play()
    (newest,) = (place.home / "xdr_modules").iterdir()
    for number in range(5):
        old = newest.with_name(f"old{number}")
        old.mkdir()
        os.utime(old, (number, number))
    place.play()
    assert sorted(path.name for path in newest.parent.iterdir()) == sorted([newest.name, "old4", "old3", "old2"])
