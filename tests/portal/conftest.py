# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from portal.store import accounts
from portal.support import contents
from tests.support.portal import CHEAP, Portal, filled
from tests.support.stores import opened


@pytest.fixture
def portal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Portal:
    monkeypatch.setattr(accounts, "_HASHER", CHEAP)
    monkeypatch.setattr(contents, "hosts", SimpleNamespace(load_hosts=lambda *_, **__: {}))  # Ansible takes a second to tell them
    return Portal(tmp_path, users=False, store=opened(tmp_path, filled))
