# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr test``: the linters, then pytest, whose summary comes last. A linter that finds something does not keep the rest from running."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LINTERS = (
    ("ruff", "check", "--quiet", "."),
    ("ruff", "format", "--check", "--quiet", "."),
    ("mypy",),
    ("ansible-lint", "-q"),
)
# Without what is marked as slow. One more process than there are cores, as tests wait for processes and hosts two fifths of their time. A
# file's tests stay together, in the order of collection: the labs come first, so that no long file is left for the end.
PROCESSES = min(4, (os.cpu_count() or 1) + 1)
WHOLE_SUITE = (f"--numprocesses={PROCESSES}", "--dist=loadfile", "--no-loadscope-reorder", "--durations=15", "-m", "not slow")


def run(args: list[str]) -> int:
    """Run everything; ``args`` go to pytest, which without any runs the whole suite. 0 when all is well, pytest's exit code, else 1."""
    lab = {"ANSIBLE_INVENTORY": str(PROJECT / "inventories" / "lab")}  # the playbooks are checked against its plan
    found = [title for linter in LINTERS if _run(title := " ".join(linter), list(linter), lab)]
    code = _run("pytest", ["pytest", *(args or WHOLE_SUITE)])
    if found:
        print(f"xdr test: not clean: {'; '.join(found)}", flush=True)
    return code or int(bool(found))


def _run(title: str, command: list[str], extra: dict[str, str] | None = None) -> int:
    print(f"--- {title}", flush=True)
    begun = time.monotonic()
    program, *arguments = command
    code = subprocess.run(
        [_beside_python(program), *arguments], cwd=PROJECT, env={**_environment(), **(extra or {})}, check=False
    ).returncode
    print(f"--- {title}: {'ok' if code == 0 else f'exit {code}'}, {time.monotonic() - begun:.1f} s", flush=True)
    return code


def _beside_python(program: str) -> str:
    return str(Path(sys.executable).parent / program)


def _environment() -> dict[str, str]:
    """ansible-lint calls ansible-playbook from PATH. The processes that tests start, thousands of them, share their bytecode."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PATH": path, "LC_ALL": "C.UTF-8"}
