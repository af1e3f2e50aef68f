# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest

from portal.lab.lab import Lab
from tests.support.filesystems import may_mount
from tests.support.labs import built

hypothesis.settings.register_profile("xdr", deadline=None)  # a slow machine is no failure
hypothesis.settings.load_profile("xdr")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The real lab, built once for all tests that need it; nothing of the plan is started yet when the first one gets it."""
    with built("test") as one:
        yield one


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that mount a file system run where that is allowed; elsewhere they are left out, and the report says so."""
    left_out = [item for item in items if (marker := item.get_closest_marker("root")) and not may_mount(*marker.args)]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
        names = dict.fromkeys(item.name.partition("[")[0] for item in left_out)
        print(f"left out, for only root may mount a file system: {', '.join(names)}")
