# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

from collections.abc import Iterator

import pytest

from portal.lab.lab import Lab
from tests.support.labs import built


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The real lab, built once for all tests that need it; nothing of the plan is started yet when the first one gets it."""
    with built("test") as one:
        yield one
