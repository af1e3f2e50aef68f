# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import argon2
import pytest

from portal.store import accounts
from portal.support import contents
from tests.support.portal import Portal

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its users, to be copied: making one takes half a second."""
    folder = tmp_path_factory.mktemp("filled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "_HASHER", CHEAP)
        one = Portal(folder)
        one.see()
        one.store.close()
    return folder / "xdr.sqlite"


@pytest.fixture
def portal(tmp_path: Path, filled: Path, monkeypatch: pytest.MonkeyPatch) -> Portal:
    monkeypatch.setattr(accounts, "_HASHER", CHEAP)
    monkeypatch.setattr(contents, "hosts", SimpleNamespace(load_hosts=lambda *_, **__: {}))  # Ansible takes a second to tell them
    shutil.copy(filled, tmp_path / "xdr.sqlite")
    return Portal(tmp_path, users=False)
