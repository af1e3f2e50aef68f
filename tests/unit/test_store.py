# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The store on SQLite and on a real PostgreSQL: the same table of tests for both."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal.store import Store, accounts, audit, events, invitations, migration, observations, runs, tables, workers
from portal.store.accounts import Role
from portal.store.engine import Pulse
from portal.store.invitations import Invitation
from portal.store.runs import Run
from portal.store.tables import metadata
from portal.store.workers import LeaseLost, Worker

DAY = 24 * 3600.0


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets the clock of the accounts go forward."""
    real = accounts.time.time

    def move(seconds: float) -> None:
        monkeypatch.setattr(accounts.time, "time", lambda: real() + seconds)

    return move


def run(number: int = 1, **fields: object) -> Run:
    return replace(Run(f"r{number}", "webshop", "failback", requested_by="ann"), **fields)  # type: ignore[arg-type]


# -- version ---------------------------------------------------------------------------------------------------


def test_migrations_make_what_the_tables_say(store: Store) -> None:
    with store.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_version_is_that_of_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(migration.FOLDER))
    assert ScriptDirectory.from_config(config).get_current_head() == migration.head()


def test_opened_again_nothing_changes(store: Store, url: str) -> None:
    runs.request(store, run())
    again = Store.open(url)
    assert runs.get(again, "r1") == runs.get(store, "r1")
    assert migration.upgrade(again) == (migration.head(), migration.head())
    again.close()


def test_a_store_of_a_newer_version_is_refused_and_left_alone(store: Store, url: str) -> None:
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for refused in (lambda: Store.open(url), lambda: migration.upgrade(store)):
        with pytest.raises(XdrError, match="written by a newer version") as error:
            refused()
        assert error.value.code == "store_newer"
    assert migration.version(store) == "9999"


def test_an_older_store_waits_for_its_upgrade(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "head", lambda: "9998")
    with pytest.raises(XdrError, match="xdr db upgrade") as error:
        Store.open(url)
    assert error.value.code == "store_older"


def test_of_many_that_open_a_new_store_at_once_one_makes_it(url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        for store in pool.map(Store.open, [url] * 6):
            assert migration.version(store) == migration.head()
            store.close()


def test_a_store_of_the_first_version_is_upgraded_with_its_runs(url: str) -> None:
    store = Store(url)
    with store.writing() as connection:
        command.upgrade(migration._config(connection), "0001")
        old = {column.name: None for column in tables.runs.columns if column.nullable and column.name != "launches"}
        old |= {
            "id": "r1",
            "plan": "webshop",
            "action": "failback",
            "check": False,
            "exclusive": True,
            "status": "queued",
            "origin": "portal",
        }
        old |= {"arguments": {}, "requested_by": "ann", "requested_at": 1.0, "attempts": 0, "worker": "", "message": "", "message_by": ""}
        connection.execute(tables.runs.insert().values(**old, code="", error=""))
    with pytest.raises(XdrError, match="xdr db upgrade"):
        Store.open(url)
    assert migration.upgrade(store) == ("0001", migration.head())
    assert (runs.get(store, "r1").requested_by, runs.get(store, "r1").launches) == ("ann", None)
    store.close()


def test_a_new_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    Store.open(f"sqlite:///{tmp_path / 'var' / 'xdr.sqlite'}").close()
    assert (tmp_path / "var" / "xdr.sqlite").stat().st_mode & 0o077 == 0


# -- runs ------------------------------------------------------------------------------------------------------


LEAVES = "import sys, sqlite3; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT count(*) FROM runs').fetchone(); c.close()"


def test_a_second_store_of_one_process_leaves_its_locks_alone(tmp_path: Path) -> None:
    """As the worker is that a command lends itself. Another process that came and went took the log away, and what was written was lost."""
    file = tmp_path / "xdr.sqlite"
    log = tmp_path / "xdr.sqlite-wal"
    with contextlib.closing(Store.open(f"sqlite:///{file}")) as first:
        accounts.add(first, "otto", Role.operator)
        before = log.stat().st_ino
        with contextlib.closing(Store.open(f"sqlite:///{file}")):
            subprocess.run([sys.executable, "-c", LEAVES, str(file)], check=True)
        assert log.stat().st_ino == before


def test_a_run_from_its_request_to_its_end(store: Store) -> None:
    runs.request(store, run(arguments={"attestation": "ann saw it"}))
    assert (runs.get(store, "r1").status, runs.active(store, "webshop")) == ("queued", runs.get(store, "r1"))
    assert [runs.begin(store, "r1", "w1"), runs.begin(store, "r1", "w2")] == [1, 2]
    begun = runs.get(store, "r1")
    assert (begun.status, begun.attempts, begun.worker, [one.id for one in runs.unended(store, "w2")]) == ("running", 2, "w2", ["r1"])
    result = {"exit_code": 2, "code": "x", "error": "it broke", "changed": 3}
    runs.finish(store, "r1", result)
    runs.finish(store, "r1", {**result, "exit_code": 0})  # a second worker's word comes too late
    ended = runs.get(store, "r1")
    assert (ended.status, ended.exit_code, ended.code, ended.error, ended.result) == ("ended", 2, "x", "it broke", result)
    assert (runs.begin(store, "r1", "w1"), runs.active(store, "webshop"), runs.unended(store)) == (0, None, [])
    assert [(one.who, one.action, one.outcome) for one in audit.latest(store)] == [("ann", "failback", "done")]
    assert "ann saw it" in audit.latest(store)[0].detail


def test_a_second_click_is_told_which_run_is_active(store: Store) -> None:
    runs.request(store, run(1))
    with pytest.raises(XdrError, match=r"run r1 \(failback, asked for by ann at .*\) is active") as error:
        runs.request(store, run(2, action="reprotect", requested_by="bob"))
    assert error.value.code == "run_active"
    assert [(one.who, one.outcome) for one in audit.latest(store)] == [("bob", "refused"), ("ann", "done")]
    runs.request(store, run(3, check=True, exclusive=False))
    runs.request(store, run(4, plan="other"))
    assert {one.id for one in runs.latest(store)} == {"r1", "r3", "r4"}


def test_of_many_clicks_at_once_one_wins(store: Store) -> None:
    def click(number: int) -> str:
        try:
            return runs.request(store, run(number)).id
        except XdrError as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(click, range(16)))
    assert sorted(answers)[1:] == ["run_active"] * 15
    assert [one.id for one in runs.unended(store)] == [min(answers)]


def test_a_cycle_gives_way(store: Store) -> None:
    cycle = run(1, action="replicate", origin=runs.SCHEDULE, exclusive=False)
    runs.request(store, cycle)
    assert runs.message(store, "r1") == ""
    runs.request(store, run(2))
    assert (runs.message(store, "r1"), runs.get(store, "r1").message_by, runs.message(store, "r2")) == ("stop", "run r2", "")
    assert [one.id for one in runs.latest(store)] == ["r2"]
    assert [one.id for one in runs.latest(store, cycles=True)] == ["r2", "r1"]
    assert [one.action for one in audit.latest(store)] == ["failback"]  # nobody asked for the cycle


def at_once(count: int, what: Callable[[int], Any]) -> list[Any]:
    """What came of so many calls by threads that begin together; an XdrError is its sentence."""
    together = threading.Barrier(count)

    def one(number: int) -> Any:
        together.wait(20)
        try:
            return what(number)
        except XdrError as error:
            return error.sentence()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_of_many_workers_that_ask_a_person_at_once_one_does(store: Store) -> None:
    wanted = Invitation("shop", "night@1", "Anna Weber", 1.0, 2.0, "UTC", 0.5, "schedule")
    assert sorted(len(asked) for asked in at_once(4, lambda _: invitations.ask(store, [wanted], origin="schedule"))) == [0, 0, 0, 1]
    assert len(invitations.of(store, ["shop"], 0.0)) == 1


def test_of_many_that_add_a_user_at_once_one_does(store: Store) -> None:
    told = at_once(4, lambda number: accounts.add(store, "ann", Role.viewer, f"long enough a password {number}"))
    [password] = [one for one in told if "there is a user ann already" not in one]
    assert accounts.login(store, "ann", password)


def test_a_queued_run_is_stopped_at_once(store: Store) -> None:
    runs.request(store, run(1))
    stopped = runs.send(store, "r1", runs.STOP, by="bob", origin="portal")
    assert (stopped.status, stopped.exit_code, stopped.code) == ("ended", 1, "stopped")
    assert stopped.error == "the run was stopped by bob before it had begun; nothing was changed"
    assert runs.begin(store, "r1", "w1") == 0


def test_messages(store: Store) -> None:
    runs.request(store, run(1))
    runs.begin(store, "r1", "w1")
    assert runs.send(store, "r1", runs.STOP, by="bob", origin="portal").message == "stop"
    assert runs.send(store, "r1", runs.ROLLBACK, by="cid", origin="portal").message_by == "cid"
    assert runs.send(store, "r1", runs.STOP, by="bob", origin="portal").message == "rollback"
    runs.finish(store, "r1", {"exit_code": 0, "code": "", "error": ""})
    for run_id, message, code in (("r1", runs.STOP, "wrong_state"), ("r9", runs.STOP, "usage")):
        with pytest.raises(XdrError) as error:
            runs.send(store, run_id, message, by="bob", origin="portal")
        assert error.value.code == code
    runs.request(store, run(2, action="reprotect"))
    with pytest.raises(XdrError, match="only a failback is rolled back"):
        runs.send(store, "r2", runs.ROLLBACK, by="bob", origin="portal")
    assert [(one.action, one.outcome) for one in audit.latest(store)][:2] == [("rollback", "refused"), ("reprotect", "done")]


def test_a_run_that_begins_while_it_is_stopped_either_begins_or_ends(store: Store) -> None:
    for number in range(10):
        runs.request(store, run(number, plan=f"plan-{number}"))
    with ThreadPoolExecutor(2) as pool:
        for number in range(10):
            begun = pool.submit(runs.begin, store, f"r{number}", "w1")
            pool.submit(runs.send, store, f"r{number}", runs.STOP, by="bob", origin="portal").result()
            assert (begun.result() == 0) == runs.get(store, f"r{number}").ended


def answering(of: str, number: int) -> Run:
    answer = {"of": of, "answer": "skip", "skips": ["web"], "reason": "it is wrong", "told": f"skip to what run {of} asked"}
    return run(number, arguments={"answer": answer})


def test_an_answer_is_an_event_of_the_run_that_it_leads_to_and_the_second_comes_too_late(store: Store) -> None:
    failed = {"exit_code": 2, "code": "", "error": "no"}
    runs.request(store, run(1))
    with pytest.raises(XdrError, match="run r1 does not ask any more") as late:
        runs.request(store, answering("r1", 2))  # it has not ended yet
    assert late.value.code == "wrong_state"
    runs.finish(store, "r1", failed)
    assert runs.newest_move(store, "webshop") == runs.get(store, "r1")
    runs.request(store, run(2, action="replicate"))
    runs.finish(store, "r2", failed)  # asks nothing, and hides nothing

    runs.request(store, answering("r1", 3))
    [told] = events.after(store, "r3")
    assert (told["kind"], told["text"]) == ("message", "ann answered: skip to what run r1 asked")
    assert audit.latest(store, 1)[0].detail == "run r3. answer: skip to what run r1 asked"
    assert runs.answer_to(store, runs.get(store, "r1")) == runs.get(store, "r3")
    for ended in (False, True):
        if ended:
            runs.finish(store, "r3", failed)
        with pytest.raises(XdrError) as late:
            runs.request(store, answering("r1", 4))
        assert late.value.code == "wrong_state"
        assert audit.latest(store, 1)[0].outcome == "refused"
    runs.request(store, answering("r3", 4))
    assert runs.answer_to(store, runs.get(store, "r2")) is None


def test_of_many_answers_at_once_one_counts(store: Store) -> None:
    runs.request(store, run(0))
    runs.finish(store, "r0", {"exit_code": 2, "code": "", "error": "no"})

    def ask(number: int) -> str:
        try:
            return runs.request(store, answering("r0", number)).id
        except XdrError as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(ask, range(1, 9)))
    assert sorted(outcomes)[1:] == ["wrong_state"] * 7


@pytest.mark.parametrize(
    ("messages", "last"),
    [
        (["deadline"], "deadline"),
        (["deadline", "stop"], "deadline"),
        (["deadline", "rollback"], "rollback"),  # a person's, also after the hand-over
        (["stop", "deadline"], "stop"),
        (["stop_after", "deadline"], "deadline"),  # the step may take too long
        (["stop_after", "stop"], "stop"),
        (["stop", "stop_after"], "stop"),
        (["stop_after", "rollback"], "rollback"),
        (["rollback", "stop_after"], "rollback"),
        (["rollback", "deadline"], "rollback"),
    ],
)
def test_the_deadline_as_a_message(store: Store, messages: list[str], last: str) -> None:
    runs.request(store, run())
    runs.begin(store, "r1", "w")
    for message in messages:
        runs.send(store, "r1", message, by=message, origin="x", told="it passed" if message == "deadline" else "")
    assert (runs.get(store, "r1").message, runs.get(store, "r1").message_by) == (last, last)
    told = [event["text"] for event in events.after(store, "r1")]
    assert told == ["it passed"] * (messages[0] == "deadline" or messages == ["stop_after", "deadline"])


def test_runs_of_the_dead_are_abandoned(store: Store) -> None:
    runs.request(store, run(1))
    assert runs.abandon(store, "webshop", bool) == []  # it waits for a worker
    runs.begin(store, "r1", "hv-0")
    assert runs.abandon(store, "webshop", "hv-1".__eq__) == []
    assert runs.abandon(store, "other", "hv-0".__eq__) == []
    assert runs.abandon(store, "webshop", "hv-0".__eq__) == ["r1"]
    assert (runs.get(store, "r1").code, runs.active(store, "webshop")) == ("abandoned", None)


# -- events ----------------------------------------------------------------------------------------------------


def test_events_are_numbered_without_gaps_whoever_writes(store: Store) -> None:
    runs.request(store, run(1))
    runs.request(store, run(2, plan="other"))

    def write(number: int) -> int:
        name = f"r{1 + number % 2}"
        return events.append(store, name, [{"at": 1.0, "kind": "message", "writer": number, "seq": 77, "run": "?"}] * 3)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(20)))
    for name in ("r1", "r2"):
        found = events.after(store, name)
        assert [one["seq"] for one in found] == list(range(1, 31))
        assert {one["run"] for one in found} == {name}
        writers = [one["writer"] for one in found]
        assert all(len(set(writers[at : at + 3])) == 1 for at in range(0, 30, 3))  # a batch stays together
    assert events.append(store, "r1", []) == events.last(store, "r1") == 30
    assert [one["seq"] for one in events.after(store, "r1", 27)] == [28, 29, 30]
    assert [one["seq"] for one in events.after(store, "r1", 3, limit=2)] == [4, 5]


def test_a_batch_that_came_through_without_an_answer_is_kept_once(store: Store) -> None:
    runs.request(store, run(1))
    batch = [{"at": 1.0, "kind": "message"}] * 3
    assert [events.append(store, "r1", batch, after=0), events.append(store, "r1", batch, after=0)] == [3, 3]
    assert [events.append(store, "r1", batch, after=3), events.last(store, "r1")] == [6, 6]


@pytest.mark.parametrize("table", ["events", "audit"])
@pytest.mark.parametrize("change", ["UPDATE {} SET at = 2", "DELETE FROM {}"])
def test_the_ledger_is_only_appended_to(store: Store, table: str, change: str) -> None:
    runs.request(store, run())
    events.append(store, "r1", [{"at": 1.0, "kind": "message"}])
    with pytest.raises(sa.exc.DBAPIError, match=f"{table} are only appended"), store.writing() as connection:
        connection.exec_driver_sql(change.format(table))
    assert (len(events.after(store, "r1")), len(audit.latest(store))) == (1, 1)


# -- observations, workers -------------------------------------------------------------------------------------


def test_what_was_seen_stays_when_a_later_look_fails(store: Store) -> None:
    subject = observations.of_plan("webshop")
    assert observations.get(store, subject) is None
    observations.failed(store, subject, "no answer")
    assert observations.get(store, subject) == observations.Observation(subject, 0.0, None, "no answer")
    observations.put(store, subject, {"state": "ACTIVE"})
    seen = observations.get(store, subject)
    assert seen is not None
    assert (seen.document, seen.error) == ({"state": "ACTIVE"}, "")
    observations.failed(store, subject, "no answer")
    assert observations.get(store, subject) == replace(seen, error="no answer")


def test_many_may_see_the_same_for_the_first_time(store: Store) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: observations.put(store, observations.SITES, {"seen": number}), range(12)))
    assert observations.get(store, observations.SITES)


def silenced(store: Store, worker_id: str, seconds: float) -> None:
    """As if its last renewal was so long ago."""
    with store.writing() as connection:
        connection.execute(
            tables.workers.update().where(tables.workers.c.id == worker_id).values(seen_at=tables.workers.c.seen_at - seconds)
        )


def test_a_worker_lives_while_it_renews_its_lease(store: Store) -> None:
    for name in ("hv-0", "hv-1", "hv-2"):
        workers.enter(store, Worker(name, "hv", os.getpid(), "0.1"))
    silenced(store, "hv-1", workers.LET_GO)
    assert [one.id for one in workers.alive(store)] == ["hv-0", "hv-2"]
    workers.beat(store, "hv-1")
    assert [one.id for one in workers.alive(store)] == ["hv-0", "hv-1", "hv-2"]
    workers.left(store, "hv-1")
    assert [one.id for one in workers.known(store)] == ["hv-0", "hv-2"]
    with pytest.raises(LeaseLost):
        workers.beat(store, "hv-1")


def test_a_file_is_of_one_machine_whose_processes_are_known(store: Store) -> None:
    workers.enter(store, Worker("hv-0", "hv", 1 << 30, "0.1"))
    assert [one.id for one in workers.alive(store)] == (["hv-0"] if store.shared else [])


def test_a_lease_that_was_renewed_meanwhile_is_not_ended(store: Store) -> None:
    workers.enter(store, Worker("hv-0", "hv", 1, "0.1"))
    seen = workers.get(store, "hv-0")
    assert seen
    workers.beat(store, "hv-0")
    assert not workers.remove(store, seen)
    renewed = workers.get(store, "hv-0")
    assert renewed
    assert [workers.remove(store, renewed), workers.remove(store, renewed)] == [True, False]


def test_the_host_s_clock_does_not_matter(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL; a file's clock is its host's."""
    if not store.shared:
        return
    workers.enter(store, Worker("hv-0", "hv", 1, "0.1"))
    monkeypatch.setattr("time.time", lambda: 0.0)
    workers.beat(store, "hv-0")
    assert [abs(one.silent) < 5 for one in workers.known(store)] == [True]


