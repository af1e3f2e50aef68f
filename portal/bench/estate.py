# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A large environment: the files of an inventory with as many valid plans as are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SITES = {"primary": ("frankfurt", "fra"), "dr": ("amsterdam", "ams")}
WITNESS = "edge1"
PLANS_OF_HOST = 50
GROUPS = ("database", "application", "frontend", "batch")

HOSTS = """\
---
all:
  children:
    frankfurt: {{hosts: {{{primary}}}}}
    amsterdam: {{hosts: {{{dr}}}}}
    edge: {{hosts: {{{witness}: }}}}
"""
CONFIG = f"""\
---
plugin: xdr.failback.plans
sites:
  frankfurt: {{group: frankfurt, record_host: fra-hv01}}
  amsterdam: {{group: amsterdam, record_host: ams-hv01}}
witness: {WITNESS}
"""
HEAD = """\
---
# yaml-language-server: $schema=../../../portal/static/plan.schema.json
plan: {plan}
sites: {{primary: frankfurt, dr: amsterdam}}
targets: {{rpo: 5m, rto: 15m}}
replication: {{interval: 1m, compression: auto, ready_below: 64MiB}}
failback: {{on_failed_health: rollback, deadline: 20m, soak: 10m}}
groups:
"""
GROUP = """\
  - name: {name}
    priority: {priority}
    resources:
"""
RESOURCE = """\
      - name: {name}
        hosts: {{primary: {primary}, dr: {dr}}}
        instance: {{driver: supervisor, program: {name}}}
        volumes: [{{name: {name}, path: {name}.img}}]
        health: [{{tcp: {port}}}]
"""


@dataclass(frozen=True)
class Estate:
    """``resources``: of each plan. All names follow from the numbers."""

    plans: int
    resources: int

    @property
    def names(self) -> list[str]:
        return [f"plan-{number:04}" for number in range(1, self.plans + 1)]

    @property
    def hosts(self) -> int:
        """Of each site."""
        return -(-self.plans // PLANS_OF_HOST)

    def host(self, site: str, number: int) -> str:
        """The host of a site (primary or dr) for the plan with that number, from 0."""
        return f"{SITES[site][1]}-hv{number % self.hosts + 1:02}"

    def groups(self, number: int) -> list[tuple[str, list[str]]]:
        """The names of a plan's groups and of their resources, in the order of their priority."""
        size = -(-self.resources // len(GROUPS))
        names = [f"{self.names[number]}-r{each:02}" for each in range(1, self.resources + 1)]
        parts = [names[at : at + size] for at in range(0, len(names), size)]
        return list(zip(GROUPS, parts, strict=False))

    def write(self, folder: Path) -> None:
        (folder / "plans").mkdir(parents=True)
        (folder / "plans.yml").write_text(CONFIG, encoding="utf-8")
        hosts = {site: ", ".join(f"{self.host(site, number)}: " for number in range(self.hosts)) for site in SITES}
        (folder / "hosts.yml").write_text(HOSTS.format(**hosts, witness=WITNESS), encoding="utf-8")
        for number, name in enumerate(self.names):
            (folder / "plans" / f"{name}.yml").write_text(self._plan(number, name), encoding="utf-8")

    def _plan(self, number: int, name: str) -> str:
        hosts = {site: self.host(site, number) for site in SITES}
        text = HEAD.format(plan=name)
        for priority, (group, resources) in enumerate(self.groups(number), 1):
            text += GROUP.format(name=group, priority=priority)
            text += "".join(RESOURCE.format(name=one, port=5000 + priority, **hosts) for one in resources)
        return text
