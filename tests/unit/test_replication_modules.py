# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""xdr_replication and xdr_delta_sync, over a real SSH channel with the agent as forced command."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils import kept_channel, openfiles, syncing
from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import Refused
from ansible_collections.xdr.failback.plugins.module_utils.running import mark_path, start_time

from tests.support.delta_pair import PAIR, PLAN, Pair, content, own, pipe
from tests.support.processes import wait_until
from tests.support.site_host import ModuleCaller, SiteHost
from tests.support.sshd import Sshd, make_key, sshd

ROOT = Path(__file__).parents[2]
AGENT = """#!/bin/sh
export PYTHONPATH={root}/xdr_plugins
exec {python} -c '
import sys
from ansible_collections.xdr.failback.plugins.module_utils.agent import main
sys.exit(main(sys.argv[1:], "0"))
' ssh --state-dir {state_dir}
"""
CHANGING = {"epoch": PAIR[0], "attempt": PAIR[1], "run_id": "r1"}


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> ModuleCaller:
    return ModuleCaller(capsys)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    pair = Pair(tmp_path, "orders", "customers", grows=True)
    pair.write(pair.source, "orders", content([1, 2, 3]))
    pair.write(pair.source, "customers", content([4, 0, 5]))
    pair.write(pair.target, "orders", content([9, 2]))
    return pair


@pytest.fixture
def server(pair: Pair, tmp_path: Path) -> Iterator[Sshd]:
    script = tmp_path / "agent.sh"
    script.write_text(AGENT.format(root=ROOT, python=sys.executable, state_dir=pair.target.state_dir))
    script.chmod(0o755)
    with sshd(tmp_path / "sshd", address="127.0.4.1", forced_command=str(script)) as server:
        pair.source.write_site(peers={"other": server.peer()})
        yield server


class Caller:
    def __init__(self, call: ModuleCaller) -> None:
        self._call = call

    def replication(self, host: SiteHost, state: str, *, check: bool = False, **more: Any) -> dict[str, Any]:
        changing = {} if state == "status" else CHANGING
        return self._call("xdr_replication", host.arguments(state=state, **{**changing, **more}), check=check)

    def sync(self, host: SiteHost, *, check: bool = False, **more: Any) -> dict[str, Any]:
        return self._call("xdr_delta_sync", host.arguments(**{**CHANGING, **more}), check=check)


@pytest.fixture
def xdr(call: ModuleCaller) -> Caller:
    return Caller(call)


@pytest.fixture
def ready(pair: Pair, xdr: Caller) -> Iterator[Pair]:
    assert xdr.replication(pair.source, "source")["changed"]
    assert xdr.replication(pair.target, "target", recovery_point="before-reverse")["changed"]
    yield pair
    kept_channel.drop(pair.source.state_dir, PLAN)  # a test that fails half way leaves channels that wait for an hour


def test_a_whole_reversal_over_ssh(ready: Pair, server: Sshd, xdr: Caller) -> None:
    old = ready.read(ready.target, "orders")
    first = xdr.sync(ready.source, compare=True, phase="replicate")
    assert first.get("changed"), first
    assert [result["equal"] for result in first["results"]] == [True, True]
    assert first["bytes_sent"] == sum(result["bytes_sent"] for result in first["results"]) > 0
    assert not xdr.sync(ready.source)["changed"]
    ready.write(ready.source, "orders", content([1, 7, 3]))
    preview = xdr.sync(ready.source, check=True)
    assert preview["changed"]
    assert preview["diff"] == {"before": {"orders": {"cycle": 2}}, "after": {"orders": {"cycle": 3, "bytes_to_send": 65536}}}
    assert xdr.replication(ready.source, "status", lag=True)["results"][1]["lag_bytes"] == 65536
    assert xdr.sync(ready.source, final=True, compression="zlib", phase="final_sync")["changed"]
    assert not xdr.sync(ready.source, check=True)["changed"]
    verified = xdr.sync(ready.source, state="verified", phase="verify")
    assert not verified["changed"]
    assert [(result["blocks"], result["equal"]) for result in verified["results"]] == [(0, True), (1, True)]
    assert ready.both(ready.target) == ready.both(ready.source)
    promoted = xdr.replication(ready.target, "promoted")
    assert [(result["role"], result["complete"], result["cycle"]) for result in promoted["results"]] == [("none", True, 3)] * 2
    preview = xdr.replication(ready.target, "restored", recovery_point="before-reverse", check=True, volumes=["orders"])
    assert preview["results"][0]["exact"] is True
    restored = xdr.replication(ready.target, "restored", recovery_point="before-reverse", volumes=["orders"])
    assert restored["results"][0]["exact"] is True
    assert ready.read(ready.target, "orders") == old
    assert ready.source.record.run is not None
    assert {"replicate", "final_sync", "verify"} <= set(ready.source.record.run["phases"])


