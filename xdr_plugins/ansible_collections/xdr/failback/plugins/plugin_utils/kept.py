# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What one run of Ansible keeps for the next, in folders of Ansible's home: found by a digest of all that it was made from."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path


def of_files(paths: Iterable[Path]) -> str:
    """A digest of the names, sizes and times of files."""
    digest = hashlib.sha256()
    for path in paths:
        seen = path.stat()
        digest.update(f"{path}\0{seen.st_size}\0{seen.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def is_private(folder: Path) -> bool:
    """Whether nobody else can have put anything there, or in its place."""
    with contextlib.suppress(OSError):
        return all(seen.st_uid == os.geteuid() and not seen.st_mode & 0o022 for seen in (folder.stat(), folder.parent.stat()))
    return False


def prune(root: Path, keep: int) -> None:
    """Forget all but the newest entries of a folder."""
    for old in sorted(root.iterdir(), key=lambda entry: entry.stat().st_mtime, reverse=True)[keep:]:
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
