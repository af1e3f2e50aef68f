# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Bad luck, one case each, over the real lab and through the command line, while a client orders all the time.

Each case ends with the right exit code, one sentence that says what, where and what to do, the plan in a named state,
and every acknowledged order in the database of the site that serves.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from portal.lab import orders
from tests.support.luck import HANGS, PLAN, REFUSES, Luck
from tests.support.processes import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]  # a busy machine; alone each takes less than a minute

FRESH_SSH = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=no"}  # a connection that is open already would not ask for keys again


def unchanged(luck: Luck) -> None:
    """The plan is as ready as before and the DR site serves it."""
    assert luck.status()["state"] == "READY"
    luck.serves("dr")


def undone(luck: Luck) -> dict[str, Any]:
    """The failback was rolled back: services on the DR site, nobody else owns the plan, no run is open. The status."""
    status = luck.status()
    assert (status["state"] in ("REVERSING", "READY"), status["owner"], status["run"]) == (True, "dr", None)
    luck.serves("dr")
    return status


def recovery_points(status: dict[str, Any], host: str) -> set[tuple[str, str]]:
    return {(one["volume"], point["name"]) for one in status["volumes"] if one["host"] == host for point in one["recovery_points"]}


def test_a_copy_that_is_older_than_the_rpo_protects_nothing(luck: Luck) -> None:
    luck.started()
    with luck.edited(lambda plan: plan["targets"].update(rpo="1s")):  # the cycle and its compare take longer
        failed = luck.run("reprotect", code=2)
    assert "has no consistent point at the dr site that is younger than targets.rpo (1 s)" in failed.sentence
    assert luck.status()["state"] == "UNPROTECTED"
    luck.home()
    assert luck.status()["state"] == "ACTIVE"


# -- on the way to the DR site ------------------------------------------------------------------------------------


def test_a_dead_primary_is_no_proof_that_it_is_off(luck: Luck) -> None:
    luck.site_lost()
    refused = luck.run("failover", code=10)
    assert "fra-hv1 does not answer" in refused.sentence
    assert "--attest-primary-is-off" in refused.sentence
    status = luck.status()
    assert (status["state"], status["owner"], status["unreachable"]) == ("ACTIVE", "primary", ["fra-hv1"])


def test_no_failback_before_replication_is_reversed(luck: Luck) -> None:
    luck.failed_over()
    refused = luck.run("failback", code=12)
    assert "failback is not possible in state FAILED_OVER" in refused.sentence
    assert "Reverse replication first" in refused.sentence
    assert luck.status()["state"] == "FAILED_OVER"
    luck.serves("dr")


# -- refused at the gate: nothing is changed --------------------------------------------------------------------


def test_the_primary_is_lost_again(luck: Luck) -> None:
    luck.ready()
    luck.lab.lose_site("primary")
    try:
        refused = luck.run("failback", code=4)
        assert "fra-hv1 does not answer" in refused.sentence
        assert "nothing was changed" in refused.sentence
        status = luck.status()
        assert (status["state"], status["unreachable"]) == ("READY", ["fra-hv1"])
    finally:
        luck.lab.return_site("primary")
    unchanged(luck)


def test_a_wrong_host_key(luck: Luck) -> None:
    luck.ready()
    pinned = luck.lab.root / "controller" / "known_hosts"
    before = pinned.read_text()
    mine = luck.lab.variables["addresses"]["fra-hv1"]
    other = (luck.lab.site_dir("dr") / "ssh" / "ssh_host_ed25519_key.pub").read_text().split()[1]
    lines = [line.split() for line in before.splitlines()]
    pinned.write_text("".join(f"{name} {kind} {other if mine in name else key}\n" for name, kind, key, *_ in lines))
    try:
        refused = luck.run("failback", code=4, **FRESH_SSH)
    finally:
        pinned.write_text(before)
    assert "fra-hv1 shows another host key than the pinned one" in refused.sentence
    assert "Find out why it changed" in refused.sentence
    unchanged(luck)


def test_a_wrong_login_key(luck: Luck, tmp_path: Path) -> None:
    luck.ready()
    key = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    override = luck.lab.inventory / "host_vars" / "fra-hv1.yml"
    override.parent.mkdir(exist_ok=True)
    override.write_text(f"ansible_ssh_private_key_file: {key}\n")
    try:
        refused = luck.run("failback", code=4, **FRESH_SSH)
        attested = luck.run("failover", "--attest-primary-is-off", "I think so", code=10, **FRESH_SSH)
    finally:
        override.unlink()
    assert "fra-hv1 refuses the login" in refused.sentence
    assert "authorized_keys" in refused.sentence
    assert "so it is not off" in attested.sentence
    unchanged(luck)


