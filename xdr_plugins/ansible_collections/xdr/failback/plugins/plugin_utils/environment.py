# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""All plans of an environment: ``plans.yml`` (which inventory group is which site) and ``plans/*.yml`` beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils import dns_names, lease
from ansible_collections.xdr.failback.plugins.plugin_utils import hooks, order, recurrence
from ansible_collections.xdr.failback.plugins.plugin_utils.plan import (
    EnvironmentFile,
    Plan,
    QemuTracker,
    SystemdInstance,
    check_environment,
    check_plan,
)
from ansible_collections.xdr.failback.plugins.plugin_utils.source import Problem, Source, SourceError, read_source

SECTIONS = ("targets", "replication", "failback", "ownership", "approval", "traffic", "maintenance")  # of a compiled plan


@dataclass(frozen=True)
class Inventory:
    """What the checks need of the Ansible inventory: the hosts of each group, and each host's volume roots where they are known."""

    groups: Mapping[str, list[str]]
    roots: Mapping[str, list[str]]

    @property
    def hosts(self) -> set[str]:
        return {host for hosts in self.groups.values() for host in hosts}


@dataclass(frozen=True)
class Environment:
    """The compiled plans by name (docs/internals.md section 5)."""

    plans: dict[str, dict[str, Any]]
    witness: str
    sites: dict[str, list[str]]  # display name -> inventory hosts


def load_environment(
    config: Path, inventory: Inventory, *, edited: Mapping[Path, Source] | None = None, kept: Kept | None = None
) -> Environment:
    """``config`` is the environment's plans.yml. ``edited``: files of plans as they are to be. ``kept``: of an earlier time; files that
    have not changed since are not read again.

    Raises SourceError with every problem of every file.
    """
    source = read_source(config, _shown(config))
    environment = check_environment(source)
    problems = list(_environment_problems(source, environment, inventory))
    files = (kept or Kept()).read(config.parent / "plans", environment, inventory, edited or {})
    found = [file for file in files if isinstance(file, PlanFile)]
    problems += [problem for file in files for problem in (file.problems if isinstance(file, PlanFile) else file)]
    for file in found:  # each time: a playbook of theirs may be there by now
        problems += hooks.problems(file.source, file.plan, file.hosts, config.parent / "hooks")
    problems += _across(found)
    if problems:
        raise SourceError(problems)
    plans = {file.plan.plan: file.compiled for file in found}
    return Environment(plans, environment.witness, {name: list(inventory.groups[site.group]) for name, site in environment.sites.items()})


@dataclass(frozen=True)
class PlanFile:
    """A plan that keeps to the schema, within its environment."""

    source: Source
    plan: Plan
    environment: EnvironmentFile
    inventory: Inventory
    wrong: list[Problem]  # with the schema, all the same

    @cached_property
    def problems(self) -> list[Problem]:
        return [*self.wrong, *_plan_problems(self.source, self.plan, self.environment, self.inventory)]

    @cached_property
    def hosts(self) -> dict[str, list[str]]:
        """The plan's hosts at its sites, of those that the environment has."""
        roles = {"primary": self.plan.sites.primary, "dr": self.plan.sites.dr}
        found = {role: self.environment.sites[name] for role, name in roles.items() if name in self.environment.sites}
        return {role: _used(self.plan, role, self.inventory.groups.get(site.group, []), site.record_host) for role, site in found.items()}

    @cached_property
    def claims(self) -> list[Claim]:
        return list(_claims(self.plan, self.inventory))

    @cached_property
    def compiled(self) -> dict[str, Any]:
        """Only where nothing is wrong in the whole environment."""
        sites = {name: list(self.inventory.groups[site.group]) for name, site in self.environment.sites.items()}
        return _compiled(self.source, self.plan, self.environment, sites)


