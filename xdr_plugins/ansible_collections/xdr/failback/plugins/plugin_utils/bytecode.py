# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Bytecode for the archives that run on site hosts. Python compiles nothing that it imports from a zip file for longer than one process."""

from __future__ import annotations

import importlib.util
import marshal
from functools import cache

UNCHECKED = (1).to_bytes(4, "little")  # PEP 552: it counts without a look at the source
WITHOUT_REFERENCES = 2  # of the versions of marshal; what a later one writes depends on what else is in memory


@cache
def bytecode(name: str, source: bytes) -> bytes:
    """The content of the ``.pyc`` beside a source: the same bytes for the same source, name and version of Python.

    A Python of another version than this one passes it over and compiles the source.
    """
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    return importlib.util.MAGIC_NUMBER + UNCHECKED + importlib.util.source_hash(source) + marshal.dumps(code, WITHOUT_REFERENCES)
