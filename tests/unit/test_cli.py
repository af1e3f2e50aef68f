# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The command line: what each command prints, and the exit code of each way to fail."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.plugin_utils.plan import schema_text
from typer.testing import CliRunner, Result

from portal import PROJECT, following, var_folder
from portal.actions import asked
from portal.cli import app
from portal.preview import built
from portal.results import RunResult
from portal.store import Store, accounts, audit, observations, runs
from portal.store.runs import Run
from portal.worker.execution import requested
from tests.support.portal import HOSTS, Portal, check_result, plan, seen
from tests.support.processes import free_port
from tests.support.site_host import site_host
from tests.support.windows import PEOPLE, environment, recurring


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PROJECT / "inventories" / "lab", tmp_path / "inventory"))


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDR_VAR", str(tmp_path / "var"))


def xdr(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.mark.parametrize(
    "args",
    [
        ["--no-such-option"],
        ["no-such-command"],
        ["run", "no-such-action", "webshop"],
        ["run", "failback"],
        ["run", "failback", "webshop", "--attest-primary-is-off", "x"],
        ["run", "failback", "webshop", "--recovery-point", "cycle-7"],
        ["run", "resolve", "webshop", "--keep", "dr", "--confirm", "webshop"],
        ["run", "resolve", "webshop", "--reason", "x", "--confirm", "webshop"],
        ["plan", "validate", "no-such-file.yml"],
    ],
)
def test_bad_options_end_with_5(args: list[str]) -> None:
    result = xdr(*args)
    assert result.exit_code == 5
    assert result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "Confirm it: --confirm webshop"),
        (("--confirm", "shop"), "Confirm it: --confirm webshop"),
        (("--confirm", "webshop", "--keep", "both"), "'both' is no side of a plan"),
    ],
)
def test_a_side_is_given_up_only_in_plain_words(inventory: Path, options: tuple[str, ...], told: str) -> None:
    result = xdr("run", "resolve", "webshop", "--keep", "dr", "--reason", "why", *options, "-i", inventory)
    assert (result.exit_code, told in result.stderr) == (5, True)
    assert "resolve" not in xdr("run", "list", "-i", inventory).stdout


