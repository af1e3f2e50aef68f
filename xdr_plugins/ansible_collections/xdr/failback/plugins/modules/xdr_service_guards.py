#!/usr/bin/python
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: xdr_service_guards
short_description: Let systemd ask who owns a plan before it starts a service
version_added: 0.1.0
description:
  - Gives services the drop-in C(50-xdr-ownership.conf), takes it from all others, and lets systemd read what has changed.
  - Needs root and systemd 243. Other drop-ins are left alone.
author: The XDR developers
options:
  guards:
    description: The text of the drop-in of each service that has one, by the name of its unit.
    type: dict
    required: true
  folder:
    description: Where the administrator's unit files lie.
    type: path
    default: /etc/systemd/system
attributes:
  check_mode:
    description: Makes every check and changes nothing.
    support: full
  diff_mode:
    description: Returns each drop-in before and after.
    support: full
"""

EXAMPLES = r"""
- name: Guard one service, and no other
  xdr.failback.xdr_service_guards:
    guards:
      orders-db.service: "{{ lookup('ansible.builtin.template', '50-xdr-ownership.conf.j2') }}"
"""

RETURN = r"""
guarded:
  description: The services that have a guard, sorted.
  type: list
  elements: str
  returned: success
reloaded:
  description: Whether systemd read its files anew (in check mode, whether it would).
  type: bool
  returned: success
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdr.failback.plugins.module_utils import service_guards, systemctl
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

ARGUMENTS: dict[str, Any] = {
    "guards": {"type": "dict", "required": True},
    "folder": {"type": "path", "default": "/etc/systemd/system"},
}


def diff(changes: list[service_guards.Change]) -> list[dict[str, str]]:
    return [
        {"before_header": str(one.path), "after_header": str(one.path), "before": one.before or "", "after": one.after or ""}
        for one in changes
    ]


def main() -> None:
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    folder, guards = Path(module.params["folder"]), module.params["guards"]
    try:
        service_guards.check(sorted(guards))
        changes = service_guards.plan(folder, service_guards.read_state(folder), guards)
        if not module.check_mode:
            service_guards.apply(changes)
        # a run that was killed after it had written them has left the reading undone
        reload = bool(changes or service_guards.unread(sorted(guards)))
        if reload and not module.check_mode:
            systemctl.ask("daemon-reload")
    except XdrError as error:
        module.fail_json(**error.failure())
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}. Become root for this (ansible_become)", xdr_code="failed")
    module.exit_json(changed=reload, guarded=sorted(guards), reloaded=reload, diff=diff(changes))


if __name__ == "__main__":
    main()