def test_a_run_is_held_by_one_worker_until_its_lease_has_ended(store: Store) -> None:
    for name in ("hv-0", "hv-1"):
        workers.enter(store, Worker(name, "hv", 1, "0.1"))
    runs.request(store, run(1))
    assert [runs.claim(store, "r1", name) for name in ("hv-0", "hv-0", "hv-1")] == [True, True, False]
    assert runs.begin(store, "r1", "hv-0") == 1
    with pytest.raises(LeaseLost):
        runs.begin(store, "r1", "hv-1")
    workers.left(store, "hv-0")
    assert runs.claim(store, "r1", "hv-1")
    stale: list[Callable[[], object]] = [
        lambda: runs.claim(store, "r1", "hv-0"),
        lambda: runs.begin(store, "r1", "hv-0"),
        lambda: events.append(store, "r1", [{"at": 1.0, "kind": "message"}], by="hv-0"),
        lambda: runs.finish(store, "r1", {"exit_code": 0, "code": "", "error": ""}, by="hv-0"),
    ]
    for late in stale:
        with pytest.raises(LeaseLost):
            late()
    assert (runs.get(store, "r1").status, runs.get(store, "r1").worker, events.last(store, "r1")) == ("running", "hv-1", 0)
    assert runs.begin(store, "r1", "hv-1", [None]) == 2
    assert runs.get(store, "r1").launches == [None]


