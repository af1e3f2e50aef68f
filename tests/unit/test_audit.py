# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The audit trail's seals, and the ways out of it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from typer.testing import CliRunner, Result

from portal.cli import app
from portal.store import Store, audit, migration, tables
from portal.syslog import sending
from tests.support import stores

HOSTILE = 'ü"\\\n'


def tell(store: Store, *subjects: str) -> None:
    for subject in subjects:
        audit.add(store, "ann", "portal", "failback", subject, HOSTILE)


def test_a_trail_that_is_whole(store: Store) -> None:
    assert audit.verify(store) == audit.Verdict(0, "")
    tell(store, "a", "b", "c")
    head = audit.latest(store, 1)[0].hash
    assert audit.verify(store) == audit.Verdict(3, head)
    tell(store, "d")
    assert audit.verify(store, expect=head[:12]).wrong == ""
    assert [entry.subject for entry in audit.after(store, 2)] == ["c", "d"]


@pytest.mark.parametrize(
    ("statement", "entry"),
    [
        ("UPDATE audit SET who = 'bob' WHERE id = 2", 2),
        ("UPDATE audit SET at = at + 1 WHERE id = 3", 3),
        ("UPDATE audit SET detail = '' WHERE id = 1", 1),
        ("UPDATE audit SET hash = 'x' WHERE id = 4", 4),
        ("DELETE FROM audit WHERE id = 1", 2),
        ("DELETE FROM audit WHERE id = 3", 4),
        ("UPDATE audit SET id = 9 WHERE id = 2", 3),
    ],
)
def test_what_somebody_changed(store: Store, statement: str, entry: int) -> None:
    tell(store, "a", "b", "c", "d")
    stores.tampered(store, statement)
    assert audit.verify(store).wrong.startswith(f"entry {entry} is not the one")


def test_what_was_cut_off_is_noticed_by_whoever_kept_a_hash(store: Store) -> None:
    tell(store, "a", "b", "c")
    head = audit.latest(store, 1)[0].hash
    stores.tampered(store, "DELETE FROM audit WHERE id = 3")
    assert audit.verify(store).wrong == ""
    assert "cut off at the end" in audit.verify(store, expect=head).wrong


@pytest.mark.parametrize("expect", ["abc", "x" * 12, "A" * 64])
def test_what_is_no_hash(store: Store, expect: str) -> None:
    with pytest.raises(XdrError, match="is no hash"):
        audit.verify(store, expect)


def test_many_at_once_each_seal_the_one_before(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: tell(store, f"s{number}"), range(40)))
    verdict = audit.verify(store)
    assert (verdict.entries, verdict.wrong) == (40, "")


def test_the_entries_of_an_older_store_are_sealed_by_the_upgrade(url: str) -> None:
    store = Store(url)
    old = {"at": 1.5, "who": "ann", "origin": "portal", "action": "failback", "subject": "plan shop", "outcome": "done"}
    with store.writing() as connection:
        command.upgrade(migration._config(connection), "0002")
        connection.execute(
            sa.insert(sa.table("audit", *(sa.column(name) for name in (*old, "detail")))), [{**old, "detail": d} for d in "ab"]
        )
    migration.upgrade(store)
    tell(store, "c")
    assert audit.verify(store).entries == 3
    assert audit.verify(store).wrong == ""
    with pytest.raises(sa.exc.DBAPIError, match="audit are only appended"), store.writing() as connection:
        connection.execute(tables.audit.update().values(who="bob"))
    store.close()


# -- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def xdr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("XDR_VAR", str(tmp_path))
    return lambda *words: CliRunner().invoke(app, ["audit", *words, "-i", str(tmp_path)], standalone_mode=False)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Store]:
    store = stores.opened(tmp_path)
    tell(store, "a", "b")
    yield store
    store.close()


def test_verify(here: Store, xdr: Callable[..., Result]) -> None:
    head = audit.latest(here, 1)[0].hash
    good = xdr("verify", "--expect", head)
    assert (good.return_value, good.stdout) == (0, f"2 entries, each as it was written; the newest hash is {head}\n")
    assert json.loads(xdr("verify", "--json").stdout) == {"entries": 2, "head": head, "wrong": ""}
    stores.tampered(here, "UPDATE audit SET who = 'bob' WHERE id = 1")
    bad = xdr("verify")
    assert (bad.return_value, bad.stdout) == (2, "")
    assert "tampered with: entry 1" in bad.stderr


def test_list_and_export(here: Store, xdr: Callable[..., Result]) -> None:
    assert [one["subject"] for one in json.loads(xdr("list", "--json").stdout)] == ["b", "a"]
    assert "failback" in xdr("list", "-n", "1").stdout
    told = [json.loads(line) for line in xdr("export", "--after", "1").stdout.splitlines()]
    assert told == [audit.latest(here, 1)[0].to_json()]
    assert told[0]["detail"] == HOSTILE


@pytest.mark.parametrize("kind", ["udp", "tcp", "unix"])
def test_export_to_a_syslog_server(here: Store, xdr: Callable[..., Result], kind: str, tmp_path: Path) -> None:
    family, sort = (socket.AF_UNIX if kind == "unix" else socket.AF_INET), (socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    got: list[bytes] = []
    with socket.socket(family, sort) as server:
        server.settimeout(20)
        server.bind(str(tmp_path / "log") if kind == "unix" else ("127.0.0.1", 0))
        address = str(tmp_path / "log") if kind == "unix" else f"{kind}://127.0.0.1:{server.getsockname()[1]}"
        if kind == "tcp":
            server.listen()
            reader = threading.Thread(target=lambda: got.append(_all(server)))
            reader.start()
        done = xdr("export", "--syslog", address)
        if kind == "tcp":
            reader.join(20)
            got = got[0].splitlines()
        else:
            got = [server.recv(65536) for _ in range(2)]
    assert (done.exit_code, done.stdout) == (0, "")
    assert "--after 2" in done.stderr
    told = [line.decode().partition("xdr-audit: ") for line in got]
    assert [head for head, _, _ in told] == ["<86>"] * 2  # authpriv.info
    assert [json.loads(text)["subject"] for _, _, text in told] == ["a", "b"]


def _all(server: socket.socket) -> bytes:
    connection, _ = server.accept()
    with connection:
        connection.settimeout(20)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("address", ["http://a:1", "a:b", "a:0", "a:70000", ":514", "udp://"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(XdrError, match="is no address of a syslog server"), sending(address, "x"):
        raise AssertionError


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(XdrError, match="does not take it"), sending(str(tmp_path / "nothing"), "x") as tell_it:
        tell_it("line")
