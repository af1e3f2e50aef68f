# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A primary site that was said to be off and ran on: both sites serve, until a person says which one is kept.

One story over the real lab, each test begins where the one before it ended.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portal import PROJECT
from portal.lab.lab import Lab
from portal.lab.orders import numbers_in_file, numbers_of_service
from tests.support.labs import built
from tests.support.playing import ENVIRONMENT, argv, changes, play, run
from tests.support.processes import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

PLAYBOOKS = PROJECT / "playbooks"
BIN = Path(sys.executable).parent
FALSELY = ("-e", "{xdr_attestation: somebody thought that it was off}")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with built("split") as one:
        for step in ("start", "reprotect"):
            play(one, PLAYBOOKS / f"{step}.yml")
        order(one.balancer_url, 1)
        play(one, PLAYBOOKS / "replicate.yml")
        yield one


def order(url: str, number: int) -> None:
    data = json.dumps({"number": number}).encode()
    with urllib.request.urlopen(f"{url}/orders", data, timeout=30) as answer:  # noqa: S310 - the lab's own
        assert answer.status == 200


def record(lab: Lab, host: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((lab.root / host / "state" / "plans" / "webshop" / "ownership.json").read_text())
    return document


def xdr(lab: Lab, *words: str) -> tuple[int, dict[str, Any]]:
    environment = {**os.environ, "XDR_VAR": str(lab.inventory.parent)}
    options = ["--inventory", str(lab.inventory), "--json"]
    done = subprocess.run(
        [BIN / "xdr", *words, *options], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def status(lab: Lab) -> dict[str, Any]:
    return xdr(lab, "status", "webshop")[1]


def split(lab: Lab, number: int) -> None:
    """The primary site is cut off, said to be off, and runs on; then it is reached again. Both sides take an order."""
    for pid, command in lab.processes("primary"):
        if "sshd" in command:
            os.kill(pid, signal.SIGKILL)
    play(lab, PLAYBOOKS / "failover.yml", *FALSELY)
    order(lab.balancer_url, number)
    order(lab.service_url("primary", "shop-web-1"), number + 1)
    lab.return_site("primary")


def put_back(lab: Lab, host: str, point: str) -> None:
    pair = record(lab, host)["attempt"]
    arguments = {"plan": "webshop", "state_dir": str(lab.root / host / "state"), "state": "restored", "recovery_point": point}
    words = [BIN / "ansible", "-i", lab.inventory, host, "-m", "xdr.failback.xdr_replication", "-a"]
    document = json.dumps({**arguments, "epoch": pair[0], "attempt": pair[1]})
    done = subprocess.run([*words, document], cwd=PROJECT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def resolve(keep: str) -> tuple[str, ...]:
    return ("-e", f"xdr_keep={keep}", "-e", "{xdr_reason: its orders were shipped, xdr_by: dora}")


def test_it_is_told_with_what_each_side_has_since(lab: Lab) -> None:
    backup = lab.root / "edge1" / "backup.json"
    shutil.copy2(lab.root / "edge1" / "state" / "plans" / "webshop" / "ownership.json", backup)
    split(lab, 10)
    seen = status(lab)
    assert (seen["state"], seen["owner"], seen["split"]["common"], seen["split"]["owner"]) == ("SPLIT_BRAIN", None, 1, "primary")
    primary, dr = seen["split"]["sides"]["primary"], seen["split"]["sides"]["dr"]
    assert {one["name"] for one in primary["running"]} == {one["name"] for one in dr["running"]} >= {"orders-db", "shop-web-1"}
    assert min(one["since"] for one in dr["running"]) > max(one["since"] for one in primary["running"])
    assert primary["accepted"] == []
    (entry,) = dr["accepted"]
    assert (entry["epoch"], entry["how"], entry["text"]) == (2, "attested", "somebody thought that it was off")
    assert primary["cycle"]["role"] == "source"


@pytest.mark.parametrize("playbook", ["reverse_replication", "failback", "start", "reprotect", "failover"])
def test_nothing_else_is_done_meanwhile(lab: Lab, playbook: str) -> None:
    done = run(lab, PLAYBOOKS / f"{playbook}.yml")
    assert done.returncode != 0
    assert "not possible in state SPLIT_BRAIN" in " ".join(done.stdout.split())


def test_it_must_be_said_which_side_and_why(lab: Lab) -> None:
    for options, told in (((), "which side is kept was not said"), (("-e", "xdr_keep=dr"), "giving a side up needs a reason")):
        done = run(lab, PLAYBOOKS / "resolve.yml", *options)
        assert done.returncode != 0
        assert told in " ".join(done.stdout.split())


def test_the_dr_site_is_kept_though_the_run_is_killed_on_the_way(lab: Lab) -> None:
    before = record(lab, "fra-hv1")
    play(lab, PLAYBOOKS / "resolve.yml", "--check", "--diff", *resolve("dr"))
    assert record(lab, "fra-hv1") == before, "check mode changed something"
    with (lab.inventory.parent / "killed.log").open("wb") as log:
        words = argv(lab, PLAYBOOKS / "resolve.yml", *resolve("dr"))
        killed = subprocess.Popen(words, cwd=PROJECT, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True)
    wait_until(lambda: record(lab, "fra-hv1")["standing"] == "released", "the primary site is given up", 120)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    seen = status(lab)
    assert (seen["state"], seen["split"]["given_up"]) == ("SPLIT_BRAIN", "primary")
    changed_mind = run(lab, PLAYBOOKS / "resolve.yml", *resolve("primary"))
    assert "frankfurt has been given up already" in " ".join(changed_mind.stdout.split())
    play(lab, PLAYBOOKS / "resolve.yml", *resolve("dr"))
    assert changes(play(lab, PLAYBOOKS / "resolve.yml", *resolve("dr"))) == 0
    seen = status(lab)
    assert (seen["state"], seen["owner"], seen["epoch"], seen["run"], seen["split"]) == ("FAILED_OVER", "dr", 3, None, None)
    last = record(lab, "ams-hv1")["history"][-1]
    assert (last["how"], last["by"], last["text"]) == ("resolved", "dora", "its orders were shipped")
    assert {one["state"] for one in seen["instances"] if one["host"] == "fra-hv1"} == {"STOPPED"}
    order(lab.balancer_url, 12)
    assert numbers_of_service(lab.service_url("dr", "orders-db")) == [1, 10, 12]


def test_what_the_primary_site_wrote_is_put_back(lab: Lab) -> None:
    play(lab, PLAYBOOKS / "reverse_replication.yml")
    assert numbers_in_file(lab.volume("primary")) == [1, 10, 12]
    put_back(lab, "fra-hv1", "split-brain")
    assert numbers_in_file(lab.volume("primary")) == [1, 11]
    play(lab, PLAYBOOKS / "replicate.yml")
    assert numbers_in_file(lab.volume("primary")) == [1, 10, 12]
    assert not status(lab)["compared"]
    play(lab, PLAYBOOKS / "reverse_replication.yml")
    assert status(lab)["compared"]


def test_a_witness_from_a_backup_is_heard_again_after_the_next_cycle(lab: Lab) -> None:
    path = lab.root / "edge1" / "state" / "plans" / "webshop" / "ownership.json"
    owner = path.stat()
    backup = (lab.root / "edge1" / "backup.json").read_bytes()
    path.unlink()
    path.write_bytes(backup)
    os.chown(path, owner.st_uid, owner.st_gid)
    seen = status(lab)
    assert (seen["state"] in ("REVERSING", "READY"), seen["mute"][:9], seen["owner"]) == (True, "restored:", "dr")
    play(lab, PLAYBOOKS / "replicate.yml")
    assert status(lab)["mute"] == ""
    told = record(lab, "edge1")
    assert (told["epoch"], told["owner"], told["history"][-1]["how"]) == (3, "dr", "vouched")
    code, done = xdr(lab, "run", "vouch", "webshop")
    assert (code, done["reason"]) == (0, "the witness is not mute")


@pytest.mark.slow
def test_the_primary_site_is_kept(lab: Lab) -> None:
    play(lab, PLAYBOOKS / "failback.yml")
    play(lab, PLAYBOOKS / "reprotect.yml")
    split(lab, 20)
    assert status(lab)["split"]["common"] == record(lab, "fra-hv1")["epoch"]
    code, done = xdr(lab, "run", "resolve", "webshop", "--keep", "primary", "--reason", "it never stopped", "--confirm", "webshop")
    assert (code, done["error"]) == (0, "")
    seen = status(lab)
    assert (seen["state"], seen["owner"]) == ("UNPROTECTED", "primary")
    order(lab.balancer_url, 22)
    assert numbers_of_service(lab.service_url("primary", "orders-db")) == [1, 10, 12, 21, 22]
    play(lab, PLAYBOOKS / "reprotect.yml")
    assert numbers_in_file(lab.volume("dr")) == [1, 10, 12, 21, 22]
    put_back(lab, "ams-hv1", "split-brain")
    assert numbers_in_file(lab.volume("dr")) == [1, 10, 12, 20]
    play(lab, PLAYBOOKS / "replicate.yml")
    assert status(lab)["state"] == "ACTIVE"
