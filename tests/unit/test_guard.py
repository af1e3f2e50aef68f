# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The start guard and the boot, as the real agent, with a real witness behind a real sshd."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils import record as records
from ansible_collections.xdr.failback.plugins.module_utils.channel import argv, run
from ansible_collections.xdr.failback.plugins.module_utils.durable import locked, read_json, write_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.ownership import perform
from ansible_collections.xdr.failback.plugins.module_utils.running import start_time
from ansible_collections.xdr.failback.plugins.module_utils.site import Peer
from ansible_collections.xdr.failback.plugins.plugin_utils.agent_archive import build

from tests.support.processes import end, free_port, wait_until
from tests.support.site_host import SiteHost, site_host
from tests.support.sshd import Sshd, sshd
from tests.support.supervisord import supervisord_folder

PYTHON = "/usr/bin/python3"
SLEEP = ["/bin/sleep", "600"]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "xdr-site-agent.pyz"
    path.write_bytes(build().content)
    return path


@pytest.fixture(scope="module")
def witness_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("witness")


@pytest.fixture(scope="module")
def witness_sshd(agent: Path, witness_folder: Path) -> Iterator[Sshd]:
    command = f"{PYTHON} {agent} ssh --state-dir {witness_folder / 'state'}"
    with sshd(witness_folder / "sshd", forced_command=command) as server:
        yield server


@pytest.fixture
def witness(witness_folder: Path) -> SiteHost:
    witness = site_host(witness_folder / "state", site="witness")
    witness.write_record(owner="primary", standing="none")
    return witness


@pytest.fixture
def host(tmp_path: Path, witness_sshd: Sshd, witness: SiteHost) -> SiteHost:
    """A primary site that owns epoch 1, with two instances, as the witness knows, too."""
    host = site_host(tmp_path / "state")
    host.write_site(peers={"w1": witness_sshd.peer()})
    host.write_plan(instances={name: {"driver": "supervisor", "group": "g", "priority": 1} for name in ("db", "web")})
    return host


def command(agent: Path, host: SiteHost, *words: str, instance: str = "db") -> list[str]:
    return [PYTHON, str(agent), "guard", "--state-dir", str(host.state_dir), "--plan", "webshop", "--instance", instance, "--", *words]


