# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

from collections.abc import Iterator

import pytest

from portal.lab.lab import Lab
from tests.support.labs import named
from tests.support.luck import Luck


@pytest.fixture(scope="module")
def luck(story: Luck) -> Iterator[Luck]:
    """The client writes while the tests of one file run, and leaves the cores to others then."""
    story.go_on()
    yield story
    story.rest()


@pytest.fixture(scope="session")
def story() -> Iterator[Luck]:
    """A lab of its own, which goes through the story only as far as a test asks."""
    one = Luck(Lab.create(named("luck")))
    try:
        yield one
    finally:
        one.close()
