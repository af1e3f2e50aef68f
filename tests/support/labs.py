# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A real lab for the time of some tests."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator

from portal import PROJECT
from portal.lab.lab import Lab


def named(name: str) -> str:
    """A lab's place is its account's: tests of two checkouts, or of two processes of one run, must not meet in one."""
    return f"{name}-{zlib.crc32(str(PROJECT).encode()) & 0xFFFF:04x}{os.environ.get('PYTEST_XDIST_WORKER', '')}"


@contextlib.contextmanager
def built(name: str) -> Iterator[Lab]:
    """A lab of this checkout, built afresh and taken down at the end; nothing of its plan is started yet."""
    lab = Lab.create(named(name))
    lab.down()
    try:
        lab.up()
        yield lab
    finally:
        lab.down()
