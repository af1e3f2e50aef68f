#!/usr/bin/python
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The module xdr_ownership; the work is in module_utils/ownership.py and module_utils/record.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: xdr_ownership
short_description: Change the ownership record of a plan on a host
description:
  - Each host keeps a durable record of which site owns a plan. Ownership is handed over from record to record, it is never elected.
  - Every change is made under the plan's lock and refused for an older pair of O(epoch) and O(attempt) than the host has seen.
  - A request for what is already so changes nothing.
version_added: 0.1.0
author: The XDR developers
extends_documentation_fragment:
  - xdr.failback.site
  - xdr.failback.attempt
options:
  epoch:
    description:
      - The epoch of the plan's ownership that the caller knows.
      - With O(attempt) it makes the pair by which a host refuses a caller that a newer one has overtaken.
  attempt:
    description: The number of this attempt at the run; it only grows.
  state:
    description:
      - V(founded) makes the primary site the first owner, V(claimed) begins an attempt at a run.
      - V(draining) lets the start guard refuse; V(released) gives the epoch up, after no process of this host is found to hold a volume.
      - V(offered) and V(decided) are for the witness, V(accepted) is for the site that becomes the owner.
      - V(declined) refuses O(owner_epoch) for good. At the witness it closes the offer that was declined.
      - V(vouched) lets a witness that is mute speak again, by the O(records) of the sites. It is mute when its record was put back from a
        backup, is older than one that it has told, or is missing; then it refuses V(offered), V(decided) and V(declined).
      - V(retaken) takes a release back, or ends a drain. V(known) tells of a newer epoch and its owner.
      - V(marked) sets O(status), ends the run with O(outcome), and marks O(phase).
    type: str
    required: true
    choices: [founded, claimed, draining, released, offered, accepted, decided, declined, vouched, retaken, known, marked]
  owner_epoch:
    description:
      - The epoch that is offered, accepted, decided, declined or known; needed for these.
      - For O(state=retaken) with O(declined_by_other), the epoch that was declined; without it the one after the released.
    type: int
  owner:
    description: The site that owns O(owner_epoch), for O(state=known). For O(state=founded) it can only be V(primary).
    type: str
    choices: [primary, dr]
  to:
    description: The site that the epoch is released or offered to.
    type: str
    choices: [primary, dr]
  how:
    description:
      - What lets the site accept, kept in the epoch's history.
      - V(attested), and V(resolved) of a split brain, need O(by) and O(text).
        At the witness, all but V(handover) may replace an offer that is still undecided.
      - V(lease_expired) is refused by the witness, code V(lease_held), unless the ownership leases of the other site have run out.
    type: str
    default: handover
    choices: [handover, attested, confirmed_stop, lease_expired, resolved]
  by:
    description: Who attests, or vouches.
    type: str
    default: ""
  text:
    description: What was attested, or why it is vouched for.
    type: str
    default: ""
  no_offer:
    description: For O(state=retaken), the witness was read under this attempt and holds no newer offer.
    type: bool
    default: false
  declined_by_other:
    description: For O(state=retaken), the other site has declined the offer under this attempt; this site goes on at the epoch after it.
    type: bool
    default: false
  action:
    description: What the claimed run does.
    type: str
    default: ""
  plan_hash:
    description: Hash of the plan, which the claimed run pins.
    type: str
    default: ""
  document:
    description:
      - With O(state=claimed), the host's part of the plan (see M(xdr.failback.xdr_plan)).
      - A host that does not know the plan yet learns it before the claim, a change only afterwards, when older attempts are fenced.
    type: dict
  fresh:
    description: The claim begins a new run even where one of the same action is unfinished; otherwise that one's phases are kept.
    type: bool
    default: false
  seen:
    description:
      - The record by which the caller decided, for O(state=claimed).
      - Refused, code V(changed_since), where another run has changed it since; what a replication cycle does counts for nothing.
    type: dict
  heard:
    description:
      - For O(state=claimed), the count of writes (C(serial)) of the witness's record that the caller has read or a site was told of.
      - A site remembers it, and takes no answer of a witness that is older. A witness that is older becomes mute.
    type: int
    default: 0
  records:
    description:
      - For O(state=vouched), the records of the sites as they were read under this attempt.
      - With only one of the sites among them, O(by) and O(text) are needed.
    type: list
    elements: dict
    default: []
  status:
    description: The state of the plan to store, for O(state=marked).
    type: str
    default: ""
  outcome:
    description: How the run has ended, for O(state=marked).
    type: str
    default: ""
attributes:
  check_mode:
    description: Predicts the change, also where an earlier phase of the same run was only predicted.
    support: full
  diff_mode:
    description: Returns the record before and after.
    support: full
"""

EXAMPLES = r"""
- name: Give the plan up
  xdr.failback.xdr_ownership:
    plan: webshop
    state_dir: "{{ xdr_state_dir }}"
    state: released
    to: primary
    epoch: 4
    attempt: 17
    run_id: "{{ run_id }}"
    phase: release

- name: Accept it at the other site
  xdr.failback.xdr_ownership:
    plan: webshop
    state_dir: "{{ xdr_state_dir }}"
    state: accepted
    owner_epoch: 5
    epoch: 4
    attempt: 17
    run_id: "{{ run_id }}"
    phase: accept
