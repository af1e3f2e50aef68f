#!/usr/bin/python
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: xdr_traffic
short_description: Send the clients of a plan to one of its sites
version_added: 0.1.0
description:
  - Runs on the host of the load balancers. Takes the other site's servers out of service, then brings this site's in.
  - Returns when the balancer says that they are up, and a request through it was answered by this site.
author: The XDR developers
options:
  state:
    description: V(switched) moves the traffic, V(status) looks and changes nothing.
    type: str
    choices: [switched, status]
    default: status
  to:
    description: The site that clients are to reach; needed with O(state=switched).
    type: str
    choices: [primary, dr]
  load_balancers:
    description: The load balancers on this host.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Its name in the plan.
        type: str
        required: true
      driver:
        description: What it is.
        type: str
        choices: [haproxy]
        default: haproxy
      socket:
        description: Path of its runtime socket, which must have the level C(admin).
        type: path
        required: true
      backend:
        description: The backend that holds the servers of both sites.
        type: str
        required: true
      servers:
        description: The names of the servers, for C(primary) and for C(dr).
        type: dict
        required: true
        suboptions:
          primary:
            description: Of the primary site.
            type: list
            elements: str
            required: true
          dr:
            description: Of the DR site.
            type: list
            elements: str
            required: true
      verify:
        description: A request through the balancer whose answer tells the site. Without it, the balancer's own word is taken.
        type: dict
        suboptions:
          url:
            description: What is asked for with GET.
            type: str
            required: true
          header:
            description: The header of the answer that names the site.
            type: str
            required: true
          values:
            description: Its value for C(primary) and for C(dr).
            type: dict
            required: true
  deadline:
    description: Seconds within which each balancer is switched and verified.
    type: float
    default: 30
  epoch:
    description: The epoch of the plan's ownership that the caller knows.
    type: int
  attempt:
    description:
      - The number of this attempt at the run. With O(epoch), the change is made under the plan's lock and for the newest attempt only.
      - Left out only on a balancer that serves no plan's record.
    type: int
extends_documentation_fragment:
  - xdr.failback.site
  - xdr.failback.attempt
attributes:
  check_mode:
    description: Tells which servers would be switched; nothing is verified.
    support: full
  diff_mode:
    description: A line for each server that is switched.
    support: full
"""

EXAMPLES = r"""
- name: Bring the clients home
  xdr.failback.xdr_traffic:
    plan: webshop
    state_dir: /var/lib/xdr
    epoch: 5
    attempt: 17
    phase: switch_traffic
    state: switched
    to: primary
    load_balancers:
      - name: front
        socket: /run/haproxy/admin.sock
        backend: shop
        servers: {primary: [fra-web-1], dr: [ams-web-1]}
        verify: {url: "http://192.0.2.1/health", header: X-Site, values: {primary: frankfurt, dr: amsterdam}}
"""

RETURN = r"""
results:
  description: One entry for each load balancer, in the order of O(load_balancers).
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: The load balancer., type: str}
    before: {description: "Where clients were sent: primary, dr, both, none, or partly (not all servers of a side).", type: str}
    after: {description: Where they are sent now., type: str}
    changed: {description: Whether a server was switched., type: bool}
    verified: {description: Whether a request through the balancer was answered by the site., type: bool}
    why: {description: "Why it failed, else empty.", type: str}
"""

import contextlib
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdr.failback.plugins.module_utils.arguments import ATTEMPT_ARGUMENTS, SITE_ARGUMENTS
from ansible_collections.xdr.failback.plugins.module_utils.attempt import tracked
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.traffic import Gate, moves

SERVERS = {side: {"type": "list", "elements": "str", "required": True} for side in ("primary", "dr")}
VERIFY = {
    "url": {"type": "str", "required": True},
    "header": {"type": "str", "required": True},
    "values": {"type": "dict", "required": True},
}
LOAD_BALANCER = {
    "name": {"type": "str", "required": True},
    "driver": {"type": "str", "choices": ["haproxy"], "default": "haproxy"},
    "socket": {"type": "path", "required": True},
    "backend": {"type": "str", "required": True},
    "servers": {"type": "dict", "required": True, "options": SERVERS},
    "verify": {"type": "dict", "options": VERIFY},
}


def run(module: AnsibleModule, answer: dict[str, Any]) -> None:
    parameters = module.params
    read = moves.read_state(parameters["load_balancers"], parameters["to"])
    answer["results"] = [moves.result(each, each.before, each.before) for each in read]
    if parameters["state"] == "status":
        return
    answer["diff"] = moves.diff(read)
    if module.check_mode:
        answer["results"] = [moves.result(each, each.before, parameters["to"], changed=bool(each.switches)) for each in read]
        answer["changed"] = any(each.switches for each in read)
        return
    with contextlib.ExitStack() as stack:
        gate: Gate = contextlib.nullcontext
        if parameters["attempt"] is not None:
            pair = (parameters["epoch"], parameters["attempt"])
            place = (Path(parameters["state_dir"]), parameters["plan"], pair)
            gate = stack.enter_context(tracked(*place, run_id=parameters["run_id"], phase=parameters["phase"])).locked
        answer["results"] = moves.switch_all(read, parameters["to"], parameters["deadline"], gate)
        answer["changed"] = any(result["changed"] for result in answer["results"])
        moves.check_all(answer["results"])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **SITE_ARGUMENTS,
            **ATTEMPT_ARGUMENTS,
            "epoch": {"type": "int"},
            "attempt": {"type": "int"},
            "state": {"type": "str", "choices": ["switched", "status"], "default": "status"},
            "to": {"type": "str", "choices": ["primary", "dr"]},
            "load_balancers": {"type": "list", "elements": "dict", "required": True, "options": LOAD_BALANCER},
            "deadline": {"type": "float", "default": 30.0},
        },
        required_if=[("state", "switched", ("to",))],
        required_together=[("epoch", "attempt")],
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
