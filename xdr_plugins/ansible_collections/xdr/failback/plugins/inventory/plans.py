# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Inventory plugin: the plans of an environment become the variable xdr_plans and groups of hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: plans
short_description: The protection plans of an environment
version_added: 0.1.0
author: The XDR developers
description:
  - Reads a file C(plans.yml) that says C(plugin=xdr.failback.plans), and C(plans/*.yml) beside it, checked by one schema.
  - Adds the variable C(xdr_plans), the compiled plans by name, and for each plan the group C(xdr_PLAN) with the children
    C(xdr_PLAN_primary), C(xdr_PLAN_dr), C(xdr_PLAN_witness) and C(xdr_PLAN_balancers); a hyphen becomes an underscore.
  - The hosts must be known already. Ansible reads the files of an inventory folder in alphabetical order,
    so C(hosts.yml) comes before C(plans.yml).
options:
  plugin:
    description: Marks the file as this plugin's.
    type: str
    required: true
    choices: [xdr.failback.plans]
  sites:
    description:
      - The sites by the names that plans use, each with its inventory C(group) and the C(record_host) that keeps its ownership records.
    type: dict
    required: true
  witness:
    description: The host that remembers offers of ownership, best outside all sites.
    type: str
    required: true
"""

EXAMPLES = r"""
plugin: xdr.failback.plans
sites:
  frankfurt: {group: frankfurt, record_host: fra-hv1}
  amsterdam: {group: amsterdam, record_host: ams-hv1}
witness: edge1
"""

from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.kept_plans import compiled_plans


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]
    NAME = "xdr.failback.plans"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and Path(path).name in ("plans.yml", "plans.yaml")

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        groups = {name: [host.name for host in group.get_hosts()] for name, group in inventory.groups.items()}
        try:
            plans = compiled_plans(Path(path), groups, self._roots(), Path(constants.config.get_config_value("ANSIBLE_HOME")) / "xdr_plans")
        except XdrError as error:
            raise AnsibleParserError(str(error)) from error
        self._add(plans)

    def _roots(self) -> dict[str, list[str]]:
        """Volume roots that are written out in the hosts file; templates are only known to the sites, which check them again."""
        roots = {name: host.vars.get("xdr_volume_roots") for name, host in self.inventory.hosts.items()}
        return {name: found for name, found in roots.items() if isinstance(found, list) and not any("{{" in root for root in found)}

    def _add(self, plans: dict[str, Any]) -> None:
        self.inventory.set_variable("all", "xdr_plans", plans)
        for plan in plans.values():
            parts = {
                "primary": plan["sites"]["primary"]["hosts"],
                "dr": plan["sites"]["dr"]["hosts"],
                "witness": [plan["witness"]],
                "balancers": [each["host"] for each in plan["traffic"]["load_balancers"] + plan["traffic"]["dns"]],
            }
            self.inventory.add_group(plan["group"])
            for part, hosts in parts.items():
                child = self.inventory.add_group(f"{plan['group']}_{part}")
                self.inventory.add_child(plan["group"], child)
                for host in hosts:
                    self.inventory.add_child(child, host)
