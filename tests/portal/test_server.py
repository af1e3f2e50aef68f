# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The portal as a process: it starts without what it must not need, and ends when told to."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal.web import server
from tests.support.browsers import served
from tests.support.portal import INVENTORY, Portal, Role

NEVER = ("ansible.", "ansible_runner", "dbos", "paramiko", "rich.", "typer")


def test_it_imports_neither_ansible_nor_dbos() -> None:
    code = f"import sys, portal.web.server; print([m for m in sys.modules if m.startswith({NEVER!r})])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_it_ends_while_streams_are_open(tmp_path: Path) -> None:
    portal = Portal(tmp_path)
    run = portal.request("failback")
    cookie = {"Cookie": f"xdr_session={portal.session(Role.viewer)}"}
    with served(INVENTORY, tmp_path) as address:
        for path in ("/stream?seen=x", f"/runs/{run.id}/stream"):
            wanted = urllib.request.Request(address + path, headers=cookie)  # noqa: S310
            answer = urllib.request.urlopen(wanted, timeout=5)  # noqa: S310
            assert answer.status == 200
            answer.close() if "seen" in path else None  # the other one stays open


def test_it_answers_before_it_has_read_the_plans(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    shutil.copytree(INVENTORY, inventory)
    slow = inventory / "plans" / "zz.yml"
    os.mkfifo(slow)  # nobody has read the plans before somebody has written this one
    cookie = {"Cookie": f"xdr_session={Portal(tmp_path).session(Role.viewer)}"}
    with served(inventory, tmp_path) as address:
        with urllib.request.urlopen(f"{address}/healthz", timeout=30) as answer:  # noqa: S310
            assert answer.status == 200
        slow.write_text("not: a plan\n", encoding="utf-8")  # it waits for who reads
        slow.unlink()
        with urllib.request.urlopen(urllib.request.Request(f"{address}/", headers=cookie), timeout=30) as answer:  # noqa: S310
            assert 'href="/plans/webshop"' in answer.read().decode()


def test_a_taken_port_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDR_VAR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(XdrError, match="cannot listen there"):
        server.serve(INVENTORY, port=taken.getsockname()[1])
