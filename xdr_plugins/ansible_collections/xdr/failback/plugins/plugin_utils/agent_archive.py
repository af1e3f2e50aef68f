# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The site agent as one file: a zipapp of module_utils, the same bytes for the same sources and the same version of Python."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ansible_collections.xdr.failback.plugins.module_utils.durable import locked, read_json, write_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.bytecode import bytecode

PACKAGE = PurePosixPath("ansible_collections/xdr/failback/plugins/module_utils")
MAIN = """\
import sys

from ansible_collections.xdr.failback.plugins.module_utils.agent import main

sys.exit(main(sys.argv[1:], {version!r}))
"""


@dataclass(frozen=True)
class Archive:
    """``version``: that of the collection and a digest of the sources. ``sha256``: of ``content``, in hex."""

    content: bytes
    version: str
    sha256: str


def build(collection: Path | None = None) -> Archive:
    """Build the archive from a collection's folder (this one's by default)."""
    root = collection or Path(__file__).resolve().parents[2]
    sources = _sources(root)
    version = _version(root, sources)
    content = _zip(_compiled({**sources, PurePosixPath("__main__.py"): MAIN.format(version=version).encode()}))
    return Archive(content, version, hashlib.sha256(content).hexdigest())


def version_here() -> str:
    """Of the archive that this collection would build."""
    root = Path(__file__).resolve().parents[2]
    return _version(root, _sources(root))


def _version(root: Path, sources: dict[PurePosixPath, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sources.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return f"{_collection_version(root / 'galaxy.yml')}+{digest.hexdigest()[:12]}"


@dataclass(frozen=True)
class Built:
    """An archive as a file."""

    path: Path
    version: str
    sha256: str


def build_once(folder: Path) -> Built:
    """The archive, built by the first of all processes that share the folder: a run's hosts each have a process of their own."""
    path, described = folder / "xdr-site-agent.pyz", folder / "xdr-site-agent.json"
    with locked(folder / "xdr-site-agent.lock", timeout=60):
        known = read_json(described)
        if not known:
            archive = build()
            path.write_bytes(archive.content)
            known = {"version": archive.version, "sha256": archive.sha256}
            write_json(described, known)
    return Built(path, **known)


def _sources(root: Path) -> dict[PurePosixPath, bytes]:
    """Name in the archive → content, sorted. Each folder becomes a package: zipimport finds no others on older Pythons."""
    folder = root / "plugins" / "module_utils"
    found = {PACKAGE / path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.py")}
    packages = {parent / "__init__.py" for name in found for parent in name.parents if parent.parts}
    return dict(sorted({**dict.fromkeys(packages, b""), **found}.items()))


def _compiled(sources: dict[PurePosixPath, bytes]) -> dict[PurePosixPath, bytes]:
    """With the bytecode beside each source: an instance starts, and a peer is answered, through the agent."""
    compiled = {name.with_suffix(".pyc"): bytecode(str(name), content) for name, content in sources.items()}
    return sources | compiled


def _collection_version(galaxy: Path) -> str:
    match = re.search(r"^version:\s*['\"]?([^\s'\"]+)", galaxy.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise XdrError("no version", where=str(galaxy), todo="Add a line 'version: X.Y.Z'")
    return match[1]


def _zip(files: dict[PurePosixPath, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # stored: deflate's bytes depend on the zlib at hand
        for name, content in files.items():
            entry = zipfile.ZipInfo(str(name), date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()
