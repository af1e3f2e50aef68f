# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The values that an inventory's files give, so that those with the name of a secret can be kept out of what is stored."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.source import read_source

from .censor import is_secret

_ASSIGNMENT = re.compile(r"([\w-]+)\s*[=:]\s*(\"[^\"]*\"|'[^']*'|\S+)")

OWN = ("XDR_DATABASE_URL",)  # names in the environment that are for this program alone
CHANNEL = "XDR_CHANNEL_"  # and what those begin with that hold the URL of a channel


def environment() -> dict[str, str]:
    """What programs started from here get: no way to the store."""
    return {name: value for name, value in os.environ.items() if name not in OWN and not name.startswith(CHANNEL)}


def of_inventory(inventory: Path) -> dict[str, Any]:
    """The variables of each file, and of those beside an inventory that is one. What is no plain YAML is searched for assignments.

    What is vaulted is only known to Ansible: a task that handles it says ``no_log``.
    """
    folders = (inventory,) if inventory.is_dir() else (inventory.parent / name for name in ("group_vars", "host_vars"))
    found = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    files = found if inventory.is_dir() else [inventory, *found]
    return {str(number): _variables(path) for number, path in enumerate(files) if path.parent.name != "plans"}


def of_plans(inventory: Path) -> dict[str, Any]:
    """The same of the files of plans, whatever is wrong with them."""
    return {str(number): _variables(path) for number, path in enumerate(sorted(inventory.glob("plans/*.y*ml")))}


def _variables(path: Path) -> dict[str, Any]:
    if path.suffix in (".yml", ".yaml", ""):
        try:
            return {"": read_source(path).data}
        except XdrError:
            pass  # as text, then; what is wrong with it, Ansible tells
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    found: dict[str, list[Any]] = {}
    for match in _ASSIGNMENT.finditer(text):
        if is_secret(match[1]):
            rest = text[match.start(2) :].partition("\n")[0]
            found.setdefault(match[1], []).extend(_readings(match[2], rest.strip()))
    return found


def _readings(word: str, rest: str) -> Iterator[Any]:
    """What Ansible may take for a value: the host's line as a shell splits it, or the rest of it; of either what it is as a literal."""
    found = [word, word.strip("\"'"), rest]
    with suppress(ValueError):
        found += shlex.split(rest)[:1]
    yield from found
    for text in found:
        with suppress(ValueError, RecursionError):
            yield json.loads(text)
        with suppress(ValueError):
            yield int(text, 0)