def test_of_many_workers_one_gets_the_run(store: Store) -> None:
    runs.request(store, run(1))

    def claim(number: int) -> bool:
        workers.enter(store, Worker(f"hv-{number}", "hv", 1, "0.1"))
        return runs.claim(store, "r1", f"hv-{number}")

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(claim, range(8))) == [False] * 7 + [True]


# -- accounts --------------------------------------------------------------------------------------------------


def test_login_and_logout(store: Store) -> None:
    password = accounts.add(store, "ann", Role.operator)
    assert len(password) >= accounts.SHORTEST_PASSWORD
    assert accounts.login(store, "ann", "wrong") is None
    assert accounts.login(store, "bob", password) is None
    token = accounts.login(store, "ann", password)
    assert token
    found = accounts.session(store, token)
    assert found
    assert (found.user, len(found.csrf) >= 32) == (accounts.User("ann", Role.operator), True)
    assert accounts.session(store, "other") is None
    accounts.logout(store, token)
    assert accounts.session(store, token) is None


def test_neither_password_nor_token_is_in_the_store(store: Store) -> None:
    password = accounts.add(store, "ann", Role.viewer)
    token = accounts.login(store, "ann", password)
    with store.reading() as connection:
        text = " ".join(str(row) for table in (tables.users, tables.sessions) for row in connection.execute(sa.select(table)))
    assert "argon2id" in text
    assert password not in text
    assert str(token) not in text


