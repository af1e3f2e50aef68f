# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The controller's side of XDR: the command line, and what launches the playbooks."""

import os
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent

# The collection lives in the checkout, so `ansible_collections.xdr.failback` is found there and nowhere else.
if str(PROJECT / "xdr_plugins") not in sys.path:
    sys.path.insert(0, str(PROJECT / "xdr_plugins"))


def var_folder(inventory: Path) -> Path:
    """Where an environment's store, runs and locks are kept: what XDR_VAR names, else ``var/<environment>`` of the checkout."""
    if own := os.environ.get("XDR_VAR"):
        return Path(own).resolve()
    inventory = inventory.resolve()
    if inventory.parent.parent == PROJECT / "var":  # a lab's, made there
        return inventory.parent
    return PROJECT / "var" / (inventory.stem if inventory.is_file() else inventory.name)
