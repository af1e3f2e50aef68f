# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Canary secrets in the inventory, the environment and module arguments: they are in no row, no file and no page."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from portal.cli import app as command_line
from portal.store import Store, events, tables
from portal.store.accounts import Role
from portal.store.runs import Run
from portal.worker.worker import run_one
from tests.support.portal import Portal
from tests.support.workers import INVENTORY, Tiny, ended

CANARY = "canary-4711"
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: one | Say what the inventory and the environment hide
      ansible.builtin.debug:
        msg: "{{ db_password }} {{ lookup('env', 'XDR_CANARY_TOKEN') }} said"
    - name: two | Show a difference with it
      ansible.builtin.copy:
        content: "password={{ db_password }}"
        dest: "{{ folder }}/settings"
        mode: "0600"
      diff: true
    - name: three | Hide all of it
      ansible.builtin.command: echo canary-4711-no-log
      no_log: true
      changed_when: false
    - name: four | Fail with it among the arguments
      ansible.builtin.command: ls /nowhere --hide=canary-4711-argument
      changed_when: false
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    made = Tiny.made(tmp_path)
    made.inventory.write_text(f"{INVENTORY}[all:vars]\ndb_password={CANARY}-inventory\nfolder={tmp_path}\n")
    (tmp_path / "playbooks" / "failback.yml").write_text(PLAYBOOK)
    monkeypatch.setenv("XDR_CANARY_TOKEN", f"{CANARY}-environment")
    monkeypatch.setenv("XDR_VAR", str(made.var))
    return made


def rows(store: Store) -> Iterator[str]:
    with store.reading() as connection:
        for table in tables.metadata.sorted_tables:
            yield from (str(row) for row in connection.execute(sa.select(table)))


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    return ((str(path), path.read_bytes()) for path in folder.rglob("*") if path.is_file())


def lent(tiny: Tiny, store: Store) -> Run:
    return run_one(tiny.inventory, tiny.asks(store).id, store=store, prepare=tiny.prepare)


def by_a_worker(tiny: Tiny, store: Store) -> Run:
    """Of its own process, with the queue's file and a log."""
    with tiny.working():
        return ended(store, tiny.asks(store))


@pytest.mark.parametrize("executed", [lent, by_a_worker])
def test_no_row_file_log_or_page_has_a_secret(tiny: Tiny, caplog: pytest.LogCaptureFixture, executed: Callable[[Tiny, Store], Run]) -> None:
    caplog.set_level(logging.DEBUG)
    portal = Portal(tiny.var)
    run = executed(tiny, portal.store)
    assert (tiny.var / "dbos.sqlite").exists() == (executed is by_a_worker)
    assert run.exit_code == 2
    told = [event for event in events.after(portal.store, run.id) if event["kind"] == "result"]
    assert [event["status"] for event in told] == ["ok", "changed", "ok", "failed"]
    assert told[0]["msg"] == "******** ******** said"  # it was said, and masked
    assert "password=********" in str(told[1]["diff"])
    assert CANARY in (tiny.folder / "settings").read_text()  # the work itself was done with the real one

    assert [row for row in rows(portal.store) if CANARY in row] == []
    assert [name for name, content in files(tiny.var) if CANARY.encode() in content] == []
    assert CANARY not in caplog.text
    assert [log.name for log in tiny.folder.glob("*.log") if CANARY in log.read_text()] == []
    client = portal.client(Role.dr_admin)
    for page in ("/", "/runs", f"/runs/{run.id}", f"/runs/{run.id}/board", f"/runs/{run.id}/stream?after=0", "/audit", "/users", "/sites"):
        answer = client.get(page)
        assert answer.status_code == 200, page
        assert CANARY not in answer.text, page
    shown = CliRunner().invoke(command_line, ["run", "show", run.id, "--log", "-i", str(tiny.inventory)])
    assert "******** ******** said" in shown.stderr
    assert CANARY not in shown.output + shown.stderr
