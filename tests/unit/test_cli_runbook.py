# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The order, priorities and versions of a plan on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from portal import PROJECT
from portal.cli import app


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDR_VAR", str(tmp_path / "var"))
    return Path(shutil.copytree(PROJECT / "inventories" / "lab", tmp_path / "inventory"))


def xdr(inventory: Path, *args: str) -> Result:
    return CliRunner().invoke(app, ["plan", *args, "-i", str(inventory)])


def test_the_order(inventory: Path) -> None:
    assert "3         frontend       1        shop-web-1, shop-web-2" in xdr(inventory, "order", "webshop").stdout
    document = json.loads(xdr(inventory, "order", str(inventory / "plans" / "webshop.yml"), "--json").stdout)
    assert document["start"][0] == {"group": "database", "priority": 1, "resources": ["orders-db", "customers-db"]}
    assert document["stop"] == ["frontend", "application", "database"]
    path = inventory / "plans" / "webshop.yml"
    path.write_text(path.read_text().replace("priority: 2", "priority: 1"), encoding="utf-8")
    done = xdr(inventory, "order", str(path))
    assert (done.exit_code, "groups[application].priority" in done.stderr) == (4, True)


def test_priorities_are_changed_kept_and_taken_back(inventory: Path) -> None:
    path = inventory / "plans" / "webshop.yml"
    before = path.read_text(encoding="utf-8")
    done = xdr(inventory, "priority", "webshop", "database=9", "--check")
    assert "+     priority: 9                  # starts first, stops last" in done.stdout
    assert path.read_text(encoding="utf-8") == before
    assert not (inventory / ".git").exists()
    done = xdr(inventory, "priority", "webshop", "database=9", "frontend=1", "--reason", "the [shop] first")
    assert done.exit_code == 0, done.stderr
    assert path.read_text(encoding="utf-8") == before.replace("priority: 1 ", "priority: 9 ").replace("priority: 3", "priority: 1")
    assert "the [shop] first" in xdr(inventory, "versions", "webshop").stdout
    newest, found = json.loads(xdr(inventory, "versions", "webshop", "--json").stdout)
    assert newest["origin"] == "command line"
    assert "-     priority: 9" in xdr(inventory, "versions", "webshop", found["id"][:8]).stdout
    document = json.loads(xdr(inventory, "restore", "webshop", found["id"], "--reason", "back", "--json").stdout)
    assert document["version"]["reason"] == "back"
    assert document["stop"] == ["frontend", "application", "database"]
    assert path.read_text(encoding="utf-8") == before
    again = xdr(inventory, "restore", "webshop", found["id"])
    assert (again.exit_code, again.stdout.startswith("nothing changes")) == (0, True)


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("priority", "webshop", "database"), 5, "Write it like database=1"),
        (("priority", "webshop", "database=x"), 5, "Write it like database=1"),
        (("priority", "webshop", "nix=1", "--reason", "x"), 5, "group nix has no priority"),
        (("priority", "webshop", "database=7"), 5, "a version needs a reason"),
        (("priority", "webshop", "database=2", "--check"), 4, "priority 2 is that of group database already"),
        (("restore", "webshop", "0" * 40, "--reason", "x"), 5, "there is no version 000"),
        (("versions", "nix"), 5, "no plan is named 'nix'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_refusals(inventory: Path, args: tuple[str, ...], code: int, told: str) -> None:
    done = xdr(inventory, *args)
    assert (done.exit_code, told in done.stderr) == (code, True), done.stderr
