# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Controller side of xdr_gate: gathers what the hosts of a plan answered and lets plugin_utils decide."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils import gate, recovery, state_machine


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
                "run_id": {"type": "str", "default": ""},
            }
        )
        variables = task_vars or {}
        view = None
        try:
            plan = _plan(variables, arguments["plan"])
            # a host that left the play has no second reading, and so counts as unreachable whatever it said at first
            source = "move_reread" if arguments["action"] == "recover" else "gate_read"
            reads = {host: _read(variables["hostvars"][host], source) for host in variables["ansible_play_hosts_all"]}
            view = state_machine.derive(plan, reads)
            if arguments["action"] == "recover":
                return {"changed": False, **recovery.recover(plan, view).to_json(), "xdr_view": view.to_json()}
            decision = gate.decide(arguments["action"], plan, view, reads, arguments)
        except XdrError as error:
            failure: dict[str, Any] = {"failed": True, "changed": False, **error.failure()}
            return {**failure, "xdr_view": view.to_json()} if view else failure
        return {
            "changed": False,
            **decision.to_json(),
            "run_id": arguments["run_id"] or _run_id(arguments["action"]),
            "xdr_view": view.to_json(),
            "msg": decision.reason,
        }


def _plan(variables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    plans: Mapping[str, Any] = variables.get("xdr_plans", {})
    if name not in plans:
        raise XdrError(f"no plan named {name!r}", todo=f"The inventory has: {', '.join(sorted(plans)) or 'none'}")
    plan: Mapping[str, Any] = plans[name]
    return plan


def _read(host: Mapping[str, Any], source: str) -> dict[str, Any]:
    """What was registered on one host: the record, and the replication where the plan is registered."""
    ownership = host.get(source) or {}
    replication = host.get("gate_replication") or {}
    return {
        "reachable": bool(ownership) and not ownership.get("unreachable", False),
        "record": ownership.get("record"),
        "registered": ownership.get("registered"),
        "replication": replication.get("results") or [],
    }


def _run_id(action: str) -> str:
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"{now:%Y%m%d-%H%M%S}-{action.replace('_', '-')}-{os.urandom(2).hex()}"
