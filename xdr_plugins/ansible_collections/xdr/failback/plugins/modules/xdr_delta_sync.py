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
      - V(previewed) tells for each volume how a cycle would read it and why so, how much would go over, and how long that would take.
      - V(opened) tells the same, and opens the channels to the peers and keeps them for the next calls, so that a downtime does not
        pay for that.
    type: str
    choices: [synced, verified, previewed, opened]
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
    description:
      - How blocks are packed on the wire. V(auto) packs with the best that both hosts have, while the link is the slower part.
      - V(zstd) needs the library zstandard at both ends (role site_accelerators).
    type: str
    choices: [none, auto, zlib, zstd]
    default: auto
  bandwidth_limit:
    description: Bytes a second; no limit when left out.
    type: int
  bandwidth_hours:
    description: Other limits at some hours of the day; the first that hold win.
    type: list
    elements: dict
    default: []
    suboptions:
      start:
        description: Minute of the day in UTC, from which it holds.
        type: int
        required: true
      stop:
        description: Minute of the day in UTC, before which it holds; smaller than O(bandwidth_hours[].start) means over midnight.
        type: int
        required: true
      limit:
        description: Bytes a second; no limit when left out.
        type: int
  rounds:
    description:
      - With O(state=synced), at most so many cycles one after the other.
      - They end when no more than O(ready_below) bytes are left, or when it gets no less.
    type: int
    default: 1
  ready_below:
    description: Bytes; with O(rounds), what is little enough to stop.
    type: int
    default: 0
  recovery_points:
    description: How many consistent states of earlier cycles the target keeps.
    type: int
    default: 0
  read_source_within:
    description:
      - With O(state=verified) and O(extents=sent), the source is also read whole against what was sent.
      - That is done if it takes no more seconds than this.
      - It finds what a tracker of changed extents missed.
    type: float
    default: 30.0
extends_documentation_fragment:
  - xdr.failback.site
  - xdr.failback.attempt
attributes:
  check_mode:
    description: Tells the lag of each volume as it is known at the source; the peer is not asked.
    support: full
  diff_mode:
    description: The number of each volume's newest cycle, and the bytes that go over. The blocks themselves are no readable difference.
    support: full
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
    read_started: {description: Unix time of the newest consistent point at the target; null where there is none., type: float}
    compared: {description: "The newest full compare: C(cycle), C(at), C(blocks); or null.", type: dict}
    method: {description: "How it was read: C(unchanged), C(tracked), C(digests) or C(scan).", type: str}
    why: {description: Why it was not read in a faster way., type: str}
    crash_consistent: {description: Whether the cycle is one point in time., type: bool}
    how: {description: How that is known., type: str}
    ratio: {description: Bytes on the wire for each byte of blocks., type: float}
    source_read: {description: "With O(state=verified): whether the source was read whole.", type: bool}
    predicted_bytes: {description: "With O(state=previewed) and V(opened): what would go over, or C(unknown).", type: raw}
    predicted_seconds: {description: "With these, too: how long it would take.", type: float}
    compare_seconds: {description: "With these, too: what a full compare in the downtime costs, 0 after one.", type: float}
    accelerators_missing: {description: "With these, too: libraries that this host lacks.", type: list, elements: str}
    equal: {description: Proven equal by this call; null where nothing was compared., type: bool}
bytes_sent:
  description: Bytes of blocks on the wire, all volumes.
  returned: success
  type: int
rounds:
  description: "With O(rounds), each of them: C(bytes_sent), C(seconds), C(remaining_bytes)."
  returned: with O(rounds)
  type: list
  elements: dict
stopped:
  description: Why there was no further round, C(below), C(not_shrinking), C(rounds) or C(unknown).
  returned: with O(rounds)
  type: str
remaining_bytes:
  description: What changed since the last round's read, or C(unknown).
  returned: with O(rounds)
  type: raw
change_rate:
  description: Bytes that change in a second.
  returned: with O(rounds)
  type: int
final_seconds:
  description: What a final sync would take now.
  returned: with O(rounds)
  type: float
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
from ansible_collections.xdr.failback.plugins.module_utils.syncing import Syncing

ARGUMENTS = {
    **SITE_ARGUMENTS,
    **ATTEMPT_ARGUMENTS,
    "state": {"type": "str", "choices": ["synced", "verified", "previewed", "opened"], "default": "synced"},
    "volumes": {"type": "list", "elements": "str"},
    "final": {"type": "bool", "default": False},
    "compare": {"type": "bool", "default": False},
    "extents": {"type": "str", "choices": ["sent", "all"], "default": "sent"},
    "compression": {"type": "str", "choices": ["none", "auto", "zlib", "zstd"], "default": "auto"},
    "bandwidth_limit": {"type": "int"},
    "bandwidth_hours": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "start": {"type": "int", "required": True},
            "stop": {"type": "int", "required": True},
            "limit": {"type": "int"},
        },
    },
    "rounds": {"type": "int", "default": 1},
    "ready_below": {"type": "int", "default": 0},
    "recovery_points": {"type": "int", "default": 0},
    "read_source_within": {"type": "float", "default": 30.0},
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
