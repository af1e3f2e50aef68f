# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The script ./xdr where something is missing on the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal import PROJECT
from tests.support.processes import short_folder

TOOLS = ("sh", "cat", "cut", "id", "ls", "readlink", "setpriv", "sha256sum", "ssh")


@pytest.fixture
def checkout() -> Iterator[Path]:
    """The script with what it reads, for any account, and a PATH without a browser."""
    with short_folder() as folder:
        folder.chmod(0o755)
        for name in ("xdr", "pyproject.toml", "requirements.txt", "requirements-test.txt"):
            shutil.copy(PROJECT / name, folder)
        (folder / "bin").mkdir(mode=0o755)
        for tool in TOOLS:
            (folder / "bin" / tool).symlink_to(shutil.which(tool) or tool)
        yield folder


def test_an_ordinary_user_is_told_all_packages_and_the_command(checkout: Path) -> None:
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"] if os.geteuid() == 0 else []
    argv = [*as_nobody, str(checkout / "xdr"), "test"]
    done = subprocess.run(argv, env={"PATH": str(checkout / "bin")}, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 3
    said, _, command = done.stderr.strip().partition(". Run as root: ")
    missing = said.removeprefix("xdr: these Debian packages are missing: ")
    assert "chromium" in missing.split()
    assert command == f"apt-get install --yes --no-install-recommends {missing}"
    assert not (checkout / ".venv").exists()
