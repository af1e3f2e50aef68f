#!/usr/bin/python
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The module xdr_plan; the work is in module_utils/registration.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: xdr_plan
short_description: Read what a host knows of a plan, or tell it what it does for the plan
description:
  - V(read) tells the registration, the ownership record and on demand the replication; it works without any file.
  - V(present) writes the host's part of a plan, its volumes and instances, durably to C(plan.json). All else looks them up there by name.
  - Refuses a volume (by real path, by device and inode) or an instance that another plan has on this host.
  - Refuses a path outside the volume roots.
  - Forgetting a plan keeps its ownership record, an epoch that was once known is never forgotten.
version_added: 0.1.0
author: The XDR developers
extends_documentation_fragment:
  - xdr.failback.site
options:
  state:
    description: V(read) changes nothing. V(absent) is refused while this site owns the plan and one of its instances runs.
    type: str
    default: present
    choices: [read, present, absent]
  document:
    description: The host's part of the plan, as the filter P(xdr.failback.plan_document#filter) makes it. Needed for O(state=present).
    type: dict
  replication:
    description: With O(state=read), tell the replication of each volume that the host is registered for.
    type: bool
    default: false
  lag:
    description: With O(replication), measure the lag of sources. Each volume is read.
    type: bool
    default: false
  instances:
    description: With O(state=read), look at each instance that the host is registered for.
    type: bool
    default: false
attributes:
  check_mode:
    description: Makes every check and changes nothing.
    support: full
  diff_mode:
    description: Returns the document before and after.
    support: full
"""

EXAMPLES = r"""
- name: Read what this host knows of the plan
  xdr.failback.xdr_plan:
    plan: webshop
    state_dir: "{{ xdr_state_dir }}"
    state: read
  register: known

- name: Register the witness of a plan
  xdr.failback.xdr_plan:
    plan: webshop
    state_dir: "{{ xdr_state_dir }}"
    document:
      plan: webshop
      hash: 5f2a
      site: witness
      host: edge1
      witness: edge1
      record_host: true
      volumes: {}
      instances: {}
"""

RETURN = r"""
document:
  description: What is registered (after the change), or null.
  type: dict
  returned: success
record:
  description: The ownership record.
  type: dict
  returned: with O(state=read)
owns:
  description: Whether the record says that this host's site owns the plan.
  type: bool
  returned: with O(state=read)
running:
  description: Of the instances that the start guard let start here, those that still run, with C(name), C(pid) and C(since) (Unix seconds).
  type: list
  elements: dict
  returned: with O(state=read)
results:
  description:
    - An entry for each volume, as of M(xdr.failback.xdr_replication).
    - C(accelerators_missing) names the libraries of the role C(site_accelerators) that this host lacks.
  type: list
  elements: dict
  returned: with O(state=read) and O(replication)
instances:
  description: An entry for each instance, its C(name), C(state), C(pid) and C(why), as of M(xdr.failback.xdr_instances).
  type: list
  elements: dict
  returned: with O(state=read) and O(instances)
leases:
  description:
    - Of the witness of a plan with ownership leases, what it has granted, with C(host), C(site), C(epoch), C(ttl) (seconds) and
      C(until) (Unix seconds), when it runs out unless it is renewed, or has run out.
  type: list
  elements: dict
  returned: with O(state=read)
xdr_code:
  description: Kind of the failure, such as V(taken), V(outside_roots), V(in_use).
  type: str
  returned: failure
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdr.failback.plugins.module_utils.arguments import SITE_ARGUMENTS
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.record import load
from ansible_collections.xdr.failback.plugins.module_utils.registration import absent, present, registered
from ansible_collections.xdr.failback.plugins.module_utils.running import living

ARGUMENTS: dict[str, Any] = {
    **SITE_ARGUMENTS,
    "state": {"type": "str", "default": "present", "choices": ["read", "present", "absent"]},
    "document": {"type": "dict"},
    "replication": {"type": "bool", "default": False},
    "lag": {"type": "bool", "default": False},
    "instances": {"type": "bool", "default": False},
}


def read(params: dict[str, Any]) -> dict[str, Any]:
    state_dir, plan = Path(params["state_dir"]), params["plan"]
    document, record = registered(state_dir, plan), load(state_dir, plan)
    answer: dict[str, Any] = {"document": document, "record": record.to_json(), "owns": record.owns, "results": []}
    answer["running"] = living(state_dir, plan, (document or {}).get("instances", {}))
    if document and document["site"] == "witness" and document.get("lease"):
        from ansible_collections.xdr.failback.plugins.module_utils.lease_grants import told

        answer["leases"] = told(state_dir, plan)
    # imported here, because a site host compiles what it imports at each call, and most calls do not ask for it
    if document and params["replication"]:
        from ansible_collections.xdr.failback.plugins.module_utils import accelerators
        from ansible_collections.xdr.failback.plugins.module_utils.replication import status

        accelerators.enable(state_dir)
        missing = accelerators.missing()
        answer["results"] = [{**row, "accelerators_missing": missing} for row in status(state_dir, plan, with_lag=params["lag"])]
    if document and params["instances"]:
        from ansible_collections.xdr.failback.plugins.module_utils.instances.moves import look_at_all

        answer["instances"] = look_at_all(state_dir, plan)
    return answer


def main() -> None:
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True, required_if=[("state", "present", ("document",))])
    params = module.params
    state_dir, plan, check = Path(params["state_dir"]), params["plan"], module.check_mode
    after = None
    try:
        if params["state"] == "read":
            module.exit_json(changed=False, **read(params))
        if params["state"] == "present":
            before, after = present(state_dir, plan, params["document"], check=check)
        else:
            before = absent(state_dir, plan, check=check)
    except XdrError as error:
        module.fail_json(**error.failure())
    module.exit_json(changed=before != after, document=after, diff={"before": before or {}, "after": after or {}})


if __name__ == "__main__":
    main()