def test_too_far_behind(luck: Luck) -> None:
    luck.ready()
    luck.writes()
    with luck.edited(lambda plan: plan["replication"].update(ready_below="0B")):
        refused = luck.run("failback", code=10)
        assert "more than ready_below (0 bytes)" in refused.sentence
        assert "Let replication catch up" in refused.sentence
        assert luck.status()["state"] == "REVERSING"
    luck.serves("dr")


def test_another_run_is_active(luck: Luck) -> None:
    luck.ready()
    with luck.begun("replicate") as first:
        wait_until(lambda: bool(first.events()), "the first run has begun", 20)
        with first.held():
            refused = luck.run("failback", code=11)
        assert first.folder is not None
        assert f"run {first.folder.name} (replicate, asked for by {getpass.getuser()} at " in refused.sentence
        assert f"is active. Wait until it ends, or stop it: xdr run stop {first.folder.name}" in refused.sentence
        assert first.ends().code == 0
    unchanged(luck)


# -- volumes and disks ------------------------------------------------------------------------------------------


def test_a_volume_is_missing_at_the_source(luck: Luck) -> None:
    luck.ready()
    volume = luck.lab.volume("dr", "cart.img")
    volume.rename(volume.with_suffix(".away"))
    try:
        failed = luck.run("replicate", code=2)
        assert "volume cart is missing" in failed.sentence
        assert str(volume) in failed.sentence
        refused = luck.run("failback", code=2)
        assert "volume cart cannot be read" in refused.sentence
        assert "See that the plan's path is right and the volume is mounted" in refused.sentence
        assert luck.status()["state"] == "REVERSING"
        luck.serves("dr")
    finally:
        volume.with_suffix(".away").rename(volume)
    unchanged(luck)


def test_a_volume_of_another_size_at_the_target(luck: Luck) -> None:
    luck.ready()
    volume = luck.lab.volume("primary", "cart.img")
    size = volume.stat().st_size
    os.truncate(volume, size + 4096)
    try:
        failed = luck.run("replicate", code=2)
        assert f"{volume}: volume cart has {size + 4096} bytes here and {size} bytes at the source" in failed.sentence
        assert "Make them the same size" in failed.sentence
        refused = luck.run("failback", code=10)
        assert f"volume cart has {size + 4096} bytes on fra-hv1 and {size} bytes on ams-hv1" in refused.sentence
        assert "nothing was changed" in refused.sentence
    finally:
        os.truncate(volume, size)
    unchanged(luck)


@pytest.mark.root
def test_the_disk_is_full_at_the_target(luck: Luck) -> None:
    luck.ready()
    luck.writes()
    spool = luck.lab.site_dir("primary") / "state" / "plans" / PLAN / "spool"
    with small_disk(spool, 128 * 1024):
        failed = luck.run("failback", code=2)
    assert f"fra-hv1: {spool.parent.parent.parent}: the disk is full" in failed.sentence
    assert "Free space there" in failed.sentence
    undone(luck)


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    owner = folder.stat()
    options = f"size={size},mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "xdr-test", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


# -- instances --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_instance_does_not_stop(luck: Luck) -> None:
    """All the others come back up by themselves; a person ends it and rolls back."""
    luck.ready()
    pid = luck.pid_of("dr", "cart")
    os.kill(pid, signal.SIGSTOP)
    try:
        failed = luck.run("failback", code=2)
        status = luck.status()
        luck.serves("dr")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert f"ams-hv1: instance cart: it will not stop: process {pid} has not ended in 3 s" in failed.sentence
    assert "Everything else runs on the DR site again. When that is put right, run rollback" in failed.sentence
    assert {one["name"]: one["state"] for one in status["instances"] if one["host"] == "ams-hv1" and one["state"] != "RUNNING"} == {
        "cart": "STOPPING"
    }
    assert (status["state"], status["owner"]) == ("ROLLING_BACK", "dr")
    luck.run("rollback")
    undone(luck)


def test_an_instance_does_not_start(luck: Luck) -> None:
    """After the hand-over: the primary wrote already, and what it wrote is kept."""
    luck.ready()
    with luck.impostor("primary", "cart", REFUSES):
        failed = luck.run("failback", code=2)
    assert re.match("fra-hv1: (instance )?cart: ", failed.sentence)  # told by the start or by the health check, whichever sees it first
    assert "it ended with exit status 1; it said: cart has no licence" in failed.sentence
    assert "the services run on the DR site again" in failed.sentence
    status = undone(luck)
    assert status["epoch"] == failed.document["view"]["epoch"] + 1  # seen when the primary site had it, and handed back since
    assert {("orders", "before-rollback"), ("cart", "before-rollback")} <= recovery_points(status, "fra-hv1")