def test_progress_is_appended_for_each_volume(ready: Pair, server: Sshd, xdr: Caller) -> None:
    xdr.sync(ready.source)
    lines = [json.loads(line) for line in (ready.source.state_dir / "runs" / "r1.jsonl").read_text().splitlines()]
    last = {line["volume"]: (line["done"], line["total"]) for line in lines}
    assert last == {"orders": (3 * 65536, 3 * 65536), "customers": (3 * 65536, 3 * 65536)}


@pytest.mark.parametrize("state", ["source", "target", "promoted", "forgotten"])
def test_a_second_call_changes_nothing_and_check_mode_never_does(ready: Pair, server: Sshd, xdr: Caller, state: str) -> None:
    xdr.sync(ready.source)
    host = ready.source if state == "source" else ready.target
    if state == "source":
        xdr.replication(host, "promoted")
    if state == "target":
        xdr.replication(host, "promoted")
    more = {"recovery_point": "before-reverse"} if state == "forgotten" else {}
    before = xdr.replication(host, "status")["results"]
    preview = xdr.replication(host, state, check=True, **more)
    assert preview["changed"]
    assert preview["diff"]["before"] != preview["diff"]["after"]
    assert xdr.replication(host, "status")["results"] == before
    assert xdr.replication(host, state, **more)["changed"]
    again = xdr.replication(host, state, **more)
    assert not again["changed"]
    assert again["diff"]["before"] == again["diff"]["after"]


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("xdr_replication", {"state": "restored", **CHANGING}, "state restored needs a recovery_point"),
        ("xdr_replication", {"state": "restored", "recovery_point": "x", **CHANGING}, "there is no recovery point 'x'"),
        ("xdr_replication", {"state": "target", "recovery_point": "../x", **CHANGING}, "is not a name of a recovery point"),
        ("xdr_replication", {"state": "target", "epoch": 1, "attempt": 0}, "older than attempt 1 of epoch 2"),
        ("xdr_replication", {"state": "source"}, "missing: epoch, attempt"),
        ("xdr_replication", {"volumes": ["nothing"]}, "volume 'nothing' of plan webshop is not registered here"),
        ("xdr_delta_sync", CHANGING, "has the role none here"),
        ("xdr_delta_sync", {"volumes": ["orders"], **CHANGING}, "volume orders shares one point in time with customers"),
        ("xdr_delta_sync", {"plan": "other", **CHANGING}, "plan other is not registered on this host"),
    ],
)
def test_one_clear_sentence(pair: Pair, server: Sshd, call: ModuleCaller, module: str, arguments: dict[str, Any], message: str) -> None:
    answer = call(module, {**pair.source.arguments(), **arguments})
    assert answer["failed"]
    assert message in answer["msg"]