@pytest.mark.parametrize(("after", "alive"), [(accounts.IDLE - 60, True), (accounts.IDLE + 60, False), (DAY + 60, False)])
def test_an_idle_session_ends(store: Store, later: Callable[[float], None], after: float, alive: bool) -> None:
    token = accounts.login(store, "ann", accounts.add(store, "ann", Role.viewer))
    later(after)
    assert (accounts.session(store, str(token)) is not None) == alive


def test_a_session_in_use_ends_after_a_day(store: Store, later: Callable[[float], None]) -> None:
    token = str(accounts.login(store, "ann", accounts.add(store, "ann", Role.viewer)))
    for hour in range(0, 24, 4):
        later(hour * 3600.0)
        assert accounts.session(store, token)
    later(accounts.LONGEST + 1)
    assert accounts.session(store, token) is None


def test_a_new_password_or_a_removal_ends_the_sessions(store: Store) -> None:
    for change in (lambda: accounts.set_password(store, "ann"), lambda: accounts.remove(store, "ann")):
        if not accounts.all_users(store):
            accounts.add(store, "ann", Role.viewer, "a" * 12)
        accounts.set_password(store, "ann", "b" * 12)
        token = str(accounts.login(store, "ann", "b" * 12))
        assert accounts.session(store, token)
        change()
        assert accounts.session(store, token) is None
    assert accounts.all_users(store) == []


