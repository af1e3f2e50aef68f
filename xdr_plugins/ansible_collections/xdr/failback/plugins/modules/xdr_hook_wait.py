#!/usr/bin/python
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Documentation of xdr_hook_wait; the work is in the action plugin of the same name, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: xdr_hook_wait
short_description: Wait for the answer to a pause, or run the playbook of a hook, on the controller
description:
  - Goes on with a hook that M(xdr.failback.xdr_hook) has begun and left open; that concludes it with what this returns.
  - A pause waits until its answer is in O(answers), a file that is named like the hook, or until its time is up.
    The worker writes it; by hand it is a line such as C(yes, a colon, and why).
  - A playbook lies in C(hooks/) beside the inventory, and runs as a process of its own, with the same inventory.
version_added: 0.1.0
author: The XDR developers
options:
  hook:
    description: The hook, as the compiled plan has it.
    type: dict
    required: true
  until:
    description: When its time is up, in Unix seconds, as it was recorded when it began.
    type: float
    required: true
  run_id:
    description: The run.
    type: str
    required: true
  answers:
    description: The folder in which answers are looked for; when empty, C(~/.ansible/xdr-answers/) and the run.
    type: str
    default: ""
  environment:
    description: What a playbook finds in its environment, beside what Ansible needs.
    type: dict
    default: {}
attributes:
  check_mode:
    description: It is skipped.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Wait for a person
  xdr.failback.xdr_hook_wait:
    hook: {name: invoices, kind: pause, question: "Are all invoices printed?"}
    until: 1772334000
    run_id: 20260301T020000-failback-a1b2c3
"""

RETURN = r"""
ok:
  description: Whether the answer is yes, or the playbook ended well.
  type: bool
  returned: success
outcome:
  description: How it ended, in words; V(deadline) where nobody answered in time.
  type: str
  returned: success
output:
  description: The end of what a playbook wrote.
  type: str
  returned: success
"""
