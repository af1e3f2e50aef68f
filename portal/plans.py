# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The plans of an inventory, checked by the same code as in Ansible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.environment import Environment, Inventory, load_environment
from ansible_collections.xdr.failback.plugins.plugin_utils.source import read_source


def load(inventory: Path) -> Environment:
    """The environment of an inventory folder (``hosts.yml``, ``plans.yml``, ``plans/*.yml``).

    Raises SourceError with every problem, XdrError when the folder has no hosts.yml or plans.yml.
    """
    config = next((path for name in ("plans.yml", "plans.yaml") if (path := inventory / name).is_file()), None)
    hosts = next((path for name in ("hosts.yml", "hosts.yaml") if (path := inventory / name).is_file()), None)
    if config is None or hosts is None:
        missing = "plans.yml" if config is None else "hosts.yml"
        raise XdrError(
            f"there is no {missing}",
            where=str(inventory),
            todo="Name the environment's folder with --inventory; for the lab run: xdr lab up",
        )
    groups: dict[str, list[str]] = {}
    roots: dict[str, list[str]] = {}
    for name, group in read_source(hosts).data.items():
        _collect(name, group, groups, roots)
    return load_environment(config, Inventory(groups, roots))


def _collect(name: str, group: Any, groups: dict[str, list[str]], roots: dict[str, list[str]]) -> list[str]:
    """The hosts of a group of Ansible's YAML inventory and of the groups below it."""
    members = list((group or {}).get("hosts") or {})
    for host, variables in ((group or {}).get("hosts") or {}).items():
        found = (variables or {}).get("xdr_volume_roots")
        if isinstance(found, list) and not any("{{" in root for root in found):
            roots[host] = found
    for child, inner in ((group or {}).get("children") or {}).items():
        members += [host for host in _collect(child, inner, groups, roots) if host not in members]
    groups[name] = groups.get(name, []) + [host for host in members if host not in groups.get(name, [])]
    return groups[name]