def test_a_running_instance_keeps_its_volumes_from_being_restored(ready: Pair, server: Sshd, xdr: Caller) -> None:
    xdr.sync(ready.source)
    xdr.replication(ready.target, "promoted")
    document = read_json(ready.target.plan_dir / "plan.json")
    ready.target.write_plan(**{**document, "instances": {"orders": {"driver": "supervisor"}}})
    own(ready.target, "primary", 3)
    mark = mark_path(ready.target.state_dir, PLAN, "orders")
    mark.parent.mkdir()
    pid = threading.get_native_id()
    mark.write_text(json.dumps({"pid": pid, "started": start_time(pid)}))
    answer = xdr.replication(ready.target, "restored", recovery_point="before-reverse", epoch=3)
    assert "instance orders runs here" in answer["msg"]


def test_a_host_that_does_not_answer_and_keys_that_are_wrong(ready: Pair, server: Sshd, xdr: Caller, tmp_path: Path) -> None:
    make_key(tmp_path / "strange")
    for change, code in (
        ({"port": 1}, "not_reached"),
        ({"key": str(tmp_path / "strange")}, "login"),
        ({"known_hosts": "/dev/null"}, "host_key"),
    ):
        ready.source.write_site(peers={"other": {**server.peer(), **change}})
        answer = xdr.sync(ready.source)
        assert (answer["xdr_code"], answer["results"]) == (code, [])
        assert "other (127.0.4.1 port" in answer["msg"]


def test_a_refusal_of_the_target_comes_through_with_its_code(ready: Pair, server: Sshd, xdr: Caller) -> None:
    own(ready.target, "primary", 2)
    answer = xdr.sync(ready.source)
    assert answer["xdr_code"] == "wrong_owner"
    assert "other: hv1: site primary owns plan webshop" in answer["msg"]


def test_a_session_that_stood_still_cannot_commit_once_it_is_overtaken(ready: Pair) -> None:
    """The old attempt's data is all there but its commit; meanwhile a newer attempt, or another cycle, has come."""
    for overtake, code in (
        (lambda: ready.sync(), "overtaken"),
        (lambda: ready.target.write_record(**newer(ready.target)), "stale_attempt"),
    ):
        gate = threading.Event()
        failure: list[Refused] = []

        def slow(gate: threading.Event = gate, failure: list[Refused] = failure) -> None:
            try:
                ready.through(lambda down: held_back(down, gate), lambda up: up)
            except Refused as error:
                failure.append(error)

        ready.write(ready.source, "orders", content([6, 6, 6]))
        thread = threading.Thread(target=slow)
        thread.start()
        spool = ready.target.plan_dir / "spool"
        wait_until(lambda spool=spool: bool(list(spool.glob("*.part"))), "the slow session receives")  # type: ignore[misc]
        before = overtake()
        found = ready.both(ready.target)
        gate.set()
        thread.join(20)
        assert [refusal.code for refusal in failure] == [code], before
        assert ready.both(ready.target) == found
        assert not list(spool.iterdir())


def newer(host: SiteHost) -> dict[str, Any]:
    record = host.record
    return {"epoch": 2, "owner": "dr", "standing": "superseded", "attempt": (2, 9), "history": record.history}


def held_back(source: Any, gate: threading.Event) -> Any:
    """A stream that keeps its frame ``commit`` back until the gate opens."""
    reader, writer = pipe()

    def copy() -> None:
        with source, writer:
            while chunk := source.read(1 << 16):
                head, mark, tail = chunk.partition(b'{"kind":"commit"')
                writer.write(head)
                if mark:
                    gate.wait(30)
                    writer.write(mark + tail)

    threading.Thread(target=copy, daemon=True).start()
    return reader


def test_channels_are_opened_ahead_and_used_by_the_next_calls(ready: Pair, server: Sshd, xdr: Caller) -> None:
    answer = xdr.sync(ready.source, state="opened")
    assert not answer["changed"]
    assert {one["volume"] for one in answer["results"]} == {"orders", "customers"}, "what a cycle would do is told as well"
    assert len(keepers(ready)) == 2, "one for the final sync, one for the proof"
    assert not xdr.sync(ready.source, state="opened")["changed"]
    assert len(keepers(ready)) == 2, "the look took one, and another has its place"
    assert xdr.sync(ready.source, final=True)["changed"]
    wait_until(lambda: len(keepers(ready)) == 1, "the keeper ends with its channel", 20)
    assert xdr.sync(ready.source, state="verified", extents="all")["results"]
    wait_until(lambda: not keepers(ready), "the other one, too", 20)
    assert ready.both(ready.target) == ready.both(ready.source)
    assert not xdr.sync(ready.source)["changed"], "without one a new channel is opened"


