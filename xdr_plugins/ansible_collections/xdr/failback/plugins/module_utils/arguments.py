# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The options that the modules share; their documentation is in plugins/doc_fragments/."""

from __future__ import annotations

from typing import Any

SITE_ARGUMENTS: dict[str, Any] = {
    "plan": {"type": "str", "required": True},
    "state_dir": {"type": "path", "required": True},
}

ATTEMPT_ARGUMENTS: dict[str, Any] = {
    "epoch": {"type": "int", "required": True},
    "attempt": {"type": "int", "required": True},
    "run_id": {"type": "str", "default": ""},
    "phase": {"type": "str", "default": ""},
}
