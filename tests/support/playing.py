# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Playbooks over a lab with plain ansible-playbook."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from portal import PROJECT
from portal.lab.lab import Lab

ANSIBLE_PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"


ENVIRONMENT = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}


def argv(lab: Lab, path: Path, *options: str) -> list[str]:
    return [str(ANSIBLE_PLAYBOOK), "-i", str(lab.inventory), "-e", "plan=webshop", *options, str(path)]


def run(lab: Lab, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv(lab, path, *options), cwd=PROJECT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)


def play(lab: Lab, path: Path, *options: str) -> str:
    """What it says; it ends well."""
    done = run(lab, path, *options)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


def changes(output: str) -> int:
    return sum(int(number) for number in re.findall(r"\bchanged=(\d+)", output))
