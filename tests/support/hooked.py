# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Hooks for a lab's plan, of the plan and of a group, which note what they were told."""

from __future__ import annotations

from pathlib import Path

from portal.lab.lab import Lab

NOTE = """#!/bin/sh
echo "$1 $XDR_PLAN_NAME $XDR_SITE '$XDR_GROUP_NAME' $XDR_RESOURCE_IDS '$XDR_RECOVERY_POINT' ${XDR_EVENT_ID:+event}" >> ../log/hooks.log
echo "noted $1"
"""
OF_THE_PLAN = """
hooks:
  pre_failback:
    - {name: freeze, script: note.sh, args: [freeze]}
    - {name: ask, pause: "Are the invoices printed?", deadline: 2m}
  post_failback:
    - {name: thaw, script: note.sh, args: [thaw]}
    - {name: tell, playbook: tell.yml}
  pre_failover: [{name: leave, script: note.sh, args: [leave]}]
  post_recover: [{name: settle, script: note.sh, args: [settle]}]
"""
OF_A_GROUP = """    hooks:
      pre_failback: [{name: close-books, script: note.sh, args: [close]}]
      post_failback: [{name: open-books, script: note.sh, args: [open]}]
"""
TELL = """---
- name: Tell the world
  hosts: edge1
  gather_facts: false
  tasks:
    - name: Tell it
      ansible.builtin.debug:
        msg: "{{ lookup('ansible.builtin.env', 'XDR_PLAN_NAME') }} is at {{ lookup('ansible.builtin.env', 'XDR_SITE') }}"
"""
GROUP = "    priority: 1 "  # of the database group
FAILBACK = {
    "dr": ["freeze webshop amsterdam ''", "close webshop amsterdam 'database' orders-db,customers-db '' event"],
    "primary": ["open webshop frankfurt 'database' orders-db,customers-db '' event", "thaw webshop frankfurt ''"],
}
FAILOVER = {"dr": ["leave webshop amsterdam ''", "settle webshop amsterdam ''"], "primary": []}


def hook_up(lab: Lab) -> Path:
    """The lab's plan gets hooks, its hosts their script; the folder for the answer to its pause."""
    for site in ("primary", "dr"):
        folder = lab.site_dir(site) / "hooks"
        folder.mkdir(mode=0o755, exist_ok=True)
        script = folder / "note.sh"
        script.write_text(NOTE)
        script.chmod(0o755)
    plan = lab.inventory / "plans" / "webshop.yml"
    text = plan.read_text(encoding="utf-8")
    assert text.count(GROUP) == 1
    plan.write_text(text.replace(GROUP, OF_A_GROUP + GROUP) + OF_THE_PLAN, encoding="utf-8")
    (lab.inventory / "hooks").mkdir(exist_ok=True)
    (lab.inventory / "hooks" / "tell.yml").write_text(TELL)
    answers = lab.inventory.parent / "answers"
    answers.mkdir(exist_ok=True)
    (answers / "ask").write_text("yes: J. Weber has them\n")
    return answers


def noted(lab: Lab) -> dict[str, list[str]]:
    """What the scripts noted at each site since the last look."""
    found = {}
    for site in ("primary", "dr"):
        log = lab.site_dir(site) / "log" / "hooks.log"
        found[site] = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
    return found
