# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Canary secrets in the inventory, its variables, the environment and module arguments: they are in no row, no file and no page."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from portal.censor import MASK
from portal.cli import app as command_line
from portal.store import Store, events, tables
from portal.store.accounts import Role
from portal.store.runs import Run
from portal.web.app import READ
from portal.worker.worker import run_one
from tests.support.pages import filled, invited, saved
from tests.support.portal import PLAN, Event, Portal
from tests.support.windows import PEOPLE, environment, recurring
from tests.support.workers import INVENTORY, Tiny, ended

CANARY = "canary-4711"
NUMBER = 4711081547
ESCAPED = f'{CANARY} "quoted"\\it\'s\n  {CANARY} on a sécond line'
CANARIES = (CANARY, str(NUMBER))
VARIABLES = f"pin_secret: {NUMBER}\nescaped_secret: {json.dumps(ESCAPED)}\n"
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: one | Say what the inventory and the environment hide
      ansible.builtin.debug:
        msg: "{{ db_password }} {{ lookup('env', 'XDR_CANARY_TOKEN') }} said"
    - name: one | Say a number, which Ansible tells as one
      ansible.builtin.debug:
        msg: "{{ pin_secret }}"
    - name: one | Say what has to be escaped, in each of the ways
      ansible.builtin.debug:
        msg: "{{ [escaped_secret, escaped_secret | to_json, escaped_secret | quote, [escaped_secret] | string, {'is': escaped_secret}] }}"
    - name: one | Say it line by line
      ansible.builtin.debug:
        msg: "{{ escaped_secret.splitlines() }}"
    - name: two | Show a difference with it
      ansible.builtin.copy:
        content: "password={{ db_password }} {{ escaped_secret }} {{ pin_secret }}"
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
      ignore_errors: true
    - name: five | Fail and say it
      ansible.builtin.fail:
        msg: "No way with {{ escaped_secret | to_json }} and {{ pin_secret }}"
"""
UNENDING = "/stream"  # it tells which topics changed, and no more: tests/portal/test_streams.py
ASKED = {
    "/runs/{run}/stream": "after=0",
    "/audit": "verify=1",
    "/plans/{plan}/incidents/{run}": "format=json",
}  # what else is asked of a page


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    made = Tiny.made(tmp_path)
    made.inventory.write_text(f"{INVENTORY}[all:vars]\ndb_password={CANARY}-inventory\nfolder={tmp_path}\n")
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text(VARIABLES)
    (tmp_path / "playbooks" / "failback.yml").write_text(PLAYBOOK)
    monkeypatch.setenv("XDR_CANARY_TOKEN", f"{CANARY}-environment")
    monkeypatch.setenv("XDR_VAR", str(made.var))
    return made


def rows(store: Store) -> Iterator[str]:
    with store.reading() as connection:
        for table in tables.metadata.sorted_tables:
            yield from (str(row) for row in connection.execute(sa.select(table)))


def found_in(text: str) -> bool:
    return any(canary in text for canary in CANARIES)


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    return ((str(path), path.read_bytes()) for path in folder.rglob("*") if path.is_file())


def pages(portal: Portal, run: Run) -> Iterator[str]:
    """Every path that is only read, and what more it can be asked for; one of a new kind is a KeyError."""
    named = {"run": run.id, "version": saved(portal), "token": invited(portal)}
    for path in READ:
        if path != UNENDING:
            yield filled(path, **named)
    for path, query in ASKED.items():
        yield f"{filled(path, **named)}?{query}"


def lent(tiny: Tiny, store: Store) -> Run:
    return run_one(tiny.inventory, tiny.asks(store, plan=PLAN).id, store=store, prepare=tiny.prepare)


def by_a_worker(tiny: Tiny, store: Store) -> Run:
    """Of its own process, with the queue's file and a log."""
    with tiny.working():
        return ended(store, tiny.asks(store, plan=PLAN))


@pytest.mark.parametrize("executed", [lent, by_a_worker])
def test_no_row_file_log_or_page_has_a_secret(tiny: Tiny, caplog: pytest.LogCaptureFixture, executed: Callable[[Tiny, Store], Run]) -> None:
    caplog.set_level(logging.DEBUG)
    inventory = environment(tiny.folder, recurring(time.time() + 2 * 86_400) + PEOPLE)
    (inventory / "group_vars" / "all" / "secrets.yml").write_text(VARIABLES)
    portal = Portal(tiny.var, inventory)
    portal.see()
    run = executed(tiny, portal.store)
    assert (tiny.var / "dbos.sqlite").exists() == (executed is by_a_worker and not portal.store.shared)
    assert run.exit_code == 2
    _were_told_masked([event for event in events.after(portal.store, run.id) if event["kind"] == "result"])
    assert all(canary in (tiny.folder / "settings").read_text() for canary in (*CANARIES, ESCAPED))  # the work was done with the real ones

    assert [row for row in rows(portal.store) if found_in(row)] == []
    assert [name for name, content in files(tiny.var) if found_in(content.decode(errors="replace"))] == []
    assert not found_in(caplog.text)
    assert [log.name for log in tiny.folder.glob("*.log") if found_in(log.read_text())] == []
    client, masked = portal.client(Role.dr_admin), list[str]()
    for page in pages(portal, run):
        answer = (portal.client(None) if page == "/login" else client).get(page)
        assert answer.status_code == 200, page
        assert not found_in(answer.text), page
        masked += [page] if MASK in answer.text else []
    assert {f"/runs/{run.id}", f"/runs/{run.id}/stream", f"/plans/{PLAN}/incidents/{run.id}"} <= set(masked)
    shown = CliRunner().invoke(command_line, ["run", "show", run.id, "--log", "-i", str(tiny.inventory)])
    assert "******** ******** said" in shown.stderr
    assert not found_in(shown.output + shown.stderr)


def _were_told_masked(told: list[Event]) -> None:
    """They were said, and masked."""
    assert [event["status"] for event in told] == ["ok", "ok", "ok", "ok", "changed", "ok", "ignored", "failed"]
    said, number, escaped, lines, written, *_, failed = (event.get("msg") or event.get("diff") for event in told)
    assert said == "******** ******** said"
    assert number == MASK
    assert escaped == [MASK, f'"{MASK}"', f"'{MASK}'", f"['{MASK}']", {"is": MASK}]
    assert lines == [MASK, f"  {MASK}"]
    assert f"password={MASK} {MASK} {MASK}" in str(written)
    assert failed == f'No way with "{MASK}" and {MASK}'