@contextlib.contextmanager
def guarded(agent: Path, host: SiteHost, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    errors = host.state_dir / "stderr"
    with errors.open("wb") as stream:
        process = subprocess.Popen(command(agent, host, *words), stderr=stream, start_new_session=True)
    try:
        yield process
    finally:
        end(process)


def told(host: SiteHost) -> str:
    return (host.state_dir / "stderr").read_text()


def becomes(process: subprocess.Popen[bytes], words: list[str], seconds: float = 15) -> None:
    cmdline = b"\0".join(word.encode() for word in words) + b"\0"
    wait_until(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes() == cmdline, f"the guard has become {words}", seconds)


def closed_peer(server: Sshd) -> dict[str, object]:
    return {**server.peer(), "port": free_port()}


def test_the_guard_becomes_the_instance(agent: Path, host: SiteHost) -> None:
    with guarded(agent, host, *SLEEP) as process:
        becomes(process, SLEEP)
        mark = read_json(host.plan_dir / "running" / "db.json")
        assert mark == {"pid": process.pid, "started": start_time(process.pid)}
        with locked(host.plan_dir / "lock", timeout=0.1):
            pass
        assert not [link for link in Path(f"/proc/{process.pid}/fd").iterdir() if str(host.plan_dir) in str(link.readlink())]


def test_options_of_the_command_stay_its_own(agent: Path, host: SiteHost) -> None:
    words = ["/bin/echo", "-n", "--plan", "x y", "--", "$HOME;id"]
    done = subprocess.run(command(agent, host, *words), capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "--plan x y -- $HOME;id"


def test_a_command_that_cannot_run_leaves_no_mark(agent: Path, host: SiteHost) -> None:
    done = subprocess.run(command(agent, host, "/nonexistent/program"), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "No such file" in done.stderr) == (127, True)
    assert not (host.plan_dir / "running" / "db.json").exists()


OWN: list[tuple[str, dict[str, object], str]] = [
    ("another owner", {"epoch": 2, "owner": "dr", "standing": "superseded"}, "dr owns epoch 2"),
    ("released", {"owner": None, "standing": "released", "to": "dr"}, "nobody owns epoch 1"),
    ("never founded", {"epoch": 0, "owner": None, "standing": "none"}, "nobody owns epoch 0"),
    ("draining", {"draining": True}, "the plan is draining"),
]
WITNESS: list[tuple[str, dict[str, object], str]] = [
    ("a newer epoch", {"epoch": 2, "owner": "dr"}, "dr owns epoch 2"),
    ("an open offer to dr", {"offer": {"epoch": 2, "to": "dr", "decided": False, "at": 1.0}}, "epoch 2 was offered to dr"),
    ("the same epoch, another owner", {"owner": "dr"}, "both sites claim epoch 1"),
]


def refused(agent: Path, host: SiteHost, instance: str = "db") -> str:
    done = subprocess.run(command(agent, host, *SLEEP, instance=instance), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 77, done.stderr
    assert done.stderr.startswith("xdr guard: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize(("fields", "why"), [row[1:] for row in OWN], ids=[row[0] for row in OWN])
def test_refused_by_the_own_record(agent: Path, host: SiteHost, fields: dict[str, object], why: str) -> None:
    host.write_record(**fields)
    assert why in refused(agent, host)
    assert not (host.plan_dir / "running" / "db.json").exists()


@pytest.mark.parametrize(("fields", "why"), [row[1:] for row in WITNESS], ids=[row[0] for row in WITNESS])
def test_refused_by_what_the_witness_knows(agent: Path, host: SiteHost, witness: SiteHost, fields: dict[str, object], why: str) -> None:
    """A primary that was dead during a failover comes back, and its own record still says that it owns the plan."""
    witness.write_record(**{"owner": "primary", "standing": "none", **fields})
    assert why in refused(agent, host)
    if fields.get("epoch") == 2:
        assert (host.record.epoch, host.record.standing) == (2, "superseded")


def test_the_own_acceptance_counts_before_the_decision(agent: Path, host: SiteHost, witness: SiteHost) -> None:
    host.write_record(epoch=2)
    witness.write_record(owner="dr", standing="none", offer={"epoch": 2, "to": "primary", "decided": False, "at": 1.0})
    with guarded(agent, host, *SLEEP) as process:
        becomes(process, SLEEP)


def test_an_unknown_instance_and_a_second_copy_are_refused(agent: Path, host: SiteHost) -> None:
    assert "'shop' is not an instance of the plan" in refused(agent, host, instance="shop")
    with guarded(agent, host, *SLEEP) as process:
        becomes(process, SLEEP)
        assert f"instance db runs already: process {process.pid}" in refused(agent, host)


def test_the_witness_is_asked_only_when_nothing_runs(agent: Path, host: SiteHost, witness_sshd: Sshd) -> None:
    host.write_site(peers={"w1": closed_peer(witness_sshd)})
    write_json(host.plan_dir / "running" / "web.json", {"pid": os.getpid(), "started": start_time(os.getpid())})
    with guarded(agent, host, *SLEEP) as process:
        becomes(process, SLEEP)
    assert told(host) == ""


def test_without_the_witness_it_waits_without_the_lock(agent: Path, host: SiteHost, witness_sshd: Sshd) -> None:
    host.write_site(peers={"w1": closed_peer(witness_sshd)})
    with guarded(agent, host, *SLEEP) as process:
        wait_until(lambda: "Waiting for the witness, asking again in 5 s." in told(host), "the guard says that it waits")
        with locked(host.plan_dir / "lock", timeout=0.1):
            pass
        assert process.poll() is None
    assert not (host.plan_dir / "running" / "db.json").exists()


def test_it_starts_when_the_witness_answers_at_last(agent: Path, host: SiteHost, witness: SiteHost) -> None:
    """A witness that knows no epoch of the plan may have lost its disk: that is no answer."""
    (witness.plan_dir / "ownership.json").unlink()
    with guarded(agent, host, *SLEEP) as process:
        wait_until(
            lambda: "the witness is mute about plan webshop (it knows no epoch of the plan" in told(host), "the guard says that it waits"
        )
        witness.write_record(owner="primary", standing="none")
        becomes(process, SLEEP)


def test_a_witness_from_a_backup_gives_no_answer(agent: Path, host: SiteHost, witness: SiteHost) -> None:
    """The plan has moved, and the witness was put back to a state in which it had not."""
    record = witness.plan_dir / "ownership.json"
    old = record.read_bytes()
    witness.write_record(epoch=2, owner="dr", standing="none")
    record.unlink()
    record.write_bytes(old)
    with guarded(agent, host, *SLEEP) as process:
        wait_until(lambda: "the witness is mute about plan webshop (restored: its record is a copy" in told(host), "the guard waits")
        perform(witness.state_dir, "webshop", (2, 1), {"request": "vouched", "records": [vouches("primary", 1), vouches("dr", 2)]})
        process.wait(30)
    assert process.returncode == 77
    assert (host.record.standing, host.record.heard) == ("superseded", witness.record.serial)


def vouches(site: str, epoch: int) -> dict[str, object]:
    return {"site": site, "epoch": epoch, "owner": "primary" if epoch == 1 else "dr", "declined": 0, "heard": 0}


def test_a_witness_whose_whole_disk_went_back_is_older_than_what_it_has_told(agent: Path, host: SiteHost, witness: SiteHost) -> None:
    with guarded(agent, host, *SLEEP) as process:
        becomes(process, SLEEP)
    heard = host.record.heard
    assert heard == witness.record.serial
    witness.write_record(owner="primary", standing="none", serial=heard - 2)
    (host.plan_dir / "running" / "db.json").unlink()
    with guarded(agent, host, *SLEEP):
        wait_until(lambda: f"it tells its state {heard - 1} after it had told state {heard}" in told(host), "the guard waits")


def test_boot_without_witness_start(agent: Path, host: SiteHost, witness_sshd: Sshd) -> None:
    host.write_site(peers={"w1": closed_peer(witness_sshd)}, boot_without_witness="start")
    with guarded(agent, host, *SLEEP) as process:
        becomes(process, SLEEP)
    assert "Starting without the witness, as boot_without_witness says" in told(host)


def test_a_witness_that_is_no_peer_is_an_error(agent: Path, host: SiteHost) -> None:
    host.write_site(peers={})
    done = subprocess.run(command(agent, host, *SLEEP), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "the witness w1 is not a peer of this host" in done.stderr) == (1, True)


# -- the boot -------------------------------------------------------------------------------------------------


def boot(agent: Path, host: SiteHost) -> subprocess.CompletedProcess[str]:
    words = [PYTHON, str(agent), "boot", "--state-dir", str(host.state_dir), "--plan", "webshop"]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_a_boot_starts_by_priority_and_only_for_the_owner(agent: Path, witness_sshd: Sshd, witness: SiteHost) -> None:
    with supervisord_folder() as server:
        host = site_host(server.folder / "state")
        host.write_site(peers={"w1": witness_sshd.peer()}, supervisor_socket=str(server.socket))
        priorities = {"web": 2, "db": 1}
        host.write_plan(instances={name: {"driver": "supervisor", "group": name, "priority": each} for name, each in priorities.items()})
        for name in priorities:
            server.program(name, " ".join(command(agent, host, *SLEEP, instance=name)))
        with server.started():
            witness.write_record(epoch=2, owner="dr", standing="none")
            nothing = boot(agent, host)
            assert nothing.returncode == 77
            assert "nothing is started. hv1, plan webshop: primary does not own the plan: dr owns epoch 2" in nothing.stderr
            assert not (host.plan_dir / "running").exists()
            host.write_record(epoch=3)
            done = boot(agent, host)
            assert done.returncode == 0, done.stderr
            assert [line.split(":")[1].strip() for line in done.stderr.splitlines()] == ["db", "web"]
            assert {name: read_json(host.plan_dir / "running" / f"{name}.json")["pid"] for name in priorities}.keys() == {"db", "web"}


# -- the channel's far end ------------------------------------------------------------------------------------


def peer_of(server: Sshd) -> Peer:
    fields = server.peer()
    return Peer("w1", str(fields["address"]), server.port, str(fields["user"]), str(fields["key"]), str(fields["known_hosts"]))


def test_a_peer_may_ask_for_the_record_a_ping_and_the_version(agent: Path, witness: SiteHost, witness_sshd: Sshd) -> None:
    peer = peer_of(witness_sshd)
    assert records.from_json(json.loads(run(peer, "record", "webshop", timeout=20))) == witness.record
    assert '"host": "hv1"' in run(peer, "ping", timeout=20)
    version = subprocess.run([PYTHON, str(agent), "version"], capture_output=True, text=True, timeout=20, check=True).stdout
    assert run(peer, "version", timeout=20) == version


@pytest.mark.parametrize(
    "words",
    [[], ["guard", "--plan", "webshop"], ["sh", "-c", "echo harm"], ["record", "../../etc"], ["record", "webshop", ";", "id"], ["boot"],
     ["record", "--state-dir", "/", "webshop"], ["lease-keeper", "--plan", "webshop"], ["record", "'unbalanced"]],
    ids=lambda words: " ".join(words) or "nothing",
)  # fmt: skip
def test_a_peer_may_ask_for_nothing_else(witness: SiteHost, witness_sshd: Sshd, words: list[str]) -> None:
    done = subprocess.run([*argv(peer_of(witness_sshd), "ping")[:-1], *words], capture_output=True, timeout=20, check=False, input=b"")
    assert done.returncode in (1, 2)
    assert done.stdout == b""


def test_the_channel_says_what_is_wrong(witness: SiteHost, witness_sshd: Sshd) -> None:
    with pytest.raises(XdrError, match="is not a name of a plan"):
        run(peer_of(witness_sshd), "record", "a b", timeout=20)