def test_a_store_is_made_upgraded_and_refused_when_a_newer_program_wrote_it(inventory: Path, tmp_path: Path) -> None:
    assert "the store has version" in xdr("db", "upgrade", "-i", inventory).stdout
    with contextlib.closing(sqlite3.connect(tmp_path / "var" / "xdr.sqlite")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    for command in (["run", "list"], ["run", "failback", "webshop"], ["worker"], ["portal"], ["user", "list"], ["db", "upgrade"]):
        result = xdr(*command, "-i", inventory)
        assert result.exit_code == 1, command
        assert "the store was written by a newer version of this program (its version is 9999" in result.stderr
        assert "Run the newer program" in result.stderr


@pytest.mark.parametrize(
    "command", [["worker"], ["portal"], ["run", "list"], ["run", "start", "webshop"], ["user", "list"], ["db", "upgrade"]]
)
def test_a_database_that_does_not_answer(command: list[str], inventory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDR_DATABASE_URL", f"postgresql://xdr:top-secret@127.0.0.1:{free_port()}/xdr")
    done = xdr(*command, "-i", inventory)
    assert done.exit_code == 1
    assert "the database does not answer" in done.stderr
    assert "top-secret" not in done.output


def test_the_first_start_of_the_portal_prints_a_password_once(inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for login, and is kept nowhere; a later start prints nothing."""
    served: list[tuple[Path, object]] = []

    def serve(folder: Path, **options: object) -> int:
        served.append((folder, options["port"]))
        return 0

    monkeypatch.setattr("portal.web.server.serve", serve)
    first = xdr("portal", "-i", inventory, "--port", "8301")
    found = re.fullmatch(r"This is the first start: log in as admin with the password (\S+)\n", first.output)
    assert found, first.output
    assert first.exit_code == 0
    with contextlib.closing(following.open_store(inventory)) as store:
        assert accounts.all_users(store) == [accounts.User("admin", accounts.Role.dr_admin)]
        assert accounts.login(store, "admin", found[1])
        assert accounts.login(store, "admin", f"{found[1]}x") is None
    again = xdr("portal", "-i", inventory, "--port", "8301")
    assert (again.exit_code, again.output) == (0, "")
    assert served == [(inventory, 8301)] * 2
    kept = [path for path in (tmp_path / "var").rglob("*") if path.is_file()]
    assert kept
    assert [path for path in kept if found[1].encode() in path.read_bytes()] == []


def test_a_backup_and_the_way_back(inventory: Path, tmp_path: Path) -> None:
    xdr("db", "upgrade", "-i", inventory)
    copy = tmp_path / "copy"
    assert xdr("backup", copy, "-i", inventory).exit_code == 0
    for command in ("backup", "restore"):
        refused = xdr(command, copy, "-i", inventory)
        assert refused.exit_code == 5
        assert "--force" in refused.stderr
    assert "is restored" in xdr("restore", copy, "--force", "-i", inventory).stdout


@pytest.mark.parametrize("command", [["plan", "show"], ["run", "failback"], ["status"]])
def test_a_plan_that_is_not_there(command: list[str], inventory: Path) -> None:
    result = xdr(*command, "nix", "-i", inventory)
    assert result.exit_code == 5
    assert "no plan is named 'nix'. It has: webshop" in result.stderr


@pytest.mark.parametrize("command", [["plan", "validate"], ["site", "list"], ["site", "test"], ["status"], ["run", "failback", "webshop"]])
def test_an_inventory_that_is_not_there(command: list[str], tmp_path: Path) -> None:
    result = xdr(*command, "-i", tmp_path / "none")
    assert result.exit_code == 5
    assert "there is no such inventory" in result.stderr


def test_validate(inventory: Path) -> None:
    for what in ("", "webshop", str(inventory / "plans" / "webshop.yml")):
        result = xdr("plan", "validate", *([what] if what else []), "-i", inventory)
        assert result.exit_code == 0
        assert result.stdout.startswith("webshop: valid, 3 groups, 7 resources, 7 volumes")


@pytest.mark.parametrize("command", [["plan", "validate"], ["run", "failback", "webshop"]])
def test_a_wrong_plan(command: list[str], inventory: Path) -> None:
    path = inventory / "plans" / "webshop.yml"
    path.write_text(path.read_text().replace("rpo: 5m", "rpo: 5x"))
    result = xdr(*command, "-i", inventory)
    assert result.exit_code == 4
    assert "webshop.yml:5" in result.stderr
    assert "targets.rpo" in result.stderr


def test_show(inventory: Path) -> None:
    text = xdr("plan", "show", "webshop", "-i", inventory).stdout
    assert "stops in reverse: frontend, application, database" in text
    document = json.loads(xdr("plan", "show", "webshop", "-i", inventory, "--json").stdout)
    assert "lease off: a failover of a site that does not answer needs an attestation" in " ".join(text.split())
    assert document["stop_order"] == ["frontend", "application", "database"]


def test_show_tells_the_lease(inventory: Path) -> None:
    with (inventory / "plans" / "webshop.yml").open("a", encoding="utf-8") as file:
        file.write("ownership: {lease: {ttl: 2m, loop_wait: 5s}}\n")
    told = " ".join(xdr("plan", "show", "webshop", "-i", inventory).stdout.split())
    assert "lease of 2 min, renewed every 5.0 s, each time within 10.0 s; when it has run out a failover needs no attestation" in told


def test_show_tells_what_was_last_seen_of_the_full_compare(inventory: Path) -> None:
    assert "in this direction" not in xdr("plan", "show", "webshop", "-i", inventory).stdout
    assert not (var_folder(inventory) / "xdr.sqlite").exists(), "to show a plan makes no store"
    with contextlib.closing(following.open_store(inventory)) as store:
        observations.put(store, observations.of_plan("webshop"), seen("REVERSING", compared=False))
    told = " ".join(xdr("plan", "show", "webshop", "-i", inventory).stdout.split())
    assert "both ends are read whole in the downtime, about 3.5 s" in told


def test_site_list(inventory: Path) -> None:
    document = json.loads(xdr("site", "list", "-i", inventory, "--json").stdout)
    assert [site["site"] for site in document["sites"]] == ["frankfurt", "amsterdam"]
    assert (document["witness"], document["warnings"]) == ("edge1", [])


def test_a_witness_inside_a_site_is_warned_of(inventory: Path) -> None:
    for name, old, new in (("plans.yml", "witness: edge1", "witness: ams-2"), ("hosts.yml", "ams-hv1:", "ams-hv1:\n            ams-2:")):
        (inventory / name).write_text((inventory / name).read_text().replace(old, new))
    result = xdr("site", "list", "-i", inventory)
    assert "warning: the witness ams-2 is inside the site amsterdam" in result.stdout


@pytest.fixture
def half_there(inventory: Path, tmp_path: Path) -> Path:
    """An environment in which frankfurt's host is this machine, without an agent, and no other answers."""
    lab = {
        "addresses": dict.fromkeys(HOSTS, "127.0.0.1"),
        "ssh_port": free_port(),
        "user": getpass.getuser(),
        "root": str(tmp_path / "lab"),
    }
    (inventory / "group_vars" / "all" / "lab.yml").write_text(json.dumps({"lab": lab}))
    (inventory / "host_vars").mkdir()
    (inventory / "host_vars" / "fra-hv1.yml").write_text(json.dumps({"ansible_connection": "local"}))
    site_host(tmp_path / "lab" / "fra-hv1" / "state")
    return inventory


def test_a_test_of_the_sites_is_a_run_and_all_pages_know_what_it_saw(half_there: Path) -> None:
    result = xdr("site", "test", "-i", half_there, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, set(told)) == (2, {"hosts", "connectivity", "exit_code", "error"})
    health = {one["host"]: one["health"] for one in told["hosts"]}
    assert health == {"fra-hv1": "Failed", "ams-hv1": "Unreachable", "edge1": "Unreachable"}
    from_here = [leg for leg in told["connectivity"] if leg["from"] == "controller"]
    assert {leg["to"]: leg["result"] for leg in from_here} == dict.fromkeys(HOSTS, "TCP")
    assert told["error"]
    assert told["error"] in result.stderr
    with contextlib.closing(following.open_store(half_there)) as store:
        [run] = runs.latest(store)
        assert (run.action, run.plan, run.exit_code, run.origin) == ("site-test", "all-plans", 2, "command line")
        [entry] = audit.latest(store)
        assert (entry.action, entry.who, entry.outcome, run.id in entry.detail) == ("site-test", following.me(), "done", True)
        seen = observations.get(store, observations.SITES)
        assert seen
        assert seen.document == told
    history = json.loads(xdr("site", "history", "amsterdam", "-i", half_there, "--json").stdout)
    assert {(one["check"], one["result"]) for one in history["checks"]} == {
        ("answers", "failed"),
        ("reached from the controller", "failed"),
    }


def test_schema(tmp_path: Path) -> None:
    assert xdr("schema", "export").stdout == schema_text()
    assert xdr("schema", "export", "--output", tmp_path / "schema.json").stdout == ""
    assert (tmp_path / "schema.json").read_text() == schema_text()


def test_another_run_is_active(inventory: Path, tmp_path: Path) -> None:
    lock = tmp_path / "var" / "plans" / "webshop.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps({"run_id": "r7", "action": "failback", "pid": 42, "at": 0.0}))
    with lock.open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        result = xdr("run", "replicate", "webshop", "-i", inventory, "--json")
    assert result.exit_code == 11
    assert "run r7 (failback) has been active since" in result.stderr
    assert json.loads(result.stdout)["code"] == "run_active"


def test_hosts_that_do_not_answer(inventory: Path) -> None:
    """No lab is there: its variables are missing, so no host can be reached; the run ends in a sentence, JSON on stdout alone."""
    result = xdr("run", "failback", "webshop", "-i", inventory, "--json")
    assert result.exit_code in (2, 4)
    document = json.loads(result.stdout)
    assert document["exit_code"] == result.exit_code
    assert document["error"]
    assert "Traceback" not in result.stderr


def test_a_chosen_recovery_point_reaches_the_playbook(inventory: Path) -> None:
    wanted = asked("failover", "webshop", by="ann", origin="command line", point="cycle-7")
    assert requested(wanted, inventory).extra_vars == {"plan": "webshop", "xdr_recovery_point": "cycle-7"}
    assert requested(asked("failover", "webshop", by="ann", origin="command line"), inventory).extra_vars == {"plan": "webshop"}


def test_what_is_no_name_of_a_recovery_point(inventory: Path) -> None:
    result = xdr("run", "failover", "webshop", "-i", inventory, "--recovery-point", "{{ 7 * 7 }}")
    assert result.exit_code == 5
    assert "is not a name of a recovery point" in result.stderr


def test_help_does_not_wait_for_what_it_does_not_need() -> None:
    code = "import sys, portal.cli; print(*sorted({'ansible_runner', 'paramiko', 'pydantic', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == ""


# -- questions and windows -----------------------------------------------------------------------------------------


@pytest.fixture
def halted(inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A failback that asks, and sites that answer what the portal's tests see; what is asked for is kept, not executed."""
    portal = Portal(tmp_path / "var", inventory, users=False)
    run = portal.halts()
    found = observations.get(portal.store, observations.of_plan("webshop"))
    assert found
    document = found.document
    monkeypatch.setattr("portal.status.read", lambda plan, folder: document)

    def execute(store: Store, folder: Path, wanted: Run, listener: object) -> RunResult:
        runs.request(store, wanted)
        return RunResult(wanted.id, wanted.action, wanted.plan, 0, "", "", stopped=False, seconds=1.0, changed=3)

    monkeypatch.setattr(following, "execute", execute)
    yield run
    portal.store.close()


def test_what_a_halted_failback_asks_is_told_by_status_and_show(halted: Run, inventory: Path) -> None:
    for command in (["status", "webshop"], ["run", "show", halted.id]):
        told = " ".join(xdr(*command, "-i", inventory).stdout.split())
        assert "frankfurt (fra-hv1): orders-db, customers-db" in told
        assert "amsterdam (ams-hv1): nothing runs [as read at " in told
        assert "Recommended: only health checks failed" in told
        assert f"xdr run answer {halted.id} retry|skip|abort" in told
    assert json.loads(xdr("status", "-i", inventory, "--json").stdout)[0]["question"]["recommended"] == "retry"
    shown = xdr("run", "show", halted.id, "-i", inventory, "--json")
    assert (shown.exit_code, json.loads(shown.stdout)["question"]["run"]) == (2, halted.id)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["skip"], 5, "skip needs a reason"),
        (["skip", "--reason", "{{ 7 * 7 }}"], 5, "a reason is plain text"),
        (["maybe"], 5, "expected retry, skip or abort"),
        ([], 5, "Missing argument"),
    ],
)
def test_what_is_no_answer(halted: Run, inventory: Path, words: list[str], code: int, says: str) -> None:
    result = xdr("run", "answer", halted.id, *words, "-i", inventory)
    assert result.exit_code == code
    assert says in result.stderr


def test_an_answer_is_carried_out_once(halted: Run, inventory: Path) -> None:
    result = xdr("run", "answer", halted.id, "skip", "--reason", "the check is wrong", "-i", inventory)
    assert result.exit_code == 0
    assert "failback webshop: done" in result.stdout
    with contextlib.closing(following.open_store(inventory)) as store:
        newest = runs.newest_move(store, "webshop")
        assert newest
        assert (newest.action, newest.arguments["answer"]["reason"]) == ("failback", "the check is wrong")
        for ended in (False, True):
            second = xdr("run", "answer", halted.id, "abort", "-i", inventory, "--json")
            assert second.exit_code == 12
            assert json.loads(second.stdout)["code"] == "wrong_state"
            assert "asks nothing, or does not any more" in second.stderr
            if not ended:
                runs.finish(store, newest.id, {"exit_code": 2, "code": "", "error": "no"})
        refused = audit.latest(store, 1)[0]
        assert (refused.action, refused.outcome) == ("answer abort", "refused")


def test_an_answer_that_is_not_safe_is_refused(halted: Run, inventory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = {"id": halted.id, "action": "failback", "phases": {"start_instances/database": {"intent": 1.0, "done": None}}}
    monkeypatch.setattr("portal.status.read", lambda plan, folder: seen("HALTED", "primary", run={**marks, "plan_hash": ""}))
    result = xdr("run", "answer", halted.id, "skip", "--reason", "why not", "-i", inventory)
    assert result.exit_code == 10
    assert "A start is never skipped" in result.stderr
    assert xdr("run", "answer", "no-such-run", "retry", "-i", inventory).exit_code == 5


@pytest.mark.parametrize(
    ("until", "code", "says"), [("soon", 5, "expected a time such as 05:00"), ("2020-01-01T05:00", 10, "has passed already")]
)
def test_a_window_that_is_none(inventory: Path, until: str, code: int, says: str) -> None:
    result = xdr("run", "failback", "webshop", "--until", until, "-i", inventory, "--json")
    assert result.exit_code == code
    assert says in result.stderr
    assert json.loads(result.stdout)["exit_code"] == code


def test_a_window_and_its_deadline_are_kept_with_the_run(halted: Run, inventory: Path) -> None:
    assert xdr("run", "failback", "webshop", "--until", "2099-01-01T05:00", "-i", inventory).exit_code == 0
    with contextlib.closing(following.open_store(inventory)) as store:
        run = runs.newest_move(store, "webshop")
        assert run
        assert run.arguments["window"]["told"].startswith("2099-01-01 04:55:00: the window ends at 2099-01-01 05:00:00, less 5 min")
    shown = xdr("run", "show", run.id, "-i", inventory)
    assert "less 5 min for a rollback (assumed" in " ".join(shown.stdout.split())
    assert requested(run, inventory).downtime == 300


def test_a_run_whose_lent_worker_let_go_ends_with_what_to_do(inventory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.worker.worker.run_one", lambda folder, run_id: None)
    result = xdr("run", "replicate", "webshop", "-i", inventory)
    assert result.exit_code == 1
    assert "the worker of this command has let go of the run" in " ".join(result.stderr.split())
    assert "Give the same command again: it goes on from there" in " ".join(result.stderr.split())


# -- maintenance windows -------------------------------------------------------------------------------------------


@pytest.fixture
def windowed(tmp_path: Path) -> Path:
    """Its window opens in two days."""
    (tmp_path / "windowed").mkdir()
    return environment(tmp_path / "windowed", recurring(time.time() + 2 * 86_400) + PEOPLE)


def test_a_failback_outside_of_the_windows_ends_with_10(halted: Run, windowed: Path) -> None:
    with contextlib.closing(following.open_store(windowed)) as store:
        observations.put(store, observations.of_plan("webshop"), seen("READY"))
        result = xdr("run", "failback", "webshop", "-i", windowed, "--json")
        assert (result.exit_code, json.loads(result.stdout)["code"]) == (10, "gate_refused")
        assert "no maintenance window is open; the next is sunday-night" in result.stderr
        assert "--override-window" in result.stderr
        entry = audit.latest(store, 1)[0]
        assert (entry.action, entry.outcome) == ("failback", "refused")
        assert xdr("run", "failback", "webshop", "--check", "-i", windowed).exit_code == 0  # it changes nothing
        assert xdr("run", "failback", "webshop", "--override-window", "it burns", "-i", windowed).exit_code == 0
        newest = runs.newest_move(store, "webshop")
        assert newest
        assert newest.arguments == {"override_window": "it burns"}
        assert "override_window: it burns" in audit.latest(store, 1)[0].detail


def test_windows_are_listed_added_asked_about_answered_cancelled_and_exported(windowed: Path, tmp_path: Path) -> None:
    made = xdr("window", "add", "webshop", "--start", "2027-06-01T02:00", "--duration", "2h", "-i", windowed, "--json")
    assert made.exit_code == 0
    assert json.loads(made.stdout)["begin"] == "2027-06-01T02:00:00+02:00"
    first = json.loads(xdr("window", "list", "-i", windowed, "--json").stdout)[0]
    key = first["key"]
    assert (first["name"], first["consent"]["cleared"], [one["name"] for one in first["answers"]]) == (
        "sunday-night",
        True,
        ["Anna Weber", "Ben Koch", "Sales"],
    )
    assert xdr("window", "ask", "webshop", key, "-i", windowed).stdout == "asked: Anna Weber, Ben Koch, Sales\n"
    refused = xdr("window", "answer", "webshop", key, "Sales", "object", "-i", windowed)
    assert (refused.exit_code, "an objection needs a reason" in refused.stderr) == (5, True)
    assert xdr("window", "answer", "webshop", key, "Sales", "object", "--text", "stock", "-i", windowed).exit_code == 0
    assert "Sales objects: stock" in " ".join(xdr("window", "list", "webshop", "-i", windowed).stdout.split())
    assert xdr("window", "cancel", "webshop", key, "--reason", "stock", "-i", windowed).exit_code == 0
    assert xdr("window", "cancel", "webshop", key, "--reason", "again", "-i", windowed).exit_code == 12
    assert xdr("window", "export", "-i", windowed, "-o", tmp_path / "x.ics").exit_code == 0
    assert b"STATUS:CANCELLED" in (tmp_path / "x.ics").read_bytes()


def test_status_tells_that_a_plan_is_scheduled(windowed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.status.read", lambda plan, folder: seen("READY"))
    following.open_store(windowed).close()
    told = " ".join(xdr("status", "webshop", "-i", windowed).stdout.split())
    assert "READY SCHEDULED" in told
    assert "and begins the failback" in told
    document = json.loads(xdr("status", "webshop", "-i", windowed, "--json").stdout)
    assert document["window"]["scheduled"]["name"] == "sunday-night"


# -- previews ------------------------------------------------------------------------------------------------------


@pytest.fixture
def previewing(inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Check runs come to their preview, of the plan as the portal's tests see it; any other is kept, not executed."""
    portal = Portal(tmp_path / "var", inventory, users=False)

    def execute(store: Store, folder: Path, wanted: Run, listener: object) -> RunResult:
        run = runs.request(store, wanted)
        if run.check:
            told = check_result(run, plan(), seen())
            runs.finish(store, run.id, {**told, "preview": built(run, told, [])})
            return following.result_of(runs.get(store, run.id))
        return RunResult(run.id, run.action, run.plan, 0, "", "", stopped=False, seconds=1.0, changed=3)

    monkeypatch.setattr(following, "execute", execute)
    yield portal.store
    portal.store.close()


def test_a_preview_is_printed_approved_and_started(previewing: Store, inventory: Path) -> None:
    printed = xdr("run", "preview", "failback", "webshop", "-i", inventory)
    told = " ".join(printed.stdout.split())
    assert printed.exit_code == 0
    for sentence in (
        "PREVIEW: nothing is changed",
        "sends 28.0 KiB",
        "lag open replication_lag of at most 16.0 MiB",
        "not predicted: How long each takes to stop",
        "!!! C2: No rollback after this",
        "7. Start and check the services in frankfurt [no history]",
    ):
        assert sentence in told
    (run,) = runs.latest(previewing)
    approved = xdr("run", "approve", run.id, "--note", "fine", "-i", inventory, "--json")
    assert json.loads(approved.stdout)["note"] == "fine"
    made = json.loads(approved.stdout)["hash"]
    assert f"xdr run failback webshop --approved {made[:12]}" in xdr("run", "approve", run.id, "-i", inventory).stdout
    assert xdr("run", "failback", "webshop", "--approved", made[:12], "-i", inventory).exit_code == 0
    begun = runs.active(previewing, "webshop")
    assert begun
    assert begun.arguments["approved"]["hash"] == made
    assert "approved it" in audit.latest(previewing, 1)[0].detail


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["preview", "status", "webshop"], 5, "status has no preview. It is one of: start,"),
        (["preview", "failback", "shop"], 5, "no plan is named 'shop'"),
        (["approve", "nothing"], 5, "no run is named 'nothing'"),
        (["failback", "webshop", "--approved", "0123456789"], 10, "nobody has approved '0123456789' for failback"),
        (["failover", "webshop", "--without-approval", "in haste"], 5, "takes no second person"),
    ],
)
def test_what_is_no_preview_and_no_approval(previewing: Store, inventory: Path, words: list[str], code: int, says: str) -> None:
    result = xdr("run", *words, "-i", inventory)
    assert (result.exit_code, says in " ".join(result.stderr.split())) == (code, True), result.stderr
    assert runs.active(previewing, "webshop") is None