class Kept:
    """The plans' files as they were read last: one that has changed since is read again, and all when the environment around them has.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        self._around: object = None
        self._files: dict[Path, tuple[object, PlanFile | list[Problem]]] = {}

    def read(
        self, folder: Path, environment: EnvironmentFile, inventory: Inventory, edited: Mapping[Path, Source]
    ) -> list[PlanFile | list[Problem]]:
        """Each plan, or what is wrong with its file; those in ``edited`` as they are there."""
        before = self._files if self._around == (environment, inventory) else {}
        files: dict[Path, tuple[object, PlanFile | list[Problem]]] = {}
        for path in sorted(folder.glob("*.y*ml")):
            stamp = edited[path] if path in edited else _stamp(path)
            known = before.get(path)
            files[path] = known if known and known[0] == stamp else (stamp, _read_plan(path, environment, inventory, edited.get(path)))
        self._around, self._files = (environment, inventory), files
        return [file for _, file in files.values()]

    def source(self, path: Path) -> Source | None:
        """A file that has not changed since it was read, and keeps to the schema."""
        stamp, file = self._files.get(path, (None, None))
        return file.source if isinstance(file, PlanFile) and stamp == _stamp(path) else None

    def copy(self) -> Kept:
        """For another thread, or for files as they are to be: what that one reads is not kept here."""
        made = Kept()
        made._around, made._files = self._around, self._files
        return made


def _stamp(path: Path) -> object:
    """Of a file that is gone None: reading it says so."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _shown(path: Path) -> str:
    """Relative to the current folder where that is shorter."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _read_plan(path: Path, environment: EnvironmentFile, inventory: Inventory, edited: Source | None = None) -> PlanFile | list[Problem]:
    try:
        source = edited or read_source(path, _shown(path))
    except SourceError as error:
        return error.problems
    plan, wrong = check_plan(source)
    return PlanFile(source, plan, environment, inventory, list(wrong)) if plan else list(wrong)


def _environment_problems(source: Source, environment: EnvironmentFile, inventory: Inventory) -> Iterator[Problem]:
    for name, site in environment.sites.items():
        if site.group not in inventory.groups:
            yield source.problem(("sites", name, "group"), f"the inventory has no group {site.group!r}")
        elif site.record_host not in inventory.groups[site.group]:
            yield source.problem(("sites", name, "record_host"), f"{site.record_host!r} is no host of group {site.group}")
    if environment.witness not in inventory.hosts:
        yield source.problem(("witness",), f"the inventory has no host {environment.witness!r}")
    owner: dict[str, str] = {}
    for name, site in environment.sites.items():
        for host in inventory.groups.get(site.group, []):
            if owner.setdefault(host, name) != name:
                yield source.problem(
                    ("sites", name, "group"), f"host {host} is in site {owner[host]} already; expected one site for a host"
                )
        if site.record_host == environment.witness:
            yield source.problem(("sites", name, "record_host"), f"{site.record_host!r} is the witness; expected two different hosts")


def _plan_problems(source: Source, plan: Plan, environment: EnvironmentFile, inventory: Inventory) -> Iterator[Problem]:
    roles = {"primary": plan.sites.primary, "dr": plan.sites.dr}
    for role, site in roles.items():
        if site not in environment.sites:
            known = ", ".join(environment.sites)
            yield source.problem(("sites", role), f"unknown site {site!r}; the environment has: {known}")
    if plan.sites.primary == plan.sites.dr:
        yield source.problem(("sites", "dr"), "expected another site than the primary")
    yield from _order_problems(source, plan)
    yield from _lease_problems(source, plan)
    yield from _maintenance_problems(source, plan)
    for field, resource in _resources(plan):
        for role, site in roles.items():
            hosts = inventory.groups.get(environment.sites[site].group, []) if site in environment.sites else None
            host = getattr(resource.hosts, role)
            if hosts is not None and host not in hosts:
                known = ", ".join(hosts) or "none"
                yield source.problem((*field, "hosts", role), f"{host!r} is no host of site {site}, which has: {known}")
            elif host == environment.witness:
                text = f"{host!r} is the witness; expected another host here, or another witness in the environment's plans.yml"
                yield source.problem((*field, "hosts", role), text)
            yield from _path_problems(source, field, resource, inventory.roots.get(host))
    for index, balancer in enumerate(plan.traffic.load_balancers):
        if balancer.host not in inventory.hosts:
            yield source.problem(("traffic", "load_balancers", index, "host"), f"the inventory has no host {balancer.host!r}")
        for number, server in enumerate(balancer.servers.dr):
            if server in balancer.servers.primary:
                at = ("traffic", "load_balancers", index, "servers", "dr", number)
                yield source.problem(at, f"server {server!r} is one of the primary site already; expected one of the DR site alone")
    for index, record in enumerate(plan.traffic.dns):
        if record.host is not None and record.host not in inventory.hosts:
            yield source.problem(("traffic", "dns", index, "host"), f"the inventory has no host {record.host!r}")


def _resources(plan: Plan) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for number, group in enumerate(plan.groups):
        for index, resource in enumerate(group.resources):
            yield ("groups", number, "resources", index), resource


def _order_problems(source: Source, plan: Plan) -> Iterator[Problem]:
    """What must be unique in a plan: names and priorities of groups, names of resources, volumes and balancers."""
    groups = [(("groups", number), group) for number, group in enumerate(plan.groups)]
    yield from _twice(source, "group", [((*field, "name"), group.name) for field, group in groups])
    seen: dict[int, str] = {}
    for field, group in groups:
        if group.priority in seen:
            text = f"priority {group.priority} is that of group {seen[group.priority]} already; each group has its own"
            yield source.problem((*field, "priority"), text)
        seen.setdefault(group.priority, group.name)
    yield from _twice(source, "resource", [((*field, "name"), resource.name) for field, resource in _resources(plan)])
    volumes = [((*field, "volumes", n, "name"), v.name) for field, resource in _resources(plan) for n, v in enumerate(resource.volumes)]
    yield from _twice(source, "volume", volumes)
    balancers = [(("traffic", "load_balancers", n, "name"), b.name) for n, b in enumerate(plan.traffic.load_balancers)]
    records = [(("traffic", "dns", n, "name"), record.name) for n, record in enumerate(plan.traffic.dns)]
    yield from _twice(source, "load balancer or DNS record", balancers + records)


def _lease_problems(source: Source, plan: Plan) -> Iterator[Problem]:
    """The rule of docs/internals.md, 2: whoever takes over counts on the holder to have stopped."""
    terms = plan.ownership.lease
    if terms is None:
        return
    yield from _unleasable(source, plan)
    slowest = max((resource for _, resource in _resources(plan)), key=lambda resource: resource.stop_timeout)
    needs = lease.shortest_ttl(terms.loop_wait, terms.retry_timeout, slowest.stop_timeout)
    if terms.ttl < needs:
        yield source.problem(
            ("ownership", "lease", "ttl"),
            f"expected at least {needs}s: loop_wait ({terms.loop_wait}s) + 2 x retry_timeout ({terms.retry_timeout}s) + the longest "
            f"stop_timeout ({slowest.stop_timeout}s, of {slowest.name}) + {lease.KILLING}s to kill what is left; found {terms.ttl}s",
        )


def _unleasable(source: Source, plan: Plan) -> Iterator[Problem]:
    """The keepers of a lease find and kill an instance by its mark, and a service of systemd has none."""
    for field, resource in _resources(plan):
        if isinstance(resource.instance, SystemdInstance):
            line = source.places.get(("ownership", "lease"), (1, 1))[0]
            yield source.problem(
                (*field, "instance", "driver"),
                f"expected 'supervisor' in a plan with ownership.lease (line {line}), whose keepers cannot stop services of systemd in "
                "time yet; found 'systemd'. Run it by supervisord, or leave ownership.lease out",
            )


def _maintenance_problems(source: Source, plan: Plan) -> Iterator[Problem]:
    """A window must be long enough for a failback, and over before it comes again; who is asked has one name."""
    wanted, at = plan.maintenance, ("maintenance",)
    for number, window in enumerate(wanted.windows):
        field = (*at, "windows", number, "duration")
        if window.duration < plan.failback.deadline:
            yield source.problem(
                field,
                f"expected {plan.failback.deadline}s at least: failback.deadline, the longest that the downtime may take before the "
                f"hand-over; found {window.duration}s",
            )
        if why := recurrence.too_long(window.rrule, window.start, window.time_zone, window.duration):
            yield source.problem(field, why)
    yield from _twice(source, "window", [((*at, "windows", n, "name"), window.name) for n, window in enumerate(wanted.windows)])
    people = [((*at, part, n, "name"), one.name) for part in ("owners", "stakeholders") for n, one in enumerate(getattr(wanted, part))]
    yield from _twice(source, "person", people)
    if wanted.owners_must == "approve" and not wanted.owners:
        yield source.problem((*at, "owners_must"), "expected owners, who could approve; found none")


def _twice(source: Source, what: str, named: list[tuple[tuple[Any, ...], str]]) -> Iterator[Problem]:
    first: dict[str, tuple[Any, ...]] = {}
    for field, name in named:
        if name in first:
            line = source.places.get(first[name], (1, 1))[0]
            yield source.problem(field, f"{what} {name!r} is in this plan already (line {line})")
        first.setdefault(name, field)


def _path_problems(source: Source, field: tuple[Any, ...], resource: Any, roots: list[str] | None) -> Iterator[Problem]:
    for at, path in _files(resource):
        inside = roots is None or any(PurePosixPath(root) in PurePosixPath(path).parents for root in roots)
        if path.startswith("/") and roots is not None and not inside:
            yield source.problem((*field, *at), f"{path!r} is outside the volume roots of the host ({', '.join(roots)})")


def _files(resource: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Where a resource names the file of a volume or of its tracker, and the path."""
    for index, volume in enumerate(resource.volumes):
        yield ("volumes", index, "path"), volume.path
        if isinstance(volume.tracker, QemuTracker):
            yield ("volumes", index, "tracker", "qemu_bitmap", "image"), volume.tracker.qemu_bitmap.image


