# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Documentation of SITE_ARGUMENTS."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  plan:
    description: Name of the protection plan.
    type: str
    required: true
  state_dir:
    description: The folder in which this host keeps its plans, records and volumes' state (inventory variable C(xdr_state_dir)).
    type: path
    required: true
"""
