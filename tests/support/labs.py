# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A real lab for the time of some tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from portal.lab.lab import Lab


@contextlib.contextmanager
def built(name: str) -> Iterator[Lab]:
    """The lab of that name, built afresh and taken down at the end; nothing of its plan is started yet."""
    lab = Lab.create(name)
    lab.down()
    try:
        lab.up()
        yield lab
    finally:
        lab.down()
