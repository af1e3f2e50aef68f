#!/usr/bin/python
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: xdr_site
short_description: Health and free space of a site host
version_added: 0.1.0
description:
  - Looks at the folders, the free space, the ports, the agent, the supervisor, the services and the clock of this host. Changes nothing.
  - Does not fail for what it finds, RV(health) and RV(reasons) tell; unless O(at_least) asks for more.
author: The XDR developers
options:
  paths:
    description: Where space is wanted.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: A file or folder, which need not exist yet.
        type: path
        required: true
      needs_bytes:
        description: Bytes that must be free there; what several paths need on one file system is added up.
        type: int
        default: 0
  ports:
    description: Where the services of this host will listen; the ports must be free.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The resource that needs it.
        type: str
        required: true
      address:
        description: The address.
        type: str
        required: true
      port:
        description: The port.
        type: int
        required: true
  at_least:
    description: Fail, saying the reasons, when the health is worse than this.
    type: str
    choices: [Failed, Degraded, Healthy]
    default: Failed
  inspect:
    description: Also tell RV(facts), for a diagnosis.
    type: bool
    default: false
  plan:
    description: Name of the protection plan; not used, accepted as of the other modules.
    type: str
    required: false
extends_documentation_fragment:
  - xdr.failback.site
attributes:
  check_mode:
    description: The same, as nothing is changed.
    support: full
  diff_mode:
    description: There is never a change.
    support: none
"""

EXAMPLES = r"""
- name: Look at the host
  xdr.failback.xdr_site:
    plan: webshop
    state_dir: /var/lib/xdr
    paths:
      - path: /srv/volumes/orders.img
        needs_bytes: 1073741824
    at_least: Degraded
  register: look
"""

RETURN = r"""
host:
  description: The host's name, empty when it does not know it.
  returned: always
  type: str
health:
  description:
    - V(Failed) when no volume can be received here, V(Degraded) when only services cannot be run, else V(Healthy).
    - That a host is unreachable only the controller can tell.
  returned: always
  type: str
reasons:
  description: A sentence for each thing that is wrong, with what to do.
  returned: always
  type: list
  elements: str
checks:
  description: One entry for each thing that was looked at.
  returned: always
  type: list
  elements: dict
  contains:
    check: {description: "What was looked at, such as V(agent).", type: str}
    result: {description: "V(ok), V(degraded) or V(failed).", type: str}
    found: {description: What was found., type: str}
    wanted: {description: What it should be., type: str}
facts:
  description: Clock, versions, room, quota, locks, spools, trackers and certificates of this host, as they are.
  returned: with O(inspect)
  type: dict
capacity:
  description: One entry for each of O(paths).
  returned: always
  type: list
  elements: dict
  contains:
    path: {description: As it was given., type: str}
    free_bytes: {description: Free for this account., type: int}
    total_bytes: {description: Size of the file system., type: int}
agent_version:
  description: What the agent's verb C(version) says, empty when it cannot be run.
  returned: always
  type: str
time:
  description: Seconds since 1970 by this host's clock.
  returned: always
  type: float
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdr.failback.plugins.module_utils.arguments import SITE_ARGUMENTS
from ansible_collections.xdr.failback.plugins.module_utils.capacity import inspect, require
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

PATH = {"path": {"type": "path", "required": True}, "needs_bytes": {"type": "int", "default": 0}}

PORT = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **SITE_ARGUMENTS,
            "plan": {"type": "str"},
            "paths": {"type": "list", "elements": "dict", "default": [], "options": PATH},
            "ports": {"type": "list", "elements": "dict", "default": [], "options": PORT},
            "inspect": {"type": "bool", "default": False},
            "at_least": {"type": "str", "choices": ["Failed", "Degraded", "Healthy"], "default": "Failed"},
        },
        supports_check_mode=True,
    )
    found = inspect(Path(module.params["state_dir"]), module.params["paths"], module.params["ports"])
    if module.params["inspect"]:  # imported here, because a site host compiles what it imports at each call
        from ansible_collections.xdr.failback.plugins.module_utils.inspection import facts

        found["facts"] = facts(Path(module.params["state_dir"]))
    try:
        require(found, module.params["at_least"])
    except XdrError as error:
        module.fail_json(changed=False, **found, **error.failure())
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
