# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The site agent's file: the same bytes for the same sources, and it runs."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.agent_archive import build

COLLECTION = Path("xdr_plugins/ansible_collections/xdr/failback")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The collection elsewhere, with other times and leftovers of a run."""
    folder = shutil.copytree(
        COLLECTION, tmp_path / "collection", ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile
    )
    cache = folder / "plugins" / "module_utils" / "__pycache__"
    cache.mkdir()
    (cache / "record.cpython-311.pyc").write_bytes(b"old")
    return folder


def test_the_same_sources_give_the_same_bytes(copy: Path) -> None:
    assert build(copy) == build()


def test_a_changed_source_gives_another_version(copy: Path) -> None:
    source = copy / "plugins" / "module_utils" / "record.py"
    source.write_text(source.read_text() + "\n")
    version, other = build().version, build(copy).version
    assert version != other
    assert version.split("+")[0] == other.split("+")[0]


def test_a_collection_without_a_version_is_an_error(copy: Path) -> None:
    (copy / "galaxy.yml").write_text("name: failback\n")
    with pytest.raises(XdrError, match=r"galaxy\.yml: no version"):
        build(copy)


def test_it_runs_and_knows_its_version(tmp_path: Path) -> None:
    archive = build()
    path = tmp_path / "agent.pyz"
    path.write_bytes(archive.content)
    done = subprocess.run(["/usr/bin/python3", "-I", str(path), "version"], capture_output=True, text=True, timeout=20, check=True, cwd="/")
    assert done.stdout == f"{archive.version}\n"


def test_every_verb_finds_its_modules(tmp_path: Path) -> None:
    path = tmp_path / "agent.pyz"
    path.write_bytes(build().content)
    package = "ansible_collections.xdr.failback.plugins.module_utils"
    program = f"import sys; sys.path.insert(0, {str(path)!r})\nimport {package}.guard, {package}.boot, {package}.delta.receiver"
    subprocess.run(["/usr/bin/python3", "-I", "-c", program], capture_output=True, timeout=20, check=True, cwd="/")


def test_it_holds_each_source_and_its_bytecode() -> None:
    with zipfile.ZipFile(io.BytesIO(build().content)) as archive:
        names = archive.namelist()
    sources = [name for name in names if name.endswith(".py")]
    assert "__main__.py" in sources
    assert sorted(names) == sorted([*sources, *(f"{name}c" for name in sources)])


def test_a_build_after_other_imports_gives_the_same_bytes() -> None:
    program = (
        "import asyncio, sys; from ansible_collections.xdr.failback.plugins.plugin_utils.agent_archive import build; print(build().sha256)"
    )
    environment = {**os.environ, "PYTHONPATH": str(COLLECTION.parents[2]), "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == build().sha256
