# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Who may import whom, read from the syntax trees of all sources."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections.xdr.failback.plugins"
PLUGINS = f"xdr_plugins/{COLLECTION.replace('.', '/')}"
MU, PU = f"{COLLECTION}.module_utils", f"{COLLECTION}.plugin_utils"

# folder -> what its files may import besides the standard library; the longest folder that fits a file counts
MAY_IMPORT = {
    f"{PLUGINS}/module_utils": {MU},
    f"{PLUGINS}/modules": {MU, "ansible.module_utils"},
    f"{PLUGINS}/plugin_utils": {MU, PU},
    f"{PLUGINS}/doc_fragments": set(),
    **{f"{PLUGINS}/{kind}": {MU, PU, "ansible"} for kind in ("action", "callback", "filter", "inventory")},
    "portal": {"portal", MU, PU, "paramiko", "rich", "ruamel.yaml", "typer"},
    "portal/bench": {"portal", MU, PU, "rich"},
    "portal/faults": {"portal", MU, PU, "rich"},
    "portal/store": {"portal", MU, "sqlalchemy"},
    "portal/worker": {"portal", MU, PU, "rich"},
    "portal/web": {"portal", MU, PU, "jinja2", "markupsafe", "sse_starlette", "starlette"},
    "roles": set(),
}

# package -> the only file of each of these folders that may import it
ONLY_IN = {
    "pydantic": {f"{PLUGINS}/plugin_utils/plan.py"},
    "ruamel.yaml": {f"{PLUGINS}/plugin_utils/source.py"},
    "ansible_runner": {"portal/runner.py"},
    "alembic": {
        *("portal/store/migration.py", "portal/store/migrations/env.py"),
        *(str(path.relative_to(ROOT)) for path in (ROOT / "portal/store/migrations/versions").glob("*.py")),
    },
    "apprise": {"portal/channels.py"},
    "dateutil": {f"{PLUGINS}/plugin_utils/recurrence.py"},
    "icalendar": {"portal/ics.py"},
    "argon2": {"portal/store/accounts.py"},
    "blake3": {"portal/bench/limits.py"},  # guarded
    "cryptography": {"portal/diagnosis/certificates.py"},
    "dbos": {"portal/worker/queue.py"},
    "dns": {f"{PLUGINS}/module_utils/traffic/dns_client.py"},  # guarded: only a host that changes DNS records needs it
    "nbd": {f"{PLUGINS}/module_utils/delta/trackers/qemu/dirty.py"},  # guarded: only the tracker qemu_bitmap needs it
    "uvicorn": {"portal/web/server.py"},
    "uvloop": {"portal/bench/watchers.py"},  # uvicorn takes it by itself
    "paramiko": {f"{PLUGINS}/module_utils/login.py"},  # guarded: only the controller's own leg of xdr_connectivity needs it
}

# on site hosts these run under Debian's and RHEL's oldest supported Python
SITE_HOSTS = (f"{PLUGINS}/module_utils", f"{PLUGINS}/modules")


def sources() -> list[Path]:
    """Python files below the folders with rules, without their templates and tests."""
    tops = sorted({folder.split("/")[0] for folder in MAY_IMPORT})
    return [path for top in tops for path in sorted((ROOT / top).rglob("*.py")) if "__pycache__" not in path.parts]


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of each import, wherever in the file it stands."""
    name = path.relative_to(ROOT).as_posix().removeprefix("xdr_plugins/")
    package = name.split("/")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            yield node.lineno, ".".join([*above, *([node.module] if node.module else [])])


def within(name: str, allowed: str) -> bool:
    return name == allowed or name.startswith(f"{allowed}.")


def refused(path: Path) -> list[str]:
    file = path.relative_to(ROOT).as_posix()
    folder = max((each for each in MAY_IMPORT if file.startswith(f"{each}/")), key=len, default=None)
    if folder is None:
        return [f"{file}: no rule says what this folder may import; add it to MAY_IMPORT"]
    allowed = MAY_IMPORT[folder] | {package for package, files in ONLY_IN.items() if file in files}
    beside = {each.stem for each in path.parent.glob("*.py")} if folder == "roles" else set()  # a role's scripts lie side by side
    return [
        f"{file}:{line}: must not import {name}"
        for line, name in imported(path)
        if name.split(".")[0] not in sys.stdlib_module_names | beside and not any(within(name, each) for each in allowed)
    ]


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix().removeprefix(f"{PLUGINS}/"))
def test_imports_only_what_its_layer_may(path: Path) -> None:
    assert refused(path) == []


@pytest.mark.parametrize("folder", SITE_HOSTS)
def test_what_runs_on_site_hosts_parses_as_python_3_9(folder: str) -> None:
    for path in sorted((ROOT / folder).rglob("*.py")):
        ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=(3, 9))


def test_the_rules_name_files_that_are_there() -> None:
    assert [file for files in ONLY_IN.values() for file in files if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("module_utils/bad.py", "import yaml"),
        ("module_utils/bad.py", "from ..plugin_utils import order"),
        ("module_utils/deep/bad.py", "def late():\n    from ansible.module_utils import basic"),
        ("module_utils/bad.py", "from ansible_collections.xdr.failback.plugins.modules import xdr_site"),
        ("modules/bad.py", "from ansible.errors import AnsibleError"),
        ("plugin_utils/bad.py", "from pydantic import BaseModel"),
        ("plugin_utils/bad.py", "from portal.plans import load"),
        ("filter/bad.py", "import portal"),
        ("portal/bad.py", "import ansible_runner"),
        ("portal/bad.py", "from ansible.inventory import manager"),
        ("roles/x/files/bad.py", "import requests"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / (file if file.startswith(("portal/", "roles/")) else f"{PLUGINS}/{file}")
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    assert len(refused(path)) == 1
