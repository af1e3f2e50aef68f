# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Each playbook over the real lab with plain ansible-playbook: check mode, converge, idempotence, verify.

The scenarios are the chapters of one story, each begins where the one before it ended. The plan has a DNS record, in a real BIND 9.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal import PROJECT
from portal.lab.lab import Lab
from tests.support import bind, hooked
from tests.support.labs import built
from tests.support.playing import ANSIBLE_PLAYBOOK, ENVIRONMENT, argv, changes, play
from tests.support.processes import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
EXTRA = {"failover": ["-e", "{xdr_attestation: every process of the site was killed by this test}"]}
STORY = [
    *("start", "reprotect", "replicate", "failover", "reverse_replication", "verify_primary", "rollback", "failback"),
    "planned_failover",
]
HOOKS = {"failback": hooked.FAILBACK, "planned_failover": hooked.FAILOVER}  # what the plan's scripts note, once each
PRIMARY, DR = ["192.0.2.10"], ["198.51.100.10"]
# TTL and values of www after each scenario; the first one makes it
WWW = {
    **dict.fromkeys(("start", "reprotect", "replicate"), (2, PRIMARY)),
    "failover": (2, DR),
    **dict.fromkeys(("reverse_replication", "verify_primary"), (1, DR)),
    "rollback": (2, DR),  # as it was before the reversal
    "failback": (1, PRIMARY),
    "planned_failover": (2, DR),  # after the reprotect had put the TTL back
}
RECORD = """
  dns:
    - {{name: www, zone: {zone}, record: www, values: {{primary: {primary}, dr: {dr}}}, ttl: 2, lowered_ttl: 1s,
       servers: ["{server}"], resolvers: ["{resolver}"], key: xdr-failback}}
"""
UNCHANGED = ("replicate", "verify_primary")  # nobody writes here, so a cycle finds nothing to do


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with built("scenes") as one:
        yield one


@pytest.fixture(scope="module")
def dns(lab: Lab) -> Iterator[bind.Named]:
    """The servers of the record that is added to the lab's plan; the witness, which changes it, gets the key."""
    with bind.primary() as primary, bind.resolver(primary.port) as resolver:
        plan = lab.inventory / "plans" / "webshop.yml"
        servers = {"server": primary.server, "resolver": resolver.server}
        plan.write_text(plan.read_text().rstrip() + RECORD.format(zone=bind.ZONE, primary=PRIMARY, dr=DR, **servers))
        state = lab.site_dir("witness") / "state"
        key = state / "tsig" / "xdr-failback.key"
        key.parent.mkdir(mode=0o700)
        shutil.copy2(primary.key_file(), key)
        for path in (key.parent, key):
            shutil.chown(path, state.stat().st_uid, state.stat().st_gid)
        yield primary


def prepare(lab: Lab, scenario: str) -> None:
    if scenario == "failover":
        lab.lose_site("primary")
    elif scenario == "reverse_replication":
        lab.return_site("primary")
    elif scenario == "rollback":
        break_off_failback(lab)
    elif scenario == "failback":
        assert changes(play(lab, PROJECT / "playbooks" / "lower_ttl.yml")) == 1
        EXTRA["failback"] = ["-e", f"xdr_answers={hooked.hook_up(lab)}"]
    elif scenario == "planned_failover":
        play(lab, HERE / "reprotect" / "converge.yml")


def break_off_failback(lab: Lab) -> None:
    """A person's Ctrl-C, once the DR site has released the plan."""
    record = lab.site_dir("dr") / "state" / "plans" / "webshop" / "ownership.json"
    with (lab.inventory.parent / "broken-off.log").open("wb") as log:
        run = subprocess.Popen(argv(lab, HERE / "failback" / "converge.yml"), cwd=PROJECT, env=ENVIRONMENT, stdout=log, stderr=log)
    try:
        wait_until(lambda: json.loads(record.read_text())["standing"] == "released" or run.poll() is not None, "the release", 120)
        run.send_signal(signal.SIGINT)
        assert run.wait(60) != 0
    finally:
        run.kill()
        run.wait()


def state_of(lab: Lab) -> dict[str, tuple[int, int]]:
    """Every file that XDR keeps on the hosts, but for the runs' progress: size and time of change."""
    files = (path for path in lab.root.glob("*/state/plans/**/*") if path.is_file())
    return {str(path.relative_to(lab.root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("scenario", STORY)
def test_scenario(lab: Lab, dns: bind.Named, scenario: str) -> None:
    converge = HERE / scenario / "converge.yml"
    prepare(lab, scenario)
    extra = EXTRA.get(scenario, [])
    before = state_of(lab)
    predicted = play(lab, converge, "--check", "--diff", *extra)
    assert state_of(lab) == before, "check mode changed something"
    made = play(lab, converge, *extra)
    if scenario not in UNCHANGED:
        assert changes(made) > 0
        assert changes(predicted) > 0
    assert changes(play(lab, converge, *(extra if scenario == "start" else []))) == 0, "the second run changed something"
    play(lab, HERE / "verify.yml", "-e", f"@{HERE / scenario / 'expect.yml'}")
    if scenario in HOOKS:
        assert "would be fired: script note.sh" in predicted
        found = hooked.noted(lab)
        for site, wanted in HOOKS[scenario].items():
            assert [line[: len(start)] for line, start in zip(found[site], wanted, strict=True)] == wanted
    assert dns.ask("www", "A") == WWW[scenario]


def test_every_scenario_has_its_turn() -> None:
    assert {path.parent.name for path in HERE.glob("*/converge.yml")} == set(STORY)


@pytest.mark.parametrize(
    "playbook", sorted(path.stem for path in (PROJECT / "playbooks").glob("*.yml") if not path.stem.startswith(("lab_", "site_")))
)
def test_a_playbook_without_a_known_plan_says_which_there_are(playbook: str) -> None:
    words = [str(ANSIBLE_PLAYBOOK), "-i", "inventories/lab", "-e", "plan=shop", f"playbooks/{playbook}.yml"]
    done = subprocess.run(words, cwd=PROJECT, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "no plan named 'shop'" in done.stdout + done.stderr
    assert "webshop" in done.stdout + done.stderr