def test_kept_channels_that_died_are_not_missed(ready: Pair, server: Sshd, xdr: Caller) -> None:
    xdr.sync(ready.source, state="opened")
    for keeper in keepers(ready):
        os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: not keepers(ready), "they are gone", 20)
    assert xdr.sync(ready.source, final=True)["changed"]


def test_a_kept_channel_tells_why_it_failed(ready: Pair, server: Sshd, xdr: Caller) -> None:
    xdr.sync(ready.source, state="opened")
    own(ready.target, "primary", 3)
    answer = xdr.sync(ready.source, epoch=3)
    assert (answer["xdr_code"], "site primary owns plan" in answer["msg"]) == ("wrong_owner", True)
    wait_until(lambda: len(keepers(ready)) == 1, "the keeper ends with its channel", 20)
    kept_channel.drop(ready.source.state_dir, PLAN)


def test_a_channel_that_cannot_be_opened_says_so_before_the_downtime(ready: Pair, server: Sshd, xdr: Caller) -> None:
    ready.source.write_site(peers={"other": {**server.peer(), "port": 1}})
    answer = xdr.sync(ready.source, state="opened")
    assert (answer["failed"], answer["xdr_code"]) == (True, "not_reached")
    wait_until(lambda: not keepers(ready), "nobody keeps what was never open", 20)


def test_kept_channels_are_dropped_on_demand(ready: Pair, server: Sshd, xdr: Caller) -> None:
    xdr.sync(ready.source, state="opened")
    kept_channel.drop(ready.source.state_dir, PLAN)
    wait_until(lambda: not keepers(ready), "they end", 20)


def keepers(pair: Pair) -> list[int]:
    """The processes that keep channels of this source."""
    folder = pair.source.plan_dir / "channels"
    return sorted({holder.pid for holder in openfiles.holders(list(folder.glob("*.pid")))}) if folder.exists() else []


def test_a_preview_over_the_channel(ready: Pair, server: Sshd, xdr: Caller) -> None:
    answer = xdr.sync(ready.source, state="previewed", volumes=["orders", "customers"])
    assert not answer["changed"]
    assert [(one["volume"], one["method"]) for one in answer["results"]] == [("orders", "scan"), ("customers", "scan")]
    assert "there is no copy yet" in answer["results"][1]["why"]
    assert all(isinstance(one["predicted_seconds"], float) for one in answer["results"])
    assert ready.read(ready.target, "orders") == content([9, 2])


def test_rounds_end_when_little_is_left(ready: Pair, server: Sshd, xdr: Caller) -> None:
    answer = xdr.sync(ready.source, rounds=5, ready_below=65536, compare=True)
    assert (answer["stopped"], len(answer["rounds"]), answer["remaining_bytes"]) == ("below", 1, 0)
    assert answer["final_seconds"] > 0
    assert [one["equal"] for one in answer["results"]] == [True, True]


@pytest.mark.parametrize(
    ("left", "sent", "most", "expected"),
    [
        ([10], 1000, 5, "below"),
        ([500], 1000, 5, ""),
        ([950], 1000, 5, "not_shrinking"),
        ([500, 200], 0, 5, ""),
        ([500, 490], 0, 5, "not_shrinking"),
        ([500, 600], 0, 5, "not_shrinking"),
        ([500, 300], 0, 2, "rounds"),
        (["unknown"], 0, 5, "unknown"),
    ],
)
def test_why_rounds_end(left: list[Any], sent: int, most: int, expected: str) -> None:
    rounds = [{"bytes_sent": sent, "remaining_bytes": each} for each in left]
    assert syncing._why_to_stop(rounds, 100, most) == expected
