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


def var_folder() -> Path:
    """Where runs and locks are kept: ``var`` of the checkout, or what XDR_VAR names."""
    return Path(os.environ.get("XDR_VAR") or PROJECT / "var").resolve()
