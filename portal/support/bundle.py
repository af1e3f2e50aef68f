# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The archive: a .tar.gz with a MANIFEST."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import time
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from ..store import Store
from .contents import members


def name(plan: str, now: float) -> str:
    """``xdr-support-webshop-20260301T031500``"""
    return "-".join(word for word in ("xdr-support", plan, time.strftime("%Y%m%dT%H%M%S", time.localtime(now))) if word)


def packed(store: Store, inventory: Path, plan: str = "") -> tuple[str, bytes]:
    """The archive's name and its bytes."""
    now = time.time()
    folder, manifest, archive = name(plan, now), [], io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for path, text in members(store, inventory, plan, now):
            content = text.encode("utf-8", "replace")
            manifest.append(f"{hashlib.sha256(content).hexdigest()}  {path}\n")
            _add(tar, f"{folder}/{path}", content, now)
        _add(tar, f"{folder}/MANIFEST", "".join(sorted(manifest, key=lambda line: line.split()[1])).encode(), now)
    return f"{folder}.tar.gz", archive.getvalue()


def _add(tar: tarfile.TarFile, path: str, content: bytes, now: float) -> None:
    info = tarfile.TarInfo(path)
    info.size, info.mtime, info.mode = len(content), int(now), 0o600
    tar.addfile(info, io.BytesIO(content))


def write(store: Store, inventory: Path, plan: str, file: Path | None, *, force: bool) -> Path:
    """The file, which only its owner may read; named by the time where no name is given. Raises XdrError, code usage."""
    given, content = packed(store, inventory, plan)
    path = file or Path(given)
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with os.fdopen(os.open(path, flags, 0o600), "wb") as stream:
            stream.write(content)
    except FileExistsError:
        raise XdrError("the file is there already", where=str(path), todo="Name another one, or give --force", code="usage") from None
    except OSError as error:
        what = f"the bundle cannot be written ({error.strerror})"
        raise XdrError(what, where=str(path), todo="Name another file", code="usage") from error
    return path
