# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Controller side of xdr_gate: gathers what the hosts of a plan answered and lets plugin_utils decide."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils import approval, gate, knock, recovery, state_machine
from ansible_collections.xdr.failback.plugins.plugin_utils.foreseen import foresee


class ActionModule(ActionBase):  # type: ignore[misc]
    _requires_connection = False
    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            argument_spec={
                "action": {"type": "str", "required": True, "choices": [*gate.RULES, "recover"]},
                "plan": {"type": "str", "required": True},
                "attestation": {"type": "str", "default": ""},
                "recovery_point": {"type": "str", "default": ""},
                "reason": {"type": "str", "default": ""},
                "keep": {"type": "str", "default": ""},
                "run_id": {"type": "str", "default": ""},
                "skip": {"type": "list", "elements": "str", "default": []},
                "skip_reason": {"type": "str", "default": ""},
                "window": {"type": "dict", "default": {}},
                "before_offer": {"type": "bool", "default": False},
                "approved": {"type": "dict", "default": {}},
                "skip_hooks": {"type": "list", "elements": "str", "default": []},
                "halted": {"type": "bool", "default": False},
            }
        )
        variables = task_vars or {}
        view, preview = None, dict[str, Any]()
        try:
            plan = _plan(variables, arguments["plan"])
            reads = _reads(variables, plan, arguments["action"])
            view = state_machine.derive(plan, reads)
            source, target = ("primary", "dr") if arguments["action"] == "failover" else ("dr", "primary")
            if arguments["action"] == "recover":
                if view.run and view.run["action"] == "failover":
                    source, target = target, source
                told = {"undo": recovery.undo_path(view, source, target), "xdr_view": view.to_json()}
                return {"changed": False, **recovery.recover(plan, view, arguments["halted"]).to_json(), **told}
            if arguments["action"] == "failover" and arguments["attestation"]:
                _knock(variables, plan, reads)
            options = {**arguments, "now": time.time(), "lease": _lease(variables, plan)}
            undo = recovery.undo_path(view, source, target)
            if arguments["action"] != "status":
                foreseen = foresee(arguments["action"], plan, view, reads, options, undo)
                preview = {"preview": foreseen.to_json()} if self._task.check_mode else {}
            decision = gate.decide(arguments["action"], plan, view, reads, options)
            if arguments["action"] != "status" and decision.proceed and decision.fresh and not self._task.check_mode:
                approval.check(plan, foreseen.bound, arguments["approved"])
        except XdrError as error:
            failure: dict[str, Any] = {"failed": True, "changed": False, **error.failure(), **preview}
            return {**failure, "xdr_view": {**view.to_json(), **_shown(variables, plan)}} if view else failure
        return {
            "changed": False,
            **decision.to_json(),
            **preview,
            "undo": undo,
            "run_id": arguments["run_id"] or _run_id(arguments["action"]),
            "xdr_view": {**view.to_json(), **_shown(variables, plan)},
            "msg": decision.reason,
        }


def _plan(variables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    plans: Mapping[str, Any] = variables.get("xdr_plans", {})
    if name not in plans:
        raise XdrError(f"no plan named {name!r}", todo=f"The inventory has: {', '.join(sorted(plans)) or 'none'}")
    plan: Mapping[str, Any] = plans[name]
    return plan


def _reads(variables: Mapping[str, Any], plan: Mapping[str, Any], action: str) -> dict[str, dict[str, Any]]:
    """What every host of the plan answered, also those that left the play or were left out of it.

    A host that answered with a failure is neither dead nor alive: only status and recovery go on, which take it for unreachable.
    """
    source = "move_reread" if action == "recover" else "gate_read"
    forgiving = action in ("recover", "status")
    reads = {}
    for host in variables["groups"][plan["group"]]:
        known = variables["hostvars"][host]
        reads[host] = read = _read(known.get(source) or {})
        if knock.LOST in read["why"]:
            read["why"] = knock.reason(read["why"], _target(host, known))
        if read["failure"] and not forgiving:
            todo = "Put that right first; nothing was changed"
            raise XdrError(
                f"what {host} answered is no answer: {read['failure']}", where=f"plan {plan['name']}", todo=todo, code="not_reached"
            )
    return reads


def _target(host: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """How the controller logs in there, by the inventory."""
    return {
        "name": host,
        "address": str(known.get("ansible_host", host)),
        "port": int(known.get("ansible_port") or 22),
        "user": known.get("ansible_user"),
        "key": known.get("ansible_ssh_private_key_file"),
        "known_hosts": known.get("xdr_controller_known_hosts"),
    }


def _lease(variables: Mapping[str, Any], plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the witness said of the leases of a site that does not answer; empty where it was not asked."""
    known: Mapping[str, Any] = variables["hostvars"][plan["witness"]].get("gate_lease") or {}
    return known if "run_out" in known else {}


def _shown(variables: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """The leases that the witness has granted, of a plan that has leases."""
    read = variables["hostvars"][plan["witness"]].get("gate_read") or {}
    return {"leases": read.get("leases") or []} if plan["ownership"]["lease"] else {}


def _knock(variables: Mapping[str, Any], plan: Mapping[str, Any], reads: dict[str, dict[str, Any]]) -> None:
    """An attestation is held against the sshd of each host that is said to be off."""
    for host in plan["sites"]["primary"]["hosts"]:
        if not reads[host]["reachable"]:
            known = variables["hostvars"][host]
            reads[host]["sshd"] = knock.sshd_answers(str(known.get("ansible_host", host)), int(known.get("ansible_port") or 22))


def _read(known: Mapping[str, Any]) -> dict[str, Any]:
    unreachable, failure = bool(known.get("unreachable")), ""
    if not known:
        failure = "it is not in this play; run it without --limit"
    elif not unreachable and known.get("failed"):
        failure = str(known.get("msg"))
    return {
        "reachable": not unreachable and not failure,
        "failure": failure,
        "why": str(known.get("msg", "")) if unreachable else "",
        "record": known.get("record"),
        "registered": known.get("document"),
        "replication": known.get("results") or [],
        "running": known.get("running") or [],
    }


def _run_id(action: str) -> str:
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"{now:%Y%m%d-%H%M%S}-{action.replace('_', '-')}-{os.urandom(2).hex()}"
