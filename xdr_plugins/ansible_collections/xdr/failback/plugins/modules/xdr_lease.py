#!/usr/bin/python
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The module xdr_lease; the work is in module_utils/lease_wait.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: xdr_lease
short_description: Wait at the witness until the ownership leases of a site have run out
description:
  - The hosts of a site that runs a plan with ownership leases stop the plan's instances before the witness holds their leases for run out.
  - Waits as long as no lease is renewed and all will have run out in time. Changes nothing, and in check mode does not wait.
  - This looks only. That a lease is not renewed afterwards is made sure by the offer that follows, see M(xdr.failback.xdr_ownership).
version_added: 0.1.0
author: The XDR developers
extends_documentation_fragment:
  - xdr.failback.site
options:
  hosts:
    description: The hosts that must have held a lease; of others that have, it must have run out, too.
    type: list
    elements: str
    required: true
  within:
    description: The longest time to wait, in seconds. Where a lease runs for longer, there is no waiting.
    type: float
    default: 120
attributes:
  check_mode:
    description: Looks, and does not wait.
    support: full
  diff_mode:
    description: Nothing is changed.
    support: none
"""

EXAMPLES = r"""
- name: Wait until the leases of the primary site have run out
  xdr.failback.xdr_lease:
    plan: webshop
    state_dir: "{{ xdr_state_dir }}"
    hosts: [fra-hv1, fra-hv2]
"""

RETURN = r"""
run_out:
  description: Whether all of them have run out.
  type: bool
  returned: success
told:
  description: How that is known, or why it is not so, for a person.
  type: str
  returned: success
  sample: the lease of fra-hv1 runs for another 75 s
leases:
  description: What the witness has granted, as of M(xdr.failback.xdr_plan).
  type: list
  elements: dict
  returned: success
xdr_code:
  description: Kind of the failure.
  type: str
  returned: failure
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdr.failback.plugins.module_utils.arguments import SITE_ARGUMENTS
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.lease_wait import wait

ARGUMENTS: dict[str, Any] = {
    **SITE_ARGUMENTS,
    "hosts": {"type": "list", "elements": "str", "required": True},
    "within": {"type": "float", "default": 120},
}


def main() -> None:
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    params = module.params
    try:
        answer = wait(Path(params["state_dir"]), params["plan"], params["hosts"], 0.0 if module.check_mode else params["within"])
    except XdrError as error:
        module.fail_json(**error.failure())
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
