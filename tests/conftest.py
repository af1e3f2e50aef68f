# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

from collections.abc import Iterator

import pytest

from portal.lab.lab import Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The real lab, built once for all tests that need it; nothing of the plan is started yet when the first one gets it."""
    one = Lab.create("test")
    one.down()
    try:
        one.up()
        yield one
    finally:
        one.down()
