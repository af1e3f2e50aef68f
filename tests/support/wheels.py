# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Wheels of packages as they are installed here, where a test may not ask a package index."""

from __future__ import annotations

import zipfile
from importlib.metadata import distribution
from pathlib import Path


def wheel(name: str, folder: Path) -> Path:
    """The wheel that the package was installed from, put together again."""
    found = distribution(name)
    tags = [line.partition(": ")[2] for line in (found.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: ")]
    path = folder / f"{name}-{found.version}-{tags[0]}.whl"
    files = sorted((file for file in found.files or [] if ".." not in file.parts), key=lambda file: file.name == "RECORD")
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            if "__pycache__" not in file.parts:
                archive.write(str(file.locate()), str(file))
    return path
