# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A plan's hooks: what must be right about them across the plan and its inventory, and as the compiled plan has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.plugin_utils.plan import Hook, Hooks, Plan
from ansible_collections.xdr.failback.plugins.plugin_utils.source import Problem, Source

MOMENTS = ("pre_failback", "post_failback", "pre_failover", "post_recover")
SITE = {"pre_failback": "dr", "post_failback": "primary", "pre_failover": "dr", "post_recover": "dr"}  # where the services are then
TIMEOUT, DEADLINE = 60, 600  # seconds
Sites = Mapping[str, Mapping[str, Any]]  # role → {"name", "hosts", "record_host"} of the compiled plan


@dataclass(frozen=True)
class _Placed:
    field: tuple[Any, ...]
    moment: str
    group: str
    hook: Hook

    @property
    def site(self) -> str:
        return self.hook.site or SITE[self.moment]


def _all(plan: Plan) -> Iterator[_Placed]:
    yield from _of(plan.hooks, ("hooks",), "")
    for number, group in enumerate(plan.groups):
        yield from _of(group.hooks, ("groups", number, "hooks"), group.name)


def _of(hooks: Hooks, field: tuple[Any, ...], group: str) -> Iterator[_Placed]:
    for moment in MOMENTS:
        for number, hook in enumerate(getattr(hooks, moment)):
            yield _Placed((*field, moment, number), moment, group, hook)


def problems(source: Source, plan: Plan, hosts: Mapping[str, list[str]], folder: Path) -> Iterator[Problem]:
    """``hosts``: those of the plan at each site, by role; ``folder``: where the inventory's playbooks for hooks lie."""
    seen: dict[str, int] = {}
    for each in _all(plan):
        hook, line = each.hook, source.places.get((*each.field, "name"), (1, 1))[0]
        if hook.name in seen:
            yield source.problem((*each.field, "name"), f"hook {hook.name!r} is in this plan already (line {seen[hook.name]})")
        seen.setdefault(hook.name, line)
        if each.group and each.site != SITE[each.moment]:
            text = (
                f"expected {SITE[each.moment]!r}, where the group is then; found {hook.site!r}. A hook of the whole plan may run at either"
            )
            yield source.problem((*each.field, "site"), text)
        elif hook.host is not None and each.site in hosts and hook.host not in hosts[each.site]:
            known = ", ".join(hosts[each.site]) or "none"
            yield source.problem((*each.field, "host"), f"{hook.host!r} is no host of the plan at its {each.site} site, which has: {known}")
        if hook.playbook is not None and not (folder / hook.playbook).is_file():
            yield source.problem((*each.field, "playbook"), f"there is no such file: {folder / hook.playbook}")


def compiled(plan: Plan, sites: Sites) -> list[dict[str, Any]]:
    """The hooks in their order: the plan's own first, then those of the groups; with what was left out filled in."""
    return [_compiled(each, sites) for each in _all(plan)]


def _compiled(each: _Placed, sites: Sites) -> dict[str, Any]:
    hook = each.hook
    return {
        "name": hook.name,
        "moment": each.moment,
        "group": each.group,
        "kind": hook.kind,
        "script": hook.script or "",
        "args": list(hook.args),
        "playbook": hook.playbook or "",
        "question": hook.pause or "",
        "site": each.site,
        "host": hook.host or sites[each.site]["record_host"],
        "timeout": hook.timeout or TIMEOUT,
        "deadline": hook.deadline or DEADLINE,
        "on_failure": hook.on_failure or ("halt" if each.moment == "pre_failback" else "continue"),
        "on_deadline": hook.on_deadline or "halt",
        "repeatable": hook.repeatable,
    }
