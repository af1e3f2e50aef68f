#!/usr/bin/python
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: xdr_replication
short_description: Direction, role, lag and recovery points of a plan's volumes on this site host
version_added: 0.1.0
description:
  - Makes volumes the source or the target of replication, promotes a target, keeps, restores and forgets recovery points.
  - A target in the middle of a cycle is never promotable. V(promoted) completes a committed cycle and discards any other.
  - What an interrupted call has left is finished first.
author: The XDR developers
options:
  state:
    description:
      - V(status) looks and changes nothing.
      - V(source) lets this side send. What was known of the former direction (digests, full compare) is dropped.
      - V(target) lets this side receive; refused where this site owns the plan. With O(recovery_point) one is opened as well.
      - V(promoted) ends the role of a volume, that of a target at its newest complete cycle.
      - V(restored) puts O(recovery_point) back, the newer ones first; they are used up by that. The point itself stays.
      - V(forgotten) drops O(recovery_point) and the numbered ones of the same name. Its blocks go to the next older point, if there is one.
    type: str
    choices: [status, source, target, promoted, restored, forgotten]
    default: status
  volumes:
    description: Names of volumes; all volumes of the plan on this host when left out.
    type: list
    elements: str
  recovery_point:
    description:
      - Name of a recovery point, such as V(before-reverse); needed for V(restored) and V(forgotten).
      - When a volume becomes a target and has a point of that name from before its site last owned the plan,
        the new one is numbered (V(before-reverse-2)).
    type: str
  lag:
    description: With O(state=status), measure the replication lag of sources. Each volume is read.
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
    description: Tells what would change, and whether a restore would be exact.
    support: full
  diff_mode:
    description: Role and recovery points of each volume.
    support: full
"""

EXAMPLES = r"""
- name: Let the old primary receive, and keep what it wrote before the disaster
  xdr.failback.xdr_replication:
    plan: webshop
    state_dir: /var/lib/xdr
    epoch: 4
    attempt: 17
    state: target
    recovery_point: before-reverse

# The pair is in the host's record. The next cycle makes the volumes equal to their source again; a compare from before does not count then,
# so that replication is to be reversed once more before a failback.
- name: Put back what was given up in a split brain, to look at it
  xdr.failback.xdr_replication:
    plan: webshop
    state_dir: /var/lib/xdr
    epoch: 5
    attempt: 21
    state: restored
    recovery_point: split-brain

- name: Drop it, once nobody needs it any more
  xdr.failback.xdr_replication:
    plan: webshop
    state_dir: /var/lib/xdr
    epoch: 5
    attempt: 21
    state: forgotten
    recovery_point: split-brain

- name: Measure the lag
  xdr.failback.xdr_replication:
    plan: webshop
    state_dir: /var/lib/xdr
    state: status
    lag: true
"""

RETURN = r"""
results:
  description: One entry for each volume.
  returned: always
  type: list
  elements: dict
  contains:
    volume: {description: The volume., type: str}
    role: {description: "none, source or target.", type: str}
    changed: {description: Whether this volume was changed; not for O(state=status)., type: bool}
    lag_bytes: {description: "Bytes that differ from the newest cycle that the target has confirmed, or V(unknown).", type: raw}
    lag_age_s: {description: "Seconds since the start of that cycle's read, or V(unknown).", type: raw}
    cycle: {description: "Number of the newest applied cycle, 0 for none.", type: int}
    read_started: {description: "When the read of that cycle began, in seconds since 1970.", type: float}
    applied_at: {description: "When it was applied, in seconds since 1970.", type: float}
    compared: {description: "The newest full compare since replication was turned round: C(cycle), C(at), C(blocks); or null.", type: dict}
    compare_seconds: {description: What a full compare in the downtime would take, 0 where there has been one., type: float}
    size: {description: "Bytes; null where the volume does not exist yet.", type: int}
    pending: {description: A committed cycle or a restore waits to be finished., type: bool}
    recovery_points:
      description: "Oldest first: C(name), C(opened_at), C(cycle), C(size), C(blocks), C(bytes)."
      type: list
      elements: dict
    complete: {description: "With O(state=promoted): the volume is at a complete cycle.", type: bool}
    exact:
      description:
        - With O(state=restored), whether this is the very volume of the point's opening; V(unknown) where its digests are not known.
      type: raw
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdr.failback.plugins.module_utils.arguments import ATTEMPT_ARGUMENTS, SITE_ARGUMENTS
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.replication import Replicating

STATES = ["status", "source", "target", "promoted", "restored", "forgotten"]
PAIR = {"epoch": {"type": "int"}, "attempt": {"type": "int"}}
ARGUMENTS = {
    **SITE_ARGUMENTS,
    **ATTEMPT_ARGUMENTS,
    **PAIR,
    "state": {"type": "str", "choices": STATES, "default": "status"},
    "volumes": {"type": "list", "elements": "str"},
    "recovery_point": {"type": "str"},
    "lag": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_if=[("state", state, tuple(PAIR)) for state in STATES if state != "status"],
    )
    call = None
    try:
        call = Replicating(module.params)
        answer = call.run(check=module.check_mode)
    except XdrError as error:
        module.fail_json(**error.failure(), results=call.results if call else [])
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
