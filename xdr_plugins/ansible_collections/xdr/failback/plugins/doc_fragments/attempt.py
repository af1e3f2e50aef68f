# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Documentation of ATTEMPT_ARGUMENTS."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  epoch:
    description:
      - The epoch of the plan's ownership that the caller knows.
      - With O(attempt) it makes the pair by which a host refuses a caller that a newer one has overtaken.
    type: int
    required: true
  attempt:
    description: The number of this attempt at the run; it only grows.
    type: int
    required: true
  run_id:
    description: The run for which this is done. Progress is appended to its file on the host; empty, none is written.
    type: str
    default: ""
  phase:
    description: The phase of the run, marked in the ownership record before and after the change; empty, nothing is marked.
    type: str
    default: ""
"""
