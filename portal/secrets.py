# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The values that an inventory's files give, so that those with the name of a secret can be kept out of what is stored."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.source import read_source

_ASSIGNMENT = re.compile(r"([\w-]+)\s*[=:]\s*(?:\"([^\"]*)\"|'([^']*)'|(\S+))")

OWN = ("XDR_DATABASE_URL",)  # names in the environment that are for this program alone
CHANNEL = "XDR_CHANNEL_"  # and what those begin with that hold the URL of a channel


def environment() -> dict[str, str]:
    """What programs started from here get: no way to the store."""
    return {name: value for name, value in os.environ.items() if name not in OWN and not name.startswith(CHANNEL)}


def of_inventory(inventory: Path) -> dict[str, Any]:
    """The variables of each file. A file that is no plain YAML (INI, templates, vaulted values) is searched for assignments.

    What is vaulted is only known to Ansible: a task that handles it says ``no_log``.
    """
    files = sorted(path for path in inventory.rglob("*") if path.is_file()) if inventory.is_dir() else [inventory]
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
    return {f"{match[1]}": match[2] or match[3] or match[4] for match in _ASSIGNMENT.finditer(text)}
