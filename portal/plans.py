# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The plans of an inventory, checked by the same code as in Ansible."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.environment import Environment, Inventory, Kept, load_environment
from ansible_collections.xdr.failback.plugins.plugin_utils.source import Field, Source, SourceError, kind, read_source


def load(inventory: Path, *, edited: Mapping[Path, Source] | None = None, kept: Kept | None = None) -> Environment:
    """The environment of an inventory folder (``hosts.yml``, ``plans.yml``, ``plans/*.yml``); ``edited``: files as they are to be;
    ``kept``: of the time before.

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
    source = read_source(hosts)
    for name, group in source.data.items():
        _collect(source, (name,), group, groups, roots)
    return load_environment(config, Inventory(groups, roots), edited=edited, kept=kept)


def _collect(source: Source, field: Field, group: Any, groups: dict[str, list[str]], roots: dict[str, list[str]]) -> list[str]:
    """The hosts of a group of Ansible's YAML inventory and of the groups below it."""
    parts = _mapping(source, field, group)
    hosts = _mapping(source, (*field, "hosts"), parts.get("hosts"))
    members = list(hosts)
    for host, variables in hosts.items():
        found = _mapping(source, (*field, "hosts", host), variables).get("xdr_volume_roots")
        if isinstance(found, list) and all(isinstance(root, str) and "{{" not in root for root in found):
            roots[host] = found
    for child, inner in _mapping(source, (*field, "children"), parts.get("children")).items():
        collected = _collect(source, (*field, "children", child), inner, groups, roots)
        members += [host for host in collected if host not in members]
    name = field[-1]
    groups[name] = groups.get(name, []) + [host for host in members if host not in groups.get(name, [])]
    return groups[name]


def _mapping(source: Source, field: Field, value: Any) -> dict[str, Any]:
    if isinstance(value, dict) or value is None:
        return value or {}
    raise SourceError([source.problem(field, f"expected a mapping (name: value), found {kind(value)}")])
