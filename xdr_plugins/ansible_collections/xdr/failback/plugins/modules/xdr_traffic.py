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
  - DNS records are changed at the zone's primary server, by signed updates (RFC 2136, TSIG) that hold only if a record is still
    what was read. Returns when each authoritative server says the same, and each resolver that the plan names; a resolver may
    take as long as the former TTL.
  - What a record was before a move is kept in the plan's folder on this host, until the move is undone or the record is settled.
requirements:
  - "dnspython 2.1 or newer for O(dns), on this host: C(python3-dnspython) of the distribution"
author: The XDR developers
options:
  state:
    description:
      - V(switched) moves the traffic, V(reverted) brings it back and puts DNS records back as they were captured.
      - V(lowered) lowers the TTL of DNS records ahead of a move, V(restored) puts it back after one, where the record says O(to).
      - V(checked) finds out whether all of it would let itself be switched, and V(status) looks; both change nothing.
    type: str
    choices: [switched, reverted, lowered, restored, checked, status]
    default: status
  to:
    description: The site that clients are to reach; needed with O(state=switched), O(state=reverted) and O(state=restored).
    type: str
    choices: [primary, dr]
  load_balancers:
    description: The load balancers on this host.
    type: list
    elements: dict
    default: []
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
  dns:
    description: The DNS records that are changed from this host.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name in the plan.
        type: str
        required: true
      zone:
        description: The zone that is updated.
        type: str
        required: true
      record:
        description: The name in the zone, V(@) for the zone itself, or a whole name with a dot at its end.
        type: str
        required: true
      type:
        description: The type of the record.
        type: str
        choices: [A, AAAA, CNAME]
        default: A
      values:
        description: What it says when clients are to go to C(primary) and to C(dr).
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
      ttl:
        description: Its TTL in seconds, but for the time around a move.
        type: int
        default: 300
      lowered_ttl:
        description: Its TTL in seconds around a move.
        type: int
        default: 30
      servers:
        description: The addresses of all authoritative servers of the zone, C(address) or C(address:port); the first takes the updates.
        type: list
        elements: str
        required: true
      resolvers:
        description: The addresses of resolvers that clients use.
        type: list
        elements: str
        default: []
      key:
        description: The name of the TSIG key.
        type: str
        required: true
      key_file:
        description: The file that holds it, as C(tsig-keygen) writes it, readable for the account of this module alone.
        type: path
        required: true
      propagation:
        description: Seconds within which all authoritative servers must say the same.
        type: float
        default: 60
      require_lowered_ttl:
        description: Whether O(state=checked) fails while resolvers may hold the record for longer than O(dns[].lowered_ttl).
        type: bool
        default: false
  deadline:
    description: Seconds within which each balancer is switched and verified, and the least that a resolver is waited for.
    type: float
    default: 30
  must_answer:
    description:
      - With V(false), authoritative servers other than the first and resolvers that do not answer are told and stop nothing.
        One that answers must say what is so.
    type: bool
    default: true
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
    description: Tells which servers and records would be switched; nothing is verified.
    support: full
  diff_mode:
    description: A line for each server and record that is switched.
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
    dns:
      - name: www
        zone: shop.example
        record: www
        values: {primary: [192.0.2.10], dr: [198.51.100.10]}
        servers: [192.0.2.53, 198.51.100.53]
        resolvers: [192.0.2.54]
        key: xdr-failback
        key_file: /var/lib/xdr/tsig/xdr-failback.key
"""

RETURN = r"""
results:
  description: One entry for each load balancer, in the order of O(load_balancers), then one for each record of O(dns).
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: The load balancer or record., type: str}
    before: {description: "Where clients were sent: primary, dr, both, none, or partly (not all servers of a side).", type: str}
    after: {description: Where they are sent now., type: str}
    changed: {description: Whether something was switched., type: bool}
    verified: {description: "Whether the site answered through the balancer, or all DNS servers said the same.", type: bool}
    evidence: {description: "Who was asked (C(by)), what the answer was (C(said)) and when (C(at)).", type: list, elements: dict}
    remark: {description: "With O(state=checked), what a person should know before the switch, else empty.", type: str}
    why: {description: "Why it failed, else empty.", type: str}
    seconds: {description: "How long the switch took, with the looks before and after it; not with the states that only look.", type: float}
