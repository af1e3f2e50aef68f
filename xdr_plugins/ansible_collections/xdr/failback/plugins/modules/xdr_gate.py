#!/usr/bin/python
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Documentation of xdr_gate; the work is in the action plugin of the same name, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: xdr_gate
short_description: Decide whether an action may begin on a plan
description:
  - Derives the plan's state from the ownership records and the replication status that the role C(gate) has read from the plan's hosts.
  - Lets the action begin, finds that there is nothing to do, or fails with the reason.
  - Runs on the controller and changes nothing.
version_added: 0.1.0
author: The XDR developers
options:
  action:
    description: What is to be done; V(recover) decides what follows a move that has failed.
    type: str
    required: true
    choices:
      - status
      - verify_primary
      - vouch
      - start
      - reverse_replication
      - replicate
      - failback
      - rollback
      - reprotect
      - failover
      - resolve
      - lower_ttl
      - restore_ttl
      - recover
  plan:
    description: Name of the plan.
    type: str
    required: true
  attestation:
    description: For a failover of a site that does not answer, who saw that it is off and how.
    type: str
    default: ""
  recovery_point:
    description: For a failover, the recovery point that is wanted; refused where no volume at the DR site has it.
    type: str
    default: ""
  reason:
    description: To vouch for a mute witness without both sites, or to resolve a split brain, why that may be done.
    type: str
    default: ""
  keep:
    description: To resolve a split brain, the site that is kept, V(primary) or V(dr).
    type: str
    default: ""
  run_id:
    description: Name of the run; made from the date when empty.
    type: str
    default: ""
  skip:
    description:
      - Groups whose health checks are left out, when a failback or rollback that stopped at them goes on.
      - Refused for a group that did not fail in its health checks, or whose instances did not start.
    type: list
    elements: str
    default: []
  skip_reason:
    description: Why they may be left out; needed with O(skip).
    type: str
    default: ""
  skip_hooks:
    description: Hooks of the plan that are left out in this run; refused for one that the plan does not have. Needs O(skip_reason), too.
    type: list
    elements: str
    default: []
  halted:
    description: For O(action=recover), a hook of the plan is why the move stopped.
    type: bool
    default: false
  window:
    description:
      - For a failback that begins, C(until) when its window ends, in Unix seconds, the seconds that a C(rollback) takes, and C(how) that
        is known. Refused once the one less the other has passed.
    type: dict
    default: {}
  before_offer:
    description: For a rollback, refuse it once ownership may have been handed over.
    type: bool
    default: false
  approved:
    description:
      - The approval of an action that begins, its C(hash) and the C(parts) that it binds; or C(override), where a dr-admin does without.
      - Refused where the plan, the owner, the epoch, the choices, the steps or the gates are others now, and without one where the plan
        wants a second person (C(approval.four_eyes)). A run that goes on where it stopped needs none.
    type: dict
    default: {}
attributes:
  check_mode:
    description: It changes nothing in either mode.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Ask whether the failback may begin
  xdr.failback.xdr_gate:
    action: failback
    plan: webshop
  run_once: true
  register: gate_result
"""

RETURN = r"""
proceed:
  description: Whether there is something to do.
  type: bool
  returned: success
reason:
  description: Why there is nothing to do, or where a run that began before goes on.
  type: str
  returned: success
enter:
  description: Where a move enters, V(stop), V(handover) or V(start).
  type: str
  returned: success
epoch:
  description: The epoch of the pair that the run is to claim.
  type: int
  returned: success
undo:
  description: How a move that has begun would be undone, V(retake), V(decline) or V(hand_back).
  type: str
  returned: success
attempt:
  description: The number of the pair that the run is to claim.
  type: int
  returned: success
how:
  description: What lets the DR site accept where the primary site does not answer, V(attested) or V(lease_expired).
  type: str
  returned: success
proof:
  description: That the ownership leases of the primary site have run out, for the epoch's history; else empty.
  type: str
  returned: success
skip:
  description: The groups whose health checks are left out.
  type: list
  elements: str
  returned: success
vouch:
  description: Whether the witness is mute, and learns what is so once the attempt is claimed.
  type: bool
  returned: success
claim_as:
  description: The action of the run that is claimed; that of the unfinished run where the action only vouches for the witness.
  type: str
  returned: success
owner_epoch:
  description: The epoch that the site which is kept accepts, of a split brain.
  type: int
  returned: success
run_id:
  description: Name of the run.
  type: str
  returned: success
preview:
  description:
    - What the action would do, C(steps) in their order, C(gates) with what each wants and has found, and C(approval) with the C(hash) that
      an approval binds to, its C(parts), and whether the plan wants a second person (C(four_eyes)).
  type: dict
  returned: in check mode
remedy:
  description: What follows a move that has failed, V(undo), V(commit), V(hold), V(forward) or V(wait).
  type: str
  returned: with action V(recover)
told:
  description: What is so now and the next safe action, for the operator.
  type: str
  returned: with action V(recover)
xdr_view:
  description: State, owner, epoch, lag and unfinished run of the plan, as its hosts' records say.
  type: dict
  returned: when the hosts were read
xdr_code:
  description: Kind of the refusal, V(gate_refused), V(wrong_state), V(witness_mute) or V(not_reached).
  type: str
  returned: failure
"""
