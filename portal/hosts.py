# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""How the controller reaches the hosts of an inventory, as Ansible itself resolves their variables."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json, write_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from . import PROJECT, secrets

# Evaluated by Ansible for each host; what is not set comes back empty.
_WANTED = {
    "address": "ansible_host | default(inventory_hostname)",
    "port": "ansible_port | default(22) | int",
    "user": "ansible_user | default('')",
    "key": "ansible_ssh_private_key_file | default('')",
    "known_hosts": "xdr_controller_known_hosts | default('')",
    "ssh_args": "(ansible_ssh_common_args | default('')) ~ ' ' ~ (ansible_ssh_extra_args | default(''))",
    "state_dir": "xdr_state_dir | default('')",
    "groups": "group_names",
}
_TEMPLATE = "{{ {" + ", ".join(f"'{key}': {value}" for key, value in _WANTED.items()) + "} }}"
TIMEOUT = 60
_ANSWER = re.compile(r"^(\S+) \| SUCCESS => (?=\{)", re.MULTILINE)
_PINNED = re.compile(r"UserKnownHostsFile[= ](\S+)")


@dataclass(frozen=True)
class Host:
    name: str
    address: str
    port: int
    user: str
    key: str
    known_hosts: str
    state_dir: str
    groups: list[str]


def no_inventory(path: Path) -> XdrError:
    todo = "Name the environment's folder with --inventory; for the lab run: xdr lab up"
    return XdrError("there is no such inventory", where=str(path), todo=todo, code="usage")


def load_hosts(inventory: Path, *, project: Path = PROJECT, var: Path) -> dict[str, Host]:
    """The hosts by inventory name. Ansible is asked once for each state of the inventory's files.

    Raises XdrError where there is no inventory or Ansible cannot read it.
    """
    if not inventory.exists():
        raise no_inventory(inventory)
    fingerprint = _fingerprint(inventory)
    cache = var / "cache" / f"hosts-{hashlib.sha256(str(inventory.resolve()).encode()).hexdigest()[:16]}.json"
    known = read_json(cache)
    if not known or known["fingerprint"] != fingerprint:
        known = {"fingerprint": fingerprint, "hosts": {name: asdict(host) for name, host in _ask(inventory, project).items()}}
        write_json(cache, known)
    return {name: Host(**host) for name, host in known["hosts"].items()}


def _fingerprint(inventory: Path) -> str:
    files = sorted(path for path in inventory.rglob("*") if path.is_file()) if inventory.is_dir() else [inventory]
    stats = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files]
    return hashlib.sha256(json.dumps([_WANTED, stats]).encode()).hexdigest()


def _ask(inventory: Path, project: Path) -> dict[str, Host]:
    command = [str(Path(sys.executable).parent / "ansible"), "all", "-i", str(inventory)]
    command += ["-m", "ansible.builtin.debug", "-a", f"msg={json.dumps(_TEMPLATE)}"]
    own = {"ANSIBLE_CONFIG": str(project / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "minimal", "ANSIBLE_NOCOLOR": "1"}
    environment = {**secrets.environment(), **own}
    try:
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise XdrError(f"Ansible did not resolve the hosts of this inventory within {TIMEOUT} s", where=str(inventory)) from None
    hosts = {name: _host(name, answer["msg"]) for name, answer in _answers(done.stdout) if isinstance(answer.get("msg"), dict)}
    if done.returncode or not hosts:
        said = " ".join((done.stderr or done.stdout).split())[-600:] or "it names no host"
        raise XdrError(f"Ansible cannot resolve the hosts of this inventory: {said}", where=str(inventory), todo="Mend it and try again")
    return hosts


def _answers(text: str) -> list[tuple[str, dict[str, Any]]]:
    """``host | SUCCESS => {…}`` of Ansible's minimal output."""
    decoder = json.JSONDecoder()
    return [(match[1], decoder.raw_decode(text, match.end())[0]) for match in _ANSWER.finditer(text)]


def _host(name: str, found: dict[str, Any]) -> Host:
    pinned = _PINNED.search(found["ssh_args"])
    known_hosts = found["known_hosts"] or (pinned[1] if pinned else "~/.ssh/known_hosts")
    return Host(
        name=name,
        address=found["address"],
        port=int(found["port"]),
        user=found["user"],
        key=found["key"],
        known_hosts=str(Path(known_hosts).expanduser()),
        state_dir=found["state_dir"],
        groups=list(found["groups"]),
    )
