#!/usr/bin/python
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: xdr_instances
short_description: Start, stop and look at the instances of a plan on this site host
version_added: 0.1.0
description:
  - Starts or stops a list of instances in parallel and returns a result for each; one that fails does not stop the others.
  - Instances are started only where the ownership record says that this site owns the plan and is not draining.
  - Every request is sent under the plan's lock and only for the newest attempt that this host has seen.
author: The XDR developers
options:
  state:
    description:
      - V(started) returns when each instance itself runs, not only its start guard.
      - V(stopped) returns when no process of the instances is left. Nothing is killed beyond what the supervisor is configured to do.
      - V(status) looks and changes nothing.
    type: str
    choices: [started, stopped, status]
    default: status
  instances:
    description:
      - The instances, each with its C(name) (the resource's), C(timeout) in seconds and options of its driver.
      - Without a timeout the plan's C(start_timeout) or C(stop_timeout) counts.
      - Options that are left out are taken from the plan as it is registered on this host.
      - The driver C(supervisor) has the option C(program), by default the resource's name.
      - The driver C(systemd) has the option C(unit), and needs the right to start and stop it, as root or by the role C(ownership_guard).
    type: list
    elements: dict
    required: true
  draining:
    description:
      - With O(state=stopped), mark the record as draining before the first stop, so that the start guard refuses from then on.
    type: bool
    default: false
  epoch:
    description: The epoch of the plan's ownership that the caller knows; needed unless O(state=status).
    type: int
  attempt:
    description: The number of this attempt at the run; needed unless O(state=status).
    type: int
extends_documentation_fragment:
  - xdr.failback.site
  - xdr.failback.attempt
attributes:
  check_mode:
    description: Tells what would be started or stopped, whoever owns the plan now.
    support: full
  diff_mode:
    description: A line for each instance that changes.
    support: full
"""

EXAMPLES = r"""
- name: Stop the services of a group, before the plan moves
  xdr.failback.xdr_instances:
    plan: webshop
    state_dir: /var/lib/xdr
    epoch: 4
    attempt: 17
    phase: stop_services/database
    state: stopped
    draining: true
    instances:
      - name: orders-db
        timeout: 30
"""

RETURN = r"""
results:
  description: One entry for each instance, in the order of O(instances).
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: The resource., type: str}
    state:
      description:
        - STOPPED, STARTING (also while the start guard waits), RUNNING, STOPPING, BACKOFF, FATAL, EXITED, UNKNOWN.
        - ORPHANED when it runs, but not under its supervisor.
      type: str
    pid: {description: "Its process, 0 for none.", type: int}
    changed: {description: Whether it was started or stopped now., type: bool}
    seconds: {description: How long that took., type: float}
    resource_state: {description: "Stopping, Recovering or Failed; null for O(state=status).", type: str}
    why: {description: A remark or the reason of a failure., type: str}
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdr.failback.plugins.module_utils import record as records
from ansible_collections.xdr.failback.plugins.module_utils.arguments import ATTEMPT_ARGUMENTS, SITE_ARGUMENTS
from ansible_collections.xdr.failback.plugins.module_utils.attempt import tracked
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.instances import moves
from ansible_collections.xdr.failback.plugins.module_utils.progress import Progress
from ansible_collections.xdr.failback.plugins.module_utils.site import load_site


def move(module: AnsibleModule, instances: list[moves.Instance], answer: dict[str, Any]) -> None:
    """Start or stop; ``answer`` has the results as far as they got, also when this raises XdrError."""
    parameters = module.params
    state_dir = Path(parameters["state_dir"])
    pair = (parameters["epoch"], parameters["attempt"])
    progress = Progress(state_dir, parameters["run_id"], load_site(state_dir).host)
    with tracked(state_dir, parameters["plan"], pair, run_id=parameters["run_id"], phase=parameters["phase"]) as holding:
        mover = moves.Mover(holding, progress)
        if parameters["state"] == "started":
            answer["results"] = mover.start(instances)
        else:
            if parameters["draining"]:
                answer["changed"] = moves.mark_draining(holding)
            answer["results"] = mover.stop(instances)
        answer["changed"] = answer["changed"] or any(result["changed"] for result in answer["results"])
        moves.check_all(answer["results"], parameters["state"])


def run(module: AnsibleModule, answer: dict[str, Any]) -> None:
    parameters = module.params
    state = parameters["state"]
    instances = moves.read_items(Path(parameters["state_dir"]), parameters["plan"], parameters["instances"])
    current = moves.read_state(instances)
    answer["results"] = [moves.result(instance.name, seen, None) for instance, seen in zip(instances, current)]
    if state == "status":
        return
    changes = moves.plan_changes([instance.name for instance in instances], current, state)
    answer["diff"] = moves.diff(changes)
    if module.check_mode:
        answer["results"] = moves.predicted(instances, current, changes, state)
        answer["changed"] = bool(changes) or (
            parameters["draining"]
            and state == "stopped"
            and moves.may_drain(records.load(Path(parameters["state_dir"]), parameters["plan"]))
        )
    else:
        move(module, instances, answer)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **SITE_ARGUMENTS,
            **ATTEMPT_ARGUMENTS,
            "epoch": {"type": "int"},
            "attempt": {"type": "int"},
            "state": {"type": "str", "choices": ["started", "stopped", "status"], "default": "status"},
            "instances": {"type": "list", "elements": "dict", "required": True},
            "draining": {"type": "bool", "default": False},
        },
        required_if=[("state", "started", ("epoch", "attempt")), ("state", "stopped", ("epoch", "attempt"))],
        supports_check_mode=True,
    )
    answer: dict[str, Any] = {"changed": False, "results": []}
    try:
        run(module, answer)
    except XdrError as error:
        module.fail_json(**answer, **error.failure())
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
