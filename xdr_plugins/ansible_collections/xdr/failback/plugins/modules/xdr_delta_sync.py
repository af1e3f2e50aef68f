#!/usr/bin/python
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: xdr_delta_sync
short_description: Move the changed blocks of volumes straight to the other site, and prove both ends equal
version_added: 0.1.0
description:
  - Runs on the host that has the source volumes. Data goes over one SSH channel to each peer host, never over the controller.
  - The target receives a cycle into a spool, commits it, and applies it. Interrupted anywhere, the next cycle ends right.
  - Volumes that share one point in time (a consistency group, a resource) are moved together or not at all.
  - The receiver refuses any volume that its site owns, that is no target, or that a process holds open.
author: The XDR developers
options:
  state:
    description:
      - V(synced) runs one cycle.
      - V(verified) reads back from disk at both ends and compares digests; it changes nothing.
    type: str
    choices: [synced, verified]
    default: synced
  volumes:
    description: Names of volumes; all volumes of the plan on this host when left out.
    type: list
    elements: str
  final:
    description: The instances are stopped and fenced; no quiesce hooks run, and a volume that a process holds open is refused.
    type: bool
    default: false
  compare:
    description: After the cycle, read back each target volume whole and compare it with the source's frozen read.
    type: bool
    default: false
  extents:
    description:
      - With O(state=verified), what is compared. V(sent) is what was sent since the newest full compare, V(all) the whole volumes.
      - V(sent) is refused where there was no full compare since replication was turned round.
    type: str
    choices: [sent, all]
    default: sent
  compression:
    description: How blocks are packed on the wire. V(auto) is V(none) for now.
    type: str
    choices: [none, auto, zlib]
    default: auto
  bandwidth_limit:
    description: Bytes a second; no limit when left out.
    type: int
extends_documentation_fragment:
  - xdr.failback.site
  - xdr.failback.attempt
attributes:
  check_mode:
    description: Tells the lag of each volume as it is known at the source; the peer is not asked.
    support: full
  diff_mode:
    description: The blocks of a volume are no readable difference.
    support: none
"""

EXAMPLES = r"""
- name: One cycle
  xdr.failback.xdr_delta_sync:
    plan: webshop
    state_dir: /var/lib/xdr
    epoch: 4
    attempt: 17
    run_id: 2031-05-06-failback
    bandwidth_limit: 100000000

- name: The final delta, from stopped services
  xdr.failback.xdr_delta_sync:
    plan: webshop
    state_dir: /var/lib/xdr
    epoch: 4
    attempt: 17
    phase: final_sync
    final: true

- name: Prove that both ends are equal
  xdr.failback.xdr_delta_sync:
    plan: webshop
    state_dir: /var/lib/xdr
    epoch: 4
    attempt: 17
    phase: verify
    state: verified
    extents: sent
"""

RETURN = r"""
results:
  description: One entry for each volume that is done, also after a failure of another.
  returned: always
  type: list
  elements: dict
  contains:
    volume: {description: The volume., type: str}
    bytes_sent: {description: Bytes of its blocks on the wire., type: int}
    bytes_total: {description: Its size., type: int}
    blocks_changed: {description: Blocks of 64 KiB that were sent., type: int}
    resized: {description: Whether the target got another size., type: bool}
    blocks: {description: "With O(state=verified): blocks that were compared.", type: int}
    seconds: {description: How long it took., type: float}
    cycle: {description: The number of the cycle., type: int}
    compared: {description: "The newest full compare: C(cycle), C(at), C(blocks); or null.", type: dict}
    equal: {description: Proven equal by this call; null where nothing was compared., type: bool}
bytes_sent:
  description: Bytes of blocks on the wire, all volumes.
  returned: success
  type: int
seconds:
  description: How long the call took.
  returned: success
  type: float
"""

import signal
import sys
from types import FrameType

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdr.failback.plugins.module_utils.arguments import ATTEMPT_ARGUMENTS, SITE_ARGUMENTS
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.replication import Syncing

ARGUMENTS = {
    **SITE_ARGUMENTS,
    **ATTEMPT_ARGUMENTS,
    "state": {"type": "str", "choices": ["synced", "verified"], "default": "synced"},
    "volumes": {"type": "list", "elements": "str"},
    "final": {"type": "bool", "default": False},
    "compare": {"type": "bool", "default": False},
    "extents": {"type": "str", "choices": ["sent", "all"], "default": "sent"},
    "compression": {"type": "str", "choices": ["none", "auto", "zlib"], "default": "auto"},
    "bandwidth_limit": {"type": "int"},
}


def leave(number: int, frame: FrameType | None) -> None:
    """End as by an exception, so that what was quiesced is thawed."""
    sys.exit(128 + number)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    call = None
    try:
        call = Syncing(module.params)
        answer = call.run(check=module.check_mode)
    except XdrError as error:
        module.fail_json(**error.failure(), results=call.results if call else [])
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