Claim = tuple[tuple[Any, ...], tuple[str, ...], str]  # where it is in the file, what it is of, and in words


def _across(found: list[PlanFile]) -> Iterator[Problem]:
    """A plan's name, a volume, an instance and a backend belong to one plan of the environment."""
    owner: dict[tuple[str, ...], tuple[Source, tuple[Any, ...]]] = {}
    for file in found:
        for field, key, what in file.claims:
            first, at = owner.setdefault(key, (file.source, field))
            if first is not file.source or at is not field:
                yield file.source.problem(field, f"{what} belongs to {first.file}:{first.places.get(at, (1, 1))[0]} already")


def _claims(plan: Plan, inventory: Inventory) -> Iterator[Claim]:
    yield ("plan",), ("plan", order.group_name(plan.plan)), f"the name {plan.plan!r}"
    for field, resource in _resources(plan):
        for role in ("primary", "dr"):
            host = getattr(resource.hosts, role)
            name = resource.instance.known_as
            yield (*field, "instance"), ("instance", role, host, name), f"instance {name!r} on {host}"
            roots = inventory.roots.get(host)  # where they are not known, paths are compared as they are written; the site checks again
            for at, written in _files(resource):
                path = str(PurePosixPath(roots[0]) / written) if roots else written
                yield (*field, *at), ("volume", role, host, path), f"{'image' if 'tracker' in at else 'volume'} {written!r} on {host}"
    for index, balancer in enumerate(plan.traffic.load_balancers):
        at = ("traffic", "load_balancers", index, "backend")
        yield at, ("backend", balancer.host, balancer.backend), f"backend {balancer.backend!r} on {balancer.host}"
    for index, record in enumerate(plan.traffic.dns):
        name = dns_names.absolute(record.record, record.zone)
        yield ("traffic", "dns", index, "record"), ("dns", name, record.type), f"record {name} {record.type}"


