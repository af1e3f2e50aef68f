# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""How many examples a property test tries: XDR_EXAMPLES=200 makes a short test one of many minutes."""

from __future__ import annotations

import os


def examples(number: int) -> int:
    return number * int(os.environ.get("XDR_EXAMPLES", "1"))