@pytest.mark.parametrize(
    ("name", "password", "said"),
    [
        ("Ann", "", "is no user name"),
        ("", "", "is no user name"),
        ("ann", "short", "fewer than 12"),
        ("taken", "", "there is a user taken already"),
    ],
)
def test_bad_users(store: Store, name: str, password: str, said: str) -> None:
    accounts.add(store, "taken", Role.viewer)
    with pytest.raises(XdrError, match=said) as error:
        accounts.add(store, name, Role.viewer, password)
    assert error.value.code == "usage"
    assert [user.name for user in accounts.all_users(store)] == ["taken"]


@pytest.mark.parametrize("change", [accounts.remove, accounts.set_password])
def test_an_unknown_user(store: Store, change: Callable[[Store, str], object]) -> None:
    with pytest.raises(XdrError, match="there is no user 'ann'"):
        change(store, "ann")


@pytest.mark.parametrize(("text", "role"), [("viewer", Role.viewer), ("operator", Role.operator), ("dr-admin", Role.dr_admin)])
def test_roles(text: str, role: Role) -> None:
    assert (accounts.role_of(text), role.label) == (role, text)
    with pytest.raises(XdrError, match="It is one of: viewer, operator, dr-admin"):
        accounts.role_of("root")


def test_that_something_was_written_is_seen_without_reading_it(store: Store) -> None:
    with contextlib.closing(Pulse(store)) as pulse:
        before = pulse.beat()
        assert pulse.beat() == before
        writes: list[Callable[[], None]] = [
            lambda: observations.put(store, "plan/a", {}),
            lambda: observations.failed(store, "plan/a", "gone"),
        ]
        for write in writes:
            write()
            assert pulse.beat() != before
            before = pulse.beat()
        assert list(observations.stamps(store)) == ["plan/a"]
        assert [one.error for one in observations.some(store, ["plan/a", "plan/b"])] == ["gone"]


def test_the_newest_numbers_of_several_runs(store: Store) -> None:
    for name, count in (("a", 3), ("b", 1), ("c", 0)):
        runs.request(store, Run(name, f"plan-{name}", "failback"))
        events.append(store, name, [{"at": 1.0, "kind": "play", "play": "x"}] * count)
    assert events.lasts(store, ["a", "b", "c", "none"]) == {"a": 3, "b": 1}
    assert events.lasts(store, []) == {}
    assert {run.id for run in runs.some(store, ["a", "c", "none"])} == {"a", "c"}
    assert set(runs.at_work(store)) == {"plan-a", "plan-b", "plan-c"}


def test_which_sessions_last(store: Store) -> None:
    accounts.add(store, "otto", Role.viewer, "correct horse battery")
    tokens = [accounts.login(store, "otto", "correct horse battery") or "" for _ in range(2)]
    accounts.logout(store, tokens[0])
    assert accounts.lasting(store, [*tokens, "none"]) == {tokens[1]}
