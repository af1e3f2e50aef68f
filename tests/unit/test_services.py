# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Worker and portal beside a lab: started, and ended by whoever comes next."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portal.processes import carrying
from portal.services import MARK, Services
from tests.support.workers import Tiny


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    tiny = Tiny.made(tmp_path)
    tiny.var.mkdir()
    monkeypatch.setenv("XDR_VAR", str(tiny.var))
    one = Services(tiny.inventory, tiny.var)
    yield one
    one.stop()


def alive(services: Services) -> int:
    return len(carrying(f"{MARK}={services.var}"))


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")  # on purpose: they outlive whoever starts them
@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(lambda record: None, id="nothing"),
        pytest.param(lambda record: record.unlink(), id="killed before it was written"),
        pytest.param(lambda record: record.write_text('{"worker": {"pid": 1, "st'), id="torn"),
        pytest.param(lambda record: record.write_text('["worker"]'), id="of another form"),
    ],
)
def test_both_are_ended_whatever_became_of_their_record(services: Services, happens: Callable[[Path], None]) -> None:
    address = services.start()
    with urllib.request.urlopen(f"{address}/login", timeout=5) as page:  # noqa: S310 - our own address
        assert b"Log in" in page.read()
    assert alive(services) >= 2
    happens(services.var / "services.json")
    Services(services.inventory, services.var).stop()
    assert alive(services) == 0
