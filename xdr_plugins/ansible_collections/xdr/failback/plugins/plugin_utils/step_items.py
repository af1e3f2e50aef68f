# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What the steps of an action do to whom: ``{"site", "host", "group", "name", "does"}``, in order. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import View

Plan = Mapping[str, Any]
Items = list[dict[str, str]]

MOMENTS = {"failback": ("pre_failback", "post_failback"), "failover": ("pre_failover", "post_recover")}  # of hooks
HOOK = {"script": "run the hook's script", "playbook": "run the hook's playbook", "pause": "ask a person, and wait for the answer"}
LEFT_OUT = "leave the hook out"


@dataclasses.dataclass(frozen=True)
class Course:
    """What decides which steps are taken. ``enter``, ``undo``: as xdr_gate tells; ``keep``: the kept side of a split brain;
    ``skip``: groups whose health checks are left out; ``point``: the recovery point that is put back; ``skip_hooks``: by name."""

    plan: Plan
    action: str
    view: View
    enter: str = "stop"
    undo: str = "retake"
    keep: str = ""
    skip: tuple[str, ...] = ()
    point: str = ""
    skip_hooks: tuple[str, ...] = ()

    def site(self, role: str) -> str:
        return str(self.plan["sites"][role]["name"])

    @property
    def planned(self) -> bool:
        """Whether the site that is left takes part in it."""
        return self.plan["sites"]["primary"]["record_host"] not in self.view.unreachable or self.action != "failover"


def item(site: str, host: str, name: str, does: str, group: str = "") -> dict[str, str]:
    return {"site": site, "host": host, "group": group, "name": name, "does": does}


def resources(course: Course, role: str, groups: Iterable[Mapping[str, Any]], does: Callable[[Mapping[str, Any]], Iterable[str]]) -> Items:
    site = course.site(role)
    return [
        item(site, resource["hosts"][role], resource["name"], what, group["name"])
        for group in groups
        for what in does(group)
        for resource in group["resources"]
    ]


def volumes(course: Course, role: str, does: str) -> Items:
    """Of the site in that role, in start order."""
    site = course.site(role)
    return [
        item(site, resource["hosts"][role], volume["name"], does, group["name"])
        for group in course.plan["start_order"]
        for resource in group["resources"]
        for volume in resource["volumes"]
    ]


def hosts(course: Course, roles: Iterable[str], does: str) -> Items:
    return [item(course.site(role), host, host, does) for role in roles for host in course.plan["sites"][role]["hosts"]]


def witness(course: Course, does: str) -> dict[str, str]:
    return item("witness", course.plan["witness"], course.plan["witness"], does)


def traffic(course: Course, role: str) -> Items:
    """Whatever leads clients to a site, of every kind that the plan has."""
    found = [entry for entries in course.plan["traffic"].values() for entry in entries or ()]
    return [
        item(course.site(role), str(entry.get("host") or ""), str(entry.get("name") or ""), "lead the clients there") for entry in found
    ]


def hooks(course: Course, moment: str, group: str = "") -> Items:
    """The plan's own steps at a moment of this action, or those of one of its groups."""
    if moment not in MOMENTS.get(course.action, ()):
        return []
    found = [hook for hook in course.plan.get("hooks") or () if (hook["moment"], hook["group"]) == (moment, group)]
    does = [LEFT_OUT if hook["name"] in course.skip_hooks else HOOK[hook["kind"]] for hook in found]
    return [item(course.site(hook["site"]), hook["host"], hook["name"], what, group) for hook, what in zip(found, does, strict=True)]
