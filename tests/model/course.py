# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a run asks of the hosts, in order: read from the playbooks and roles themselves, so that the model follows them.

Tasks that neither change a record nor an instance are left out, but for two whose failure starts a recovery (``MAY_FAIL``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml
from jinja2.nativetypes import NativeEnvironment

ROOT = Path(__file__).resolve().parents[2]
OMIT = "__omit__"
MAY_FAIL = ("final_sync", "health_checks")
KINDS = {"xdr.failback.xdr_ownership": "ownership", "xdr.failback.xdr_instances": "instances"}
INCLUDES = ("ansible.builtin.include_tasks", "ansible.builtin.import_tasks")

Values = dict[str, Any]


class Step(NamedTuple):
    """One task. ``asks``: host → (kind, arguments as JSON), its own; ``handler``: the step that a failure leads to, -1 ends the run."""

    name: str
    kind: str  # ask, traffic (to primary or dr), read (the records again, then recovery), note (a group is not up), unless_up, fail
    asks: tuple[tuple[str, tuple[str, str]], ...] = ()
    handler: int = -1
    leads: int = 0  # the step after this one
    keeps: bool = False  # the record that comes back is needed later


class _Lazy(jinja2.runtime.Context):
    """A variable may be a template of other variables."""

    def resolve_or_missing(self, key: str) -> Any:
        value = super().resolve_or_missing(key)
        return render(value, self.parent) if isinstance(value, str) and "{{" in value else value


class _Environment(NativeEnvironment):
    context_class = _Lazy


def _environment() -> NativeEnvironment:
    environment = _Environment(undefined=jinja2.StrictUndefined)
    environment.filters["ternary"] = lambda value, yes, no: yes if value else no
    environment.filters["flatten"] = lambda lists: [item for each in lists for item in each]
    environment.filters["extract"] = lambda key, container: container[key]
    environment.filters["difference"] = lambda these, those: [item for item in these if item not in those]
    environment.filters["xdr.failback.instances_for"] = lambda plan, group, site, host: [{"name": "orders-db"}]
    environment.filters["xdr.failback.volumes_for"] = lambda plan, site, host: [{"name": "orders"}]
    environment.filters["xdr.failback.volumes_with"] = lambda rows, point: []
    return environment


_ENVIRONMENT = _environment()


@cache
def _template(text: str) -> jinja2.Template:
    return _ENVIRONMENT.from_string(text)


def render(value: Any, variables: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: render(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [render(each, variables) for each in value]
    return _template(value).render(variables) if isinstance(value, str) and "{{" in value else value


def _holds(when: Any, variables: Values) -> bool:
    conditions = when if isinstance(when, list) else [when]
    return all(condition if isinstance(condition, bool) else bool(render(f"{{{{ {condition} }}}}", variables)) for condition in conditions)


@cache
def _yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8")) if (ROOT / path).exists() else None


class Course:
    """The steps of an action after its gate, for one answer of the gate."""

    def __init__(self, action: str, plan: Mapping[str, Any], hosts: Mapping[str, str], facts: Values) -> None:
        self._hosts = hosts
        [self._play] = _yaml(f"playbooks/{action}.yml")
        common = {"plan": plan["name"], "xdr_plans": {plan["name"]: plan}, "omit": OMIT, "ansible_check_mode": False}
        common["site_check_told"] = ""  # a check that fails asks nothing of the hosts
        everyone = {"ansible_play_hosts_all": list(hosts.values()), "hostvars": {host: {**facts} for host in hosts.values()}}
        self._variables: Values = {**common, **everyone, **facts}
        self._steps: list[Step] = []
        self._handler = -1

    def steps(self) -> tuple[Step, ...]:
        for role in self._play["roles"]:
            variables = self._of_role(role)
            tasks = _yaml(f"roles/{role['role']}/tasks/main.yml")
            if role["role"] == "gate":
                tasks = [task for task in tasks if "xdr.failback.xdr_ownership" in task]
            self._tasks(role["role"], tasks, variables)
        return tuple(self._steps)

    def recovery(self) -> tuple[Step, ...]:
        """The steps of roles/move/tasks/recover.yml after its decision, which the facts hold as ``move_recovery``."""
        [role] = [role for role in self._play["roles"] if role["role"] == "move"]
        self._tasks("move", _yaml("roles/move/tasks/recover.yml")[2:], self._of_role(role))
        return tuple(self._steps)

    def _of_role(self, role: Values) -> Values:
        files = [_yaml(f"roles/{role['role']}/{name}/main.yml") or {} for name in ("defaults", "vars")]
        return {**files[0], **files[1], **{key: value for key, value in role.items() if key != "role"}, **self._variables}

    def _tasks(self, role: str, tasks: list[Values], variables: Values) -> None:
        for task in tasks:
            if "block" in task:
                if _holds(task.get("when", True), variables):
                    self._block(role, task, variables)
            else:
                for each in self._rounds(task, variables):
                    self._task(role, task, each)

    def _rounds(self, task: Values, variables: Values) -> Iterator[Values]:
        """Once for each item of an include's loop; a loop over a module is each host's own and is unrolled there."""
        if "loop" not in task or not any(name in task for name in INCLUDES):
            yield variables
            return
        for item in render(task["loop"], variables):
            yield {**variables, task["loop_control"]["loop_var"]: item}

    def _block(self, role: str, task: Values, variables: Values) -> None:
        outer, begin = self._handler, len(self._steps)
        self._handler = -2  # patched below, once it is known where the rescue begins
        self._tasks(role, task["block"], variables)
        self._handler, rescue = outer, len(self._steps)
        self._tasks(role, task["rescue"], variables)
        end = len(self._steps)
        for index in range(begin, rescue):
            step = self._steps[index]
            leads = end if step.leads == rescue else step.leads
            self._steps[index] = step._replace(handler=rescue if step.handler == -2 else step.handler, leads=leads)

    def _task(self, role: str, task: Values, variables: Values) -> None:
        include = next((task[name] for name in INCLUDES if name in task), None)
        if include is not None:
            self._include(role, task, render(include, variables), {**variables, **task.get("vars", {})})
            return
        if "ansible.builtin.set_fact" in task and role == "move" and "move_not_up" in task["ansible.builtin.set_fact"]:
            self._add(task, "note")
        elif "ansible.builtin.fail" in task:
            missing = "move_missing" in str(task.get("when", ""))
            if missing or _holds(task.get("when", True), variables):
                self._add(task, "unless_up" if missing else "fail")
        elif task.get("xdr.failback.xdr_traffic", {}).get("state") in ("switched", "reverted"):
            self._add(task, "traffic", ((render(task["xdr.failback.xdr_traffic"]["to"], variables), ("", "")),))
        elif _kind(task) and (asks := tuple(self._asks(task, variables))):
            self._add(task, "ask", asks)

    def _include(self, role: str, task: Values, name: str, variables: Values) -> None:
        hosts = [host for host in self._reached(variables) if _holds(task.get("when", True), {**variables, "inventory_hostname": host})]
        if not hosts:
            return
        if name == "recover.yml":
            self._add(task, "read")
        else:
            self._tasks(role, _yaml(f"roles/{role}/tasks/{name}"), {**variables, "model_hosts": hosts})

    def _reached(self, variables: Values) -> list[str]:
        """The hosts that go into the include at hand."""
        return list(variables.get("model_hosts", self._hosts.values()))

    def _add(self, task: Values, kind: str, asks: tuple[Any, ...] = ()) -> None:
        self._steps.append(Step(task["name"], kind, asks, self._handler, len(self._steps) + 1, "move_retaken" in task.get("register", "")))

    def _asks(self, task: Values, variables: Values) -> Iterator[tuple[str, tuple[str, str]]]:
        reached = self._reached(variables)
        for site, host in self._hosts.items():
            if host not in reached:
                continue
            mine = {**variables, "inventory_hostname": host, "gate_read": {"record": variables["gate_read"].get(host)}}
            items = render(task["loop"], mine) if "loop" in task else [None]
            for item in items:
                ours = {**mine, task["loop_control"]["loop_var"]: item} if "loop" in task else mine
                if _holds(task.get("when", True), ours):
                    yield site, (_kind(task), _arguments(task, ours))


def _kind(task: Values) -> str:
    """Of what the task asks a host; empty for one that the model leaves out."""
    known = next((kind for module, kind in KINDS.items() if module in task), "")
    first = str(task.get("name", "")).split(" ")[0]
    return known or (first if first in MAY_FAIL else "")


def _arguments(task: Values, variables: Values) -> str:
    asked = next((task[module] for module in KINDS if module in task), {})
    arguments = render({key: value for key, value in asked.items() if key not in ("document", "instances")}, variables)
    return json.dumps({key: value for key, value in arguments.items() if value != OMIT}, sort_keys=True)
