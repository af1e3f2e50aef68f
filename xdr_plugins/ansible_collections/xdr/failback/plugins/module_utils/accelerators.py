# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Libraries that make a site host faster where they are there: blake3 for digests, zstandard for compression.

The role site_accelerators puts them into ``<state_dir>/accelerators/<tag>``, with the tag of the host's Python, so that
the system's own packages are left alone. What is missing is done with the standard library, slower.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

NAMES = ("blake3", "zstandard")


def enable(state_dir: Path) -> None:
    """Let this process find what the role installed."""
    folder = str(Path(state_dir) / "accelerators" / tag())
    if Path(folder).is_dir() and folder not in sys.path:
        sys.path.append(folder)


def tag() -> str:
    """Of this Python, as in the names of wheels: cp311."""
    return f"cp{sys.version_info[0]}{sys.version_info[1]}"


def load(name: str) -> ModuleType | None:
    """The library, or None where this host does not have it, or not in a form that it can load."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def missing() -> list[str]:
    return [name for name in NAMES if load(name) is None]
