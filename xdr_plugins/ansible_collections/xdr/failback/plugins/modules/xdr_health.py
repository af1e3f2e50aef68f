#!/usr/bin/python
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: xdr_health
short_description: Check the health of resources from their site host, until they pass or a deadline ends
version_added: 0.1.0
description:
  - Runs all checks of all resources at the same time and tries each again until it passes or O(deadline) ends.
  - A resource whose instance has ended does not pass, whatever answers in its place, and is not waited for.
  - Fails when a check has not passed; the other resources are reported too.
  - It changes nothing but the mark of its O(phase) in the ownership record, when O(epoch) and O(attempt) are given.
author: The XDR developers
options:
  resources:
    description: The resources that are checked.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The resource's name.
        type: str
        required: true
      address:
        description: The address that its C(tcp) and C(http) checks go to.
        type: str
        default: 127.0.0.1
      checks:
        description:
          - Each is one of C(tcp) with a port, C(http) with C(port), C(path) and C(status) (200 unless told),
            and C(command) with a list of words.
          - A command runs without a shell and passes with exit status 0.
          - A resource without checks is C(Validated).
        type: list
        elements: dict
        required: true
  deadline:
    description: Seconds within which all checks are to pass.
    type: float
    default: 60
  interval:
    description: Seconds between two tries of a check.
    type: float
    default: 0.5
  epoch:
    description: The epoch of the plan's ownership that the caller knows; with O(attempt), the phase is marked.
    type: int
  attempt:
    description: The number of this attempt at the run.
    type: int
extends_documentation_fragment:
  - xdr.failback.site
  - xdr.failback.attempt
attributes:
  check_mode:
    description:
      - Nothing is checked, as in check mode nothing was started either. Returns as skipped, with each resource C(Pending) and no checks.
    support: full
  diff_mode:
    description: There is never a change.
    support: none
"""

EXAMPLES = r"""
- name: Wait until the databases answer
  xdr.failback.xdr_health:
    plan: webshop
    state_dir: /var/lib/xdr
    epoch: 5
    attempt: 17
    phase: health_checks/database
    deadline: 60
    resources:
      - name: orders-db
        address: 192.0.2.10
        checks:
          - tcp: 5432
          - command: [pg_isready, -q]
"""

RETURN = r"""
results:
  description: One entry for each resource, in the order of O(resources).
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: The resource., type: str}
    resource_state: {description: "Validated or Failed; Pending in check mode.", type: str}
    checks:
      description: One entry for each check.
      type: list
      elements: dict
      contains:
        check: {description: "What was checked, such as C(tcp 127.0.0.1:5432).", type: str}
        ok: {description: Whether it passed., type: bool}
        why: {description: "Why the last try failed, empty when it passed.", type: str}
        seconds: {description: From the first try to the end of the last., type: float}
        tries: {description: How many tries were made., type: int}
"""

import contextlib
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdr.failback.plugins.module_utils import health
from ansible_collections.xdr.failback.plugins.module_utils.arguments import ATTEMPT_ARGUMENTS, SITE_ARGUMENTS
from ansible_collections.xdr.failback.plugins.module_utils.attempt import tracked
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.instances.moves import ending
from ansible_collections.xdr.failback.plugins.module_utils.progress import Progress
from ansible_collections.xdr.failback.plugins.module_utils.site import load_site

RESOURCE = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "default": "127.0.0.1"},
    "checks": {"type": "list", "elements": "dict", "required": True},
}


def phase(parameters: dict[str, Any]) -> contextlib.AbstractContextManager[Any]:
    """Marks the phase where an attempt is given."""
    if parameters["attempt"] is None:
        return contextlib.nullcontext()
    pair = (parameters["epoch"], parameters["attempt"])
    return tracked(Path(parameters["state_dir"]), parameters["plan"], pair, run_id=parameters["run_id"], phase=parameters["phase"])


def check_all(parameters: dict[str, Any], answer: dict[str, Any]) -> None:
    resources, deadline = parameters["resources"], parameters["deadline"]
    checks = health.read_checks(resources)
    state_dir = Path(parameters["state_dir"])
    host = load_site(state_dir).host
    progress = Progress(state_dir, parameters["run_id"], host)
    with phase(parameters):
        found = health.run_checks(checks, deadline, parameters["interval"], ending(state_dir, parameters["plan"]))
        answer["results"] = health.by_resource(resources, checks, found)
        for result in answer["results"]:
            progress.resource(result["name"], result["resource_state"])
        health.require_all(answer["results"], deadline, host)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **SITE_ARGUMENTS,
            **ATTEMPT_ARGUMENTS,
            "epoch": {"type": "int"},
            "attempt": {"type": "int"},
            "resources": {"type": "list", "elements": "dict", "required": True, "options": RESOURCE},
            "deadline": {"type": "float", "default": 60.0},
            "interval": {"type": "float", "default": 0.5},
        },
        required_together=[("epoch", "attempt")],
        supports_check_mode=True,
    )
    answer: dict[str, Any] = {"changed": False, "results": []}
    try:
        if module.check_mode:
            health.read_checks(module.params["resources"])
            answer["skipped"] = True
            answer["results"] = [{"name": each["name"], "resource_state": "Pending", "checks": []} for each in module.params["resources"]]
        else:
            check_all(module.params, answer)
    except XdrError as error:
        module.fail_json(**answer, **error.failure())
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
