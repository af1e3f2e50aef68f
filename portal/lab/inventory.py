# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The lab's inventory: a copy of inventories/lab under var/<name>/inventory, and where on this machine the lab is."""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from .addresses import HOSTS, Choice, Free, choose, free, usable

PROJECT = Path(__file__).resolve().parent.parent.parent
ACCOUNT = "xdrlab"


def inventory_path(name: str, project: Path = PROJECT) -> Path:
    return project / "var" / name / "inventory"


def lab_root(name: str) -> Path:
    """Where the sites' folders are: outside the checkout, which the lab's account may not be able to read."""
    return Path("/var/lib/xdr-lab") / name if os.geteuid() == 0 else Path(f"/var/tmp/xdr-lab-{os.getuid()}") / name  # noqa: S108


def materialise(
    name: str, root: Path, *, project: Path = PROJECT, keep: bool = False, choice: Choice | None = None, is_free: Free = free
) -> Path:
    """Make the inventory of a lab and return its path.

    ``keep``: the lab is there already, so its inventory stays as it is, edited plans included. Otherwise the files are copied
    anew, and an earlier choice of addresses and ports is kept when it is still free. ``choice``: nothing is looked for, these are free.
    """
    path = inventory_path(name, project)
    before = read_choice(path)
    if keep and before:
        return path
    if not choice and before and _still_usable(path, before, is_free):
        choice = before
    _copy(project / "inventories" / "lab", path)
    ports = service_ports(path / "plans")
    choice = choice or choose(name, ports, is_free)
    if choice.offset:
        move_ports(path / "plans", choice.offset)
    _write_lab(path, name, root, choice)
    return path


def _still_usable(path: Path, choice: Choice, is_free: Free) -> bool:
    try:
        return usable(choice, service_ports(path / "plans"), is_free)
    except XdrError:  # a plan that somebody broke: it is about to be replaced
        return False


def _copy(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise XdrError("there is no such folder", where=str(source), todo="Run from a whole checkout of the project")
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(source, target)


def _yaml() -> YAML:
    yaml = YAML()  # round trip: comments and quotes stay
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _health_checks(plan: Any) -> Iterator[MutableMapping[str, Any]]:
    """The mappings of a plan's document that hold a port: ``{port: …}`` of an http check, ``{tcp: …}``."""
    for group in plan["groups"]:
        for resource in group["resources"]:
            for check in resource.get("health") or []:
                if "http" in check:
                    yield check["http"]
                elif "tcp" in check:
                    yield check


def service_ports(plans: Path) -> list[int]:
    """The ports of all health checks of the plans in a folder."""
    ports: set[int] = set()
    for file in sorted(plans.glob("*.yml")):
        ports.update(int(check.get("port") or check["tcp"]) for check in _health_checks(_load(file)))
    return sorted(ports)


def move_ports(plans: Path, by: int) -> None:
    """Add to the ports of all health checks; comments and everything else stay."""
    for file in sorted(plans.glob("*.yml")):
        document = _load(file)
        for check in _health_checks(document):
            key = "port" if "port" in check else "tcp"
            check[key] = check[key] + by
        yaml = _yaml()
        yaml.explicit_start = file.read_text(encoding="utf-8").startswith("---")  # ruamel forgets it
        with file.open("w", encoding="utf-8") as stream:
            yaml.dump(document, stream)


def _load(file: Path) -> Any:
    try:
        document = _yaml().load(file)
        list(_health_checks(document))
    except (YAMLError, KeyError, TypeError, AttributeError) as error:
        text = " ".join(str(error).split())
        raise XdrError(
            f"this plan cannot be read: {text}", where=str(file), todo="Correct it: xdr plan validate names the field", code="plan_invalid"
        ) from error
    return document


def _write_lab(path: Path, name: str, root: Path, choice: Choice) -> None:
    lab = {
        "name": name,
        "root": str(root),
        "user": ACCOUNT if os.geteuid() == 0 else getpass.getuser(),
        "become": os.geteuid() == 0,
        "python": "/usr/bin/python3",
        "addresses": choice.addresses,
        "ssh_port": choice.ssh_port,
        "balancer_port": choice.balancer_port,
        "port_offset": choice.offset,
    }
    file = path / "group_vars" / "all" / "lab.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as stream:
        stream.write("---\n# Made by the lab: where it is on this machine.\n")
        YAML().dump({"lab": lab}, stream)


def read_lab(path: Path) -> dict[str, Any]:
    """The variable ``lab`` of an inventory, empty where there is none (or a torn one)."""
    try:
        document = YAML(typ="safe").load(path / "group_vars" / "all" / "lab.yml")
        lab = document["lab"]
    except (OSError, YAMLError, KeyError, TypeError):
        return {}
    return dict(lab) if isinstance(lab, dict) else {}


def read_choice(path: Path) -> Choice | None:
    lab = read_lab(path)
    try:
        choice = Choice(dict(lab["addresses"]), int(lab["ssh_port"]), int(lab["balancer_port"]), int(lab["port_offset"]))
    except (KeyError, TypeError, ValueError):
        return None
    return choice if choice.addresses.keys() == set(HOSTS) else None


def service_port(plans: Path, resource: str) -> int:
    """The port of a resource's first health check."""
    for file in sorted(plans.glob("*.yml")):
        for group in _load(file)["groups"]:
            for one in group["resources"]:
                if one["name"] == resource:
                    check = next(_health_checks({"groups": [{"resources": [one]}]}))
                    return int(check.get("port") or check["tcp"])
    raise XdrError(f"no plan has a resource '{resource}'", where=str(plans), todo="Give the name of a resource of the lab's plan")