def _compiled(source: Source, plan: Plan, environment: EnvironmentFile, sites: dict[str, list[str]]) -> dict[str, Any]:
    document = plan.model_dump(mode="json")
    roles = {"primary": plan.sites.primary, "dr": plan.sites.dr}
    document["maintenance"]["start"] = document["failback"].pop("start")  # neither is a part of the plan's hash
    document["replication"] |= _bandwidth(document["replication"]["bandwidth_limit"])
    for record in document["traffic"]["dns"]:
        record["host"] = record["host"] or environment.witness
    for group in document["groups"]:
        del group["hooks"]  # they are with the plan's own
        for resource in group["resources"]:
            resource["volumes"] = [{**volume, "tracker": _tracker(volume["tracker"])} for volume in resource["volumes"]]
            resource["health"] = [{key: value for key, value in check.items() if value is not None} for check in resource["health"]]
    placed = {
        role: {
            "name": name,
            "hosts": _used(plan, role, sites[name], environment.sites[name].record_host),
            "record_host": environment.sites[name].record_host,
        }
        for role, name in roles.items()
    }
    return order.finished(
        {
            "name": plan.plan,
            "file": source.file,
            "group": order.group_name(plan.plan),
            "sites": placed,
            "witness": environment.witness,
            **{key: document[key] for key in SECTIONS},
            "hooks": hooks.compiled(plan, placed),
            "start_order": document["groups"],
        }
    )


def _tracker(asked: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(asked, str):
        return {"kind": asked}
    ((kind, options),) = asked.items()
    return {"kind": kind, **{name: value for name, value in options.items() if value is not None}}


def _bandwidth(asked: int | dict[str, Any] | None) -> dict[str, Any]:
    """The hours stay as they were written: the offset of their zone may be another one tomorrow, and the plan is the same."""
    if not isinstance(asked, dict):
        return {"bandwidth_limit": asked, "bandwidth_hours": [], "bandwidth_zone": "UTC"}
    hours = [{"from": each["start"], "to": each["stop"], "limit": each["limit"]} for each in asked["hours"]]
    return {"bandwidth_limit": asked["limit"], "bandwidth_hours": hours, "bandwidth_zone": asked["zone"]}


def _used(plan: Plan, role: str, hosts: list[str], record_host: str) -> list[str]:
    """The hosts of a site that the plan runs on, and the one that keeps its record."""
    used = {record_host} | {getattr(resource.hosts, role) for _, resource in _resources(plan)}
    return [host for host in hosts if host in used]
