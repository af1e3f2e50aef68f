# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

from portal.lab.lab import Lab
from portal.store.address import VARIABLE
from tests.support import stores
from tests.support.filesystems import may_mount
from tests.support.labs import built
from tests.support.namespaces import may_separate
from tests.support.postgresql import Server, server
from tests.support.systemd_host import may_boot

FIRST = ("test_worker_runs.py",)  # beside the labs: begun last, it would keep one process for minutes after the others have ended

hypothesis.settings.register_profile("xdr", deadline=None)  # a slow machine is no failure
hypothesis.settings.load_profile("xdr")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The real lab, built once for all tests that need it; nothing of the plan is started yet when the first one gets it."""
    with built("test") as one:
        yield one


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A real server; each test makes a database of its own in it."""
    with server() as one:
        yield one


@pytest.fixture(scope="session", autouse=True)
def _stores(request: pytest.FixtureRequest) -> None:
    os.environ.pop(VARIABLE, None)  # a developer's own database
    if stores.ASKED:
        stores.use(request.getfixturevalue("postgresql"))


@pytest.fixture(autouse=stores.ASKED)
def _leaves_no_store() -> Iterator[None]:
    yield
    stores.leave()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need more than any user may do run where that is allowed; elsewhere they are left out, and the report says so."""
    unmounted = [item for item in items if (marker := item.get_closest_marker("root")) and not may_mount(*marker.args)]
    _leave_out(config, items, unmounted, "only root may mount a file system")
    together = [item for item in items if item.get_closest_marker("namespaces") and not may_separate()]
    _leave_out(config, items, together, "network namespaces are not allowed here")
    unbooted = [item for item in items if item.get_closest_marker("systemd") and not may_boot()]
    _leave_out(config, items, unbooted, "only root with debootstrap may boot a systemd")
    items.sort(key=lambda item: item.path.name not in FIRST)


def _leave_out(config: pytest.Config, items: list[pytest.Item], those: list[pytest.Item], why: str) -> None:
    if those:
        items[:] = [item for item in items if item not in those]
        config.hook.pytest_deselected(items=those)
        names = dict.fromkeys(item.name.partition("[")[0] for item in those)
        print(f"left out, for {why}: {', '.join(names)}")
