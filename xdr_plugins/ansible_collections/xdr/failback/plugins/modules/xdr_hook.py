#!/usr/bin/python
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: xdr_hook
short_description: Fire the hooks of a plan on this site host, each once in a run
version_added: 0.1.0
description:
  - Runs scripts one after the other, and begins and concludes pauses and playbooks, which go on at the controller
    (M(xdr.failback.xdr_hook_wait)).
  - That a hook is about to be fired is written into the ownership record before it is, and how it ended after it. A hook that had its turn
    in this run is not fired again. One of which nobody knows how it ended halts the run, unless it is C(repeatable) or the run is to go on.
  - A script lies below O(hook_dir), is a regular file that belongs to root or to this account, and neither it nor a folder on the way may
    be written to by others. What was checked is what is executed. It runs without a shell, in its folder and in a process group of its own.
author: The XDR developers
options:
  state:
    description:
      - V(fired) runs a script to its end; a pause or playbook is begun, and its result says C(open).
      - V(concluded) records how one that was C(open) has ended.
      - V(checked) only looks whether the scripts could be run; nothing is recorded.
    type: str
    choices: [fired, concluded, checked]
    default: fired
  hooks:
    description: The hooks, as the compiled plan has them, in their order. The first that halts the run is the last that is fired.
    type: list
    elements: dict
    required: true
  environment:
    description: What their scripts find in their environment beside C(PATH), C(HOME) and C(LANG).
    type: dict
    default: {}
  hook_dir:
    description: The folder on this host in which scripts may lie.
    type: str
    default: /etc/xdr/hooks
  skip:
    description: Names of hooks that a person has decided to leave out.
    type: list
    elements: str
    default: []
  skip_reason:
    description: Why they may be left out.
    type: str
    default: ""
  not_after:
    description: When they must have ended, in Unix seconds, whatever their own limits are; 0 for never.
    type: float
    default: 0
  ok:
    description: With O(state=concluded), whether it did well.
    type: bool
    default: true
  outcome:
    description: With O(state=concluded), how it ended, in words.
    type: str
    default: ""
  output:
    description: With O(state=concluded), the end of what it said.
    type: str
    default: ""
  epoch:
    description: The epoch of the plan's ownership that the caller knows.
    type: int
    required: true
  attempt:
    description: The number of this attempt at the run; with O(epoch) the pair by which a host refuses one that was overtaken.
    type: int
    required: true
  run_id:
    description: The run, or the launch of it, for which the hooks are fired. What their scripts say is appended to its file on the host.
    type: str
    required: true
extends_documentation_fragment:
  - xdr.failback.site
attributes:
  check_mode:
    description: Tells which hooks would be fired, and fails for a script that would be refused and would halt the run.
    support: full
  diff_mode:
    description: In check mode, a line for each hook that would be fired.
    support: partial
"""

EXAMPLES = r"""
- name: Drain the queue before the downtime
  xdr.failback.xdr_hook:
    plan: webshop
    state_dir: /var/lib/xdr
    epoch: 4
    attempt: 17
    run_id: 20260301T020000-failback-a1b2c3
    environment: {XDR_PLAN_NAME: webshop}
    hooks:
      - name: drain-queue
        moment: pre_failback
        group: ""
        kind: script
        script: drain.sh
        args: [--all]
        host: ams-hv1
        timeout: 60
        on_failure: halt
        repeatable: false
        question: ""
"""

RETURN = r"""
results:
  description: One entry for each hook that had its turn.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: The hook., type: str}
    moment: {description: "When it is fired, such as C(pre_failback).", type: str}
    group: {description: "The group that it belongs to, empty for one of the plan.", type: str}
    kind: {description: "script, playbook or pause.", type: str}
    question: {description: What a pause asks., type: str}
    state: {description: "done, failed, skipped, open; in check mode would fire.", type: str}
    ok: {description: Whether it did well., type: bool}
    told: {description: What is to be said about it., type: str}
    changed: {description: Whether it was fired now., type: bool}
    until: {description: "Of one that is open, when its time is up, in Unix seconds.", type: float}
    output: {description: "The end of what it said, 64 KiB at most.", type: str}
    seconds: {description: How long it ran., type: float}
"""

import os
import pwd
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdr.failback.plugins.module_utils import hooks
from ansible_collections.xdr.failback.plugins.module_utils import record as records
from ansible_collections.xdr.failback.plugins.module_utils.arguments import SITE_ARGUMENTS
from ansible_collections.xdr.failback.plugins.module_utils.bounded import Ended
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.progress import Progress
from ansible_collections.xdr.failback.plugins.module_utils.site import load_site

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(given: dict[str, str]) -> dict[str, str]:
    """All that a script finds; nothing of this process's own."""
    return {"PATH": PATH, "HOME": pwd.getpwuid(os.geteuid()).pw_dir, "LANG": "C.UTF-8", **{name: str(text) for name, text in given.items()}}


def firing(module: AnsibleModule) -> hooks.Firing:
    parameters = module.params
    state_dir = Path(parameters["state_dir"])
    writes = parameters["state"] == "fired" and not module.check_mode
    return hooks.Firing(
        state_dir,
        parameters["plan"],
        (parameters["epoch"], parameters["attempt"]),
        parameters["run_id"],
        parameters["hook_dir"],
        Progress(state_dir, parameters["run_id"] if writes else "", load_site(state_dir).host),
        tuple(parameters["skip"]),
        parameters["skip_reason"],
        parameters["not_after"] or None,
    )


def work(module: AnsibleModule, answer: dict[str, Any]) -> None:
    """``answer`` has the results as far as they got, also when this raises XdrError."""
    parameters, ours = module.params, firing(module)
    for hook in parameters["hooks"]:
        try:
            if parameters["state"] == "checked":
                ours.check(hook)
                continue
            if module.check_mode:
                found = ours.look(hook, records.load(ours.state_dir, ours.plan))
            elif parameters["state"] == "concluded":
                ended = Ended(0, parameters["output"], 0.0)
                found = ours.conclude(hook, None, parameters["ok"], parameters["outcome"], ended=ended if parameters["output"] else None)
            else:
                found = ours.fire(hook, environment(parameters["environment"]))
        except hooks.Halted as halt:
            answer["results"].append(halt.found)
            raise
        answer["results"].append(found)
        answer["changed"] = answer["changed"] or found["changed"]
    if module.check_mode and answer["changed"]:
        answer["diff"] = {"before": "", "after": "".join(f"{found['told']}\n" for found in answer["results"] if found["changed"])}
    answer["msg"] = ". ".join(found["told"] for found in answer["results"] if found["told"])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **SITE_ARGUMENTS,
            "epoch": {"type": "int", "required": True},
            "attempt": {"type": "int", "required": True},
            "run_id": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["fired", "concluded", "checked"], "default": "fired"},
            "hooks": {"type": "list", "elements": "dict", "required": True},
            "environment": {"type": "dict", "default": {}},
            "hook_dir": {"type": "str", "default": "/etc/xdr/hooks"},
            "skip": {"type": "list", "elements": "str", "default": []},
            "skip_reason": {"type": "str", "default": ""},
            "not_after": {"type": "float", "default": 0.0},
            "ok": {"type": "bool", "default": True},
            "outcome": {"type": "str", "default": ""},
            "output": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    answer: dict[str, Any] = {"changed": False, "results": []}
    try:
        work(module, answer)
    except XdrError as error:
        module.fail_json(**answer, **error.failure())
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