"""

RETURN = r"""
record:
  description: The ownership record after the change.
  type: dict
  returned: success
  sample: {plan: webshop, site: dr, host: ams-hv1, epoch: 4, owner: dr, standing: accepted, draining: false, attempt: [4, 17]}
owns:
  description: Whether this host's record says that its site owns the plan.
  type: bool
  returned: success
next_epoch:
  description: The lowest epoch that may be offered, as far as this host knows. The witness's is the one that counts.
  type: int
  returned: success
registration_changed:
  description: Whether what the host does for the plan was changed.
  type: bool
  returned: with O(state=claimed)
unreadable_processes:
  description: How many processes of other accounts the scan before a release could not look into.
  type: int
  returned: with O(state=released)
xdr_code:
  description: Kind of the failure, such as V(stale_attempt), V(split_brain), V(still_open), V(offer_open), V(witness_mute), V(wrong_state).
  type: str
  returned: failure
"""

import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdr.failback.plugins.module_utils.arguments import ATTEMPT_ARGUMENTS, SITE_ARGUMENTS
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.ownership import Change, perform, predict
from ansible_collections.xdr.failback.plugins.module_utils.record import Record, load
from ansible_collections.xdr.failback.plugins.module_utils.registration import present, registered

CHANGES = ["founded", "claimed", "draining", "released", "offered", "accepted", "decided", "declined", "vouched"]
CHANGES += ["retaken", "known", "marked"]
EPOCH_NEEDED = ["offered", "accepted", "decided", "declined", "known"]
SITES = ["primary", "dr"]
ARGUMENTS: dict[str, Any] = {
    **SITE_ARGUMENTS,
    **ATTEMPT_ARGUMENTS,
    "state": {"type": "str", "required": True, "choices": CHANGES},
    "owner_epoch": {"type": "int"},
    "owner": {"type": "str", "choices": SITES},
    "to": {"type": "str", "choices": SITES},
    "how": {"type": "str", "default": "handover", "choices": ["handover", "attested", "confirmed_stop", "lease_expired", "resolved"]},
    "by": {"type": "str", "default": ""},
    "text": {"type": "str", "default": ""},
    "no_offer": {"type": "bool", "default": False},
    "declined_by_other": {"type": "bool", "default": False},
    "action": {"type": "str", "default": ""},
    "plan_hash": {"type": "str", "default": ""},
    "document": {"type": "dict"},
    "fresh": {"type": "bool", "default": False},
    "seen": {"type": "dict"},
    "heard": {"type": "int", "default": 0},
    "records": {"type": "list", "elements": "dict", "default": []},
    "status": {"type": "str", "default": ""},
    "outcome": {"type": "str", "default": ""},
}
PASSED_ON = (
    "owner",
    "to",
    "how",
    "by",
    "text",
    "no_offer",
    "declined_by_other",
    "action",
    "plan_hash",
    "fresh",
    "seen",
    "heard",
    "records",
    "status",
    "outcome",
)


def request_of(params: dict[str, Any]) -> dict[str, Any]:
    return {"request": params["state"], "epoch": params["owner_epoch"], **{name: params[name] for name in PASSED_ON}}


def apply(params: dict[str, Any], check: bool) -> Change:
    state_dir, plan = Path(params["state_dir"]), params["plan"]
    pair, request = (params["epoch"], params["attempt"]), request_of(params)
    if not check:
        return perform(state_dir, plan, pair, request, run_id=params["run_id"], phase=params["phase"])
    before = load(state_dir, plan)
    after = predict(before, pair, request, time.time(), run_id=params["run_id"])
    return Change(before, after, after != before)


def registering(params: dict[str, Any], check: bool) -> tuple[Change, dict[str, Any]]:
    """The change of the record, and whether the registration changed with it."""
    document = params["document"]
    if params["state"] != "claimed" or document is None:
        return apply(params, check), {}
    state_dir, plan = Path(params["state_dir"]), params["plan"]
    known = registered(state_dir, plan)
    if known is None:
        present(state_dir, plan, document, check=check)
    change = apply(params, check)
    if known is not None and known != document:
        present(state_dir, plan, document, check=check)
    if not check and document.get("lease") and change.after.owns:
        from ansible_collections.xdr.failback.plugins.module_utils.lease_keeper import ensure_running

        ensure_running(state_dir, plan)
    return change, {"registration_changed": known != document}


def told(record: Record) -> dict[str, Any]:
    return {"record": record.to_json(), "owns": record.owns, "next_epoch": record.next_epoch}


def main() -> None:
    needed = [("state", state, ("owner_epoch",)) for state in EPOCH_NEEDED]
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True, required_if=[*needed, ("state", "offered", ("to",))])
    params = module.params
    try:
        change, more = registering(params, module.check_mode)
    except XdrError as error:
        module.fail_json(**error.failure())
    if params["state"] == "released":
        more["unreadable_processes"] = change.unreadable
    diff = {"before": change.before.to_json(), "after": change.after.to_json()}
    module.exit_json(changed=change.changed, diff=diff, **more, **told(change.after))


if __name__ == "__main__":
    main()
