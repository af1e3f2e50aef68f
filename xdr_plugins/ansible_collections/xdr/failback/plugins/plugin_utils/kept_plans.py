# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The compiled plans of an environment, from an earlier run where nothing has changed that they are made from."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.plugin_utils import kept

OWN = Path(__file__).resolve().parent
LIBRARIES = ("pydantic", "ruamel.yaml")
KEEP = 20  # states of environments

Hosts = Mapping[str, list[str]]


def compiled_plans(config: Path, groups: Hosts, roots: Hosts, folder: Path) -> dict[str, Any]:
    """As ``load_environment`` of ``config`` compiles them; ``folder`` is where they are kept. Raises SourceError, each time.

    Reading YAML with the places of its fields, and the import of what checks it, take 0.25 s of each run otherwise.
    """
    path = folder / f"{_made_from(config, groups, roots)}.json"
    if kept.is_private(folder) and path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    from ansible_collections.xdr.failback.plugins.plugin_utils.environment import Inventory, load_environment

    plans = load_environment(config, Inventory(groups, roots)).plans
    _keep(path, plans)
    return plans


def _made_from(config: Path, groups: Hosts, roots: Hosts) -> str:
    """A digest of the files' content, the inventory, the code, and the folder from which the files are named in the plans."""
    digest = hashlib.sha256(json.dumps([groups, roots, sys.version, str(Path.cwd()), str(config)]).encode())
    digest.update(kept.of_files(sorted([*OWN.glob("*.py"), *_libraries()])).encode())
    for path in [config, *sorted((config.parent / "plans").glob("*.y*ml"))]:
        content = _content(path)
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the reader of plans tells, and nothing is kept
        return b""


def _libraries() -> Iterator[Path]:
    for name in LIBRARIES:
        found = find_spec(name)
        if found and found.origin:
            yield Path(found.origin)


def _keep(path: Path, plans: dict[str, Any]) -> None:
    """As it is, or not at all: a home that cannot be written to is no reason to stop a run."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.write_text(json.dumps(plans), encoding="utf-8")  # in their order
        fresh.replace(path)
        kept.prune(path.parent, KEEP)
    except OSError:
        return
