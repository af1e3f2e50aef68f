# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Each playbook over the real lab with plain ansible-playbook: check mode, converge, idempotence, verify.

The scenarios are the chapters of one story, each begins where the one before it ended.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal import PROJECT
from portal.lab.lab import Lab
from tests.support.labs import built

pytestmark = pytest.mark.lab

HERE = Path(__file__).parent
ANSIBLE_PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
EXTRA = {"failover": ["-e", "{xdr_attestation: every process of the site was killed by this test}"]}
STORY = ["start", "reprotect", "replicate", "failover", "reverse_replication", "failback", "planned_failover"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with built("scenes") as one:
        yield one


def prepare(lab: Lab, scenario: str) -> None:
    if scenario == "failover":
        lab.lose_site("primary")
    elif scenario == "reverse_replication":
        lab.return_site("primary")
    elif scenario == "planned_failover":
        play(lab, HERE / "reprotect" / "converge.yml")


def play(lab: Lab, path: Path, *options: str) -> str:
    environment = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    argv = [str(ANSIBLE_PLAYBOOK), "-i", str(lab.inventory), "-e", "plan=webshop", *options, str(path)]
    done = subprocess.run(argv, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


def changes(output: str) -> int:
    return sum(int(number) for number in re.findall(r"\bchanged=(\d+)", output))


def state_of(lab: Lab) -> dict[str, tuple[int, int]]:
    """Every file that XDR keeps on the hosts, but for the runs' progress: size and time of change."""
    files = (path for path in lab.root.glob("*/state/plans/**/*") if path.is_file())
    return {str(path.relative_to(lab.root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("scenario", STORY)
def test_scenario(lab: Lab, scenario: str) -> None:
    converge = HERE / scenario / "converge.yml"
    extra = EXTRA.get(scenario, [])
    prepare(lab, scenario)
    before = state_of(lab)
    predicted = play(lab, converge, "--check", "--diff", *extra)
    assert state_of(lab) == before, "check mode changed something"
    made = play(lab, converge, *extra)
    if scenario != "replicate":  # nobody writes here, so a cycle finds nothing to do
        assert changes(made) > 0
        assert changes(predicted) > 0
    assert changes(play(lab, converge, *(extra if scenario == "start" else []))) == 0, "the second run changed something"
    play(lab, HERE / "verify.yml", "-e", f"@{HERE / scenario / 'expect.yml'}")


def test_every_scenario_has_its_turn() -> None:
    assert {path.parent.name for path in HERE.glob("*/converge.yml")} == set(STORY)


@pytest.mark.parametrize(
    "playbook", sorted(path.stem for path in (PROJECT / "playbooks").glob("*.yml") if not path.stem.startswith(("lab_", "site_")))
)
def test_a_playbook_without_a_known_plan_says_which_there_are(playbook: str) -> None:
    environment = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    argv = [str(ANSIBLE_PLAYBOOK), "-i", "inventories/lab", "-e", "plan=shop", f"playbooks/{playbook}.yml"]
    done = subprocess.run(argv, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "no plan named 'shop'" in done.stdout + done.stderr
    assert "webshop" in done.stdout + done.stderr