"""

import contextlib
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdr.failback.plugins.module_utils.arguments import ATTEMPT_ARGUMENTS, SITE_ARGUMENTS
from ansible_collections.xdr.failback.plugins.module_utils.attempt import tracked
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.site import plan_dir
from ansible_collections.xdr.failback.plugins.module_utils.traffic import Gate, Occasion, moves

SIDES = {side: {"type": "list", "elements": "str", "required": True} for side in ("primary", "dr")}
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
    "servers": {"type": "dict", "required": True, "options": SIDES},
    "verify": {"type": "dict", "options": VERIFY},
}


DNS = {
    "name": {"type": "str", "required": True},
    "zone": {"type": "str", "required": True},
    "record": {"type": "str", "required": True},
    "type": {"type": "str", "choices": ["A", "AAAA", "CNAME"], "default": "A"},
    "values": {"type": "dict", "required": True, "options": SIDES},
    "ttl": {"type": "int", "default": 300},
    "lowered_ttl": {"type": "int", "default": 30},
    "servers": {"type": "list", "elements": "str", "required": True},
    "resolvers": {"type": "list", "elements": "str", "default": []},
    "key": {"type": "str", "required": True, "no_log": False},
    "key_file": {"type": "path", "required": True, "no_log": False},
    "propagation": {"type": "float", "default": 60.0},
    "require_lowered_ttl": {"type": "bool", "default": False},
}
MOVES = ("switched", "reverted", "lowered", "restored")
LOOKS = ("checked", "status")


def run(module: AnsibleModule, answer: dict[str, Any]) -> None:
    began = time.monotonic()
    parameters = module.params
    items = [*parameters["load_balancers"], *({"driver": "dns", **record} for record in parameters["dns"])]
    folder = plan_dir(Path(parameters["state_dir"]), parameters["plan"])
    occasion = Occasion(parameters["state"], folder, parameters["run_id"], parameters["must_answer"])
    to = parameters["to"] or ""
    read = moves.read_state(items, None if parameters["state"] in LOOKS else to, occasion)
    answer["results"] = [moves.result(each, each.before, each.before) for each in read]
    if parameters["state"] == "checked":
        answer["results"] = moves.check_state(read)
    if parameters["state"] in LOOKS:
        return
    answer["diff"] = moves.diff(read)
    if module.check_mode:
        answer["results"] = [moves.foretold(each, to or each.before) for each in read]
        answer["changed"] = any(each.switches for each in read)
        return
    with contextlib.ExitStack() as stack:
        gate: Gate = contextlib.nullcontext
        if parameters["attempt"] is not None:
            pair = (parameters["epoch"], parameters["attempt"])
            place = (Path(parameters["state_dir"]), parameters["plan"], pair)
            gate = stack.enter_context(tracked(*place, run_id=parameters["run_id"], phase=parameters["phase"])).locked
        switched = moves.switch_all(read, to, parameters["deadline"], gate)
        answer["results"] = [{**result, "seconds": round(time.monotonic() - began, 3)} for result in switched]
        answer["changed"] = any(result["changed"] for result in answer["results"])
        moves.check_all(answer["results"])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **SITE_ARGUMENTS,
            **ATTEMPT_ARGUMENTS,
            "epoch": {"type": "int"},
            "attempt": {"type": "int"},
            "state": {"type": "str", "choices": [*MOVES, *LOOKS], "default": "status"},
            "to": {"type": "str", "choices": ["primary", "dr"]},
            "load_balancers": {"type": "list", "elements": "dict", "default": [], "options": LOAD_BALANCER},
            "dns": {"type": "list", "elements": "dict", "default": [], "options": DNS},
            "deadline": {"type": "float", "default": 30.0},
            "must_answer": {"type": "bool", "default": True},
        },
        required_if=[("state", state, ("to",)) for state in ("switched", "reverted", "restored")],
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