def test_a_port_is_taken(luck: Luck) -> None:
    """By a program that even answers as the service would: found before anything was stopped."""
    luck.ready()
    url = luck.lab.service_url("primary", "pricing")
    with listener(url):
        failed = luck.run("failback", code=2)
    address, _, port = url.removeprefix("http://").partition(":")
    assert (
        f"fra-hv1: this host is Degraded: port {port} on {address} is taken by another program, so pricing cannot start" in failed.sentence
    )
    assert "Nothing was stopped" in failed.sentence
    undone(luck)


@contextlib.contextmanager
def listener(url: str) -> Iterator[None]:
    """Answers 200 to everything."""
    address, _, port = url.removeprefix("http://").partition(":")

    def answer() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")

    with socket.create_server((address, int(port))) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_health_check_never_passes(luck: Luck) -> None:
    """The plan's policy is to hold: an operator is asked, and aborts."""
    luck.ready()
    with luck.edited(lambda plan: plan["failback"].update(on_failed_health="hold")):
        with luck.impostor("primary", "cart", HANGS):
            failed = luck.run("failback", code=2)
        assert "fra-hv1: cart: http http://" in failed.sentence
        assert "did not pass (Connection refused); the deadline was 3 s" in failed.sentence
        assert "The plan is HALTED" in failed.sentence
        assert "It asks: retry, skip or abort" in failed.sentence
        status = luck.status()
        assert (status["state"], status["owner"]) == ("HALTED", "primary")
        asks = status["question"]
        assert (asks["run"], asks["recommended"]) == (failed.document["run_id"], "retry")
        assert {place["site"]: len(place["running"]) for place in asks["where"]} == {"frankfurt": 5, "amsterdam": 0}  # no frontend yet
        luck.answer(failed, "abort")
        status = undone(luck)
        assert ("cart", "before-rollback") in recovery_points(status, "fra-hv1")
        assert status["question"] is None
        late = luck.answer(failed, "retry", code=12)
        assert "asks nothing, or does not any more" in late.sentence


def test_the_deadline_passes_before_the_hand_over(luck: Luck) -> None:
    luck.ready()
    with luck.edited(lambda plan: plan["failback"].update(deadline="1s")):
        failed = luck.run("failback", code=2)
    told = luck.xdr("run", "show", failed.document["run_id"]).document
    assert (told["code"], told["message"], told["attempts"]) == ("deadline_passed", "deadline", 2)
    assert "passed before the hand-over, so the failback was rolled back" in failed.sentence
    undone(luck)
    refused = luck.run("failback", "--until", datetime.now().isoformat(), code=10)
    assert "less" in refused.sentence
    assert "for a rollback (measured" in refused.sentence


def test_a_held_failback_is_finished_by_answers(luck: Luck) -> None:
    """A retry fails as the failback did; a person who knows that the check may be left out says why."""
    luck.ready()
    with luck.edited(lambda plan: plan["failback"].update(on_failed_health="hold")):
        with luck.impostor("primary", "cart", HANGS):
            failed = luck.run("failback", code=2)
            again = luck.answer(failed, "retry", code=2)
            assert luck.xdr("run", "show", again.document["run_id"]).document["question"]["recommended"] == "abort"
            luck.answer(again, "skip", code=5)
            done = luck.answer(again, "skip", "--reason", "nobody needs the cart tonight")
        told = luck.xdr("run", "show", done.document["run_id"]).document
        assert told["arguments"]["answer"]["reason"] == "nobody needs the cart tonight"
        assert luck.status()["state"] == "FAILED_BACK"
        luck.stage = "moved"
        luck.serves("primary")
    os.kill(luck.pid_of("primary", "cart"), signal.SIGTERM)
    luck.run("start")


@pytest.mark.slow
def test_the_report_says_what_the_client_saw(luck: Luck) -> None:
    luck.ready()
    done = luck.run("failback")
    luck.run("reprotect")
    luck.stage = "home"
    report = luck.xdr("report", PLAN).document
    [cost] = [one for one in report["costs"] if one["run"] == done.document["run_id"]]
    walls = [ack.wall for ack in orders.read_log(luck.client.log).acks]
    seen = max(later - earlier for earlier, later in pairwise(walls) if earlier < cost["until"] and later > cost["since"])
    assert abs(seen - cost["outage_s"]) < 1.5, f"the client saw {seen:.1f} s"
    assert (cost["inexact"], cost["data_until"], cost["rpo_s"]) == ("", None, 0.0)
    assert [item["name"] for item in report["checklist"] if not item["done"]] == ["documented"], "the rest is shown by the runs"
    assert (report["state"], report["runs"][0]["action"]) == ("over", "failover")
    assert report["runbook"]
