# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Bytecode in an archive: taken by the Python it is for, passed over by another one."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.plugin_utils.bytecode import bytecode

COMPILED = b"print('compiled')"
SOURCE = "print('source')"  # what tells which of the two was taken
OTHER_VERSION = b"\x00\x00\r\n"


@pytest.mark.parametrize(("content", "taken"), [(bytecode("one.py", COMPILED), "compiled"), (OTHER_VERSION, "source")])
def test_which_of_the_two_is_taken(tmp_path: Path, content: bytes, taken: str) -> None:
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("one.py", SOURCE)
        made.writestr("one.pyc", content.ljust(20, b"\0"))
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(archive)!r}); import one"], capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == taken
