# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from portal.lab.lab import Lab
from tests.support.labs import named
from tests.support.luck import Luck


@pytest.fixture(scope="session")
def luck() -> Iterator[Luck]:
    """A lab of its own, which goes through the story only as far as a test asks."""
    one = Luck(Lab.create(named("luck")))
    try:
        yield one
    finally:
        one.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that mount a file system run where that is allowed; elsewhere they are left out, and the report says so."""
    left_out = [item for item in items if item.get_closest_marker("root") and not may_mount()]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
        print(f"left out, for only root may mount a file system: {', '.join(item.name for item in left_out)}")


@functools.cache
def may_mount() -> bool:
    if os.geteuid():
        return False
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "xdr-test", folder], capture_output=True, check=False).returncode == 0
        if mounted:
            subprocess.run(["umount", folder], check=True)
    return mounted
