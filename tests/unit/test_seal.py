# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A witness's record that is a copy of itself, by whatever made the copy, against one that is the file it was written as."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils import record as records
from ansible_collections.xdr.failback.plugins.module_utils import seal
from ansible_collections.xdr.failback.plugins.module_utils.durable import read_json, write_json
from ansible_collections.xdr.failback.plugins.module_utils.ownership import perform

from tests.support.site_host import SiteHost, site_host


@pytest.fixture
def witness(tmp_path: Path) -> SiteHost:
    witness = site_host(tmp_path / "state", site="witness")
    witness.write_record(owner="primary", standing="none")
    return witness


def run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True)


def copied(backup: Path, path: Path) -> None:
    run("cp", "-a", backup, path)


def removed_and_copied(backup: Path, path: Path) -> None:
    """Here the file system gives the number of the removed file again."""
    path.unlink()
    run("cp", "-a", backup, path)


def synced(backup: Path, path: Path) -> None:
    run("rsync", "-aHAX", "--ignore-times", backup, path)


def unpacked(backup: Path, path: Path) -> None:
    run("tar", "-C", backup.parent, "-cf", backup.parent / "b.tar", "--transform", f"s/{backup.name}/{path.name}/", backup.name)
    run("tar", "-C", path.parent, "-xpf", backup.parent / "b.tar")


@pytest.mark.parametrize("restore", [copied, removed_and_copied, synced, unpacked], ids=lambda restore: restore.__name__)
def test_a_copy_is_mute(witness: SiteHost, tmp_path: Path, restore: Callable[[Path, Path], None]) -> None:
    if restore is synced and not shutil.which("rsync"):
        pytest.skip("there is no rsync")
    path, backup = witness.plan_dir / "ownership.json", tmp_path / "backup.json"
    run("cp", "-a", path, backup)
    for _ in range(2):  # the newer file may have the very number of the older one again
        witness.write_record(epoch=2, owner="dr", standing="none")
    restore(backup, path)
    assert (witness.record.epoch, witness.record.mute) == (1, seal.RESTORED)


def test_what_is_no_copy_speaks(witness: SiteHost, tmp_path: Path) -> None:
    assert witness.record.mute == ""
    moved = SiteHost(tmp_path / "moved", site="witness")
    witness.state_dir.rename(moved.state_dir)
    assert moved.record.mute == ""


def test_the_next_change_of_a_copy_does_not_let_it_speak(witness: SiteHost, tmp_path: Path) -> None:
    path = witness.plan_dir / "ownership.json"
    shutil.copy2(path, tmp_path / "backup.json")
    witness.write_record(epoch=2, owner="dr", standing="none")
    shutil.copy2(tmp_path / "backup.json", path)
    perform(witness.state_dir, "webshop", (2, 1), {"request": "claimed", "action": "start"}, run_id="r1")
    assert witness.record.mute == seal.RESTORED


def test_a_record_of_an_older_version_is_sealed_by_its_next_change(witness: SiteHost) -> None:
    path = witness.plan_dir / "ownership.json"
    older = {name: value for name, value in read_json(path).items() if name not in ("seal", "serial", "heard", "mute")}
    write_json(path, older)
    assert (witness.record.mute, witness.record.serial) == ("", 0)
    witness.write_record(owner="primary", standing="none")
    assert read_json(path)["seal"]["inode"] == path.stat().st_ino


def test_a_site_s_record_has_no_seal(tmp_path: Path) -> None:
    host = site_host(tmp_path / "state")
    shutil.copy2(host.plan_dir / "ownership.json", tmp_path / "backup.json")
    (host.plan_dir / "ownership.json").unlink()
    shutil.copy2(tmp_path / "backup.json", host.plan_dir / "ownership.json")
    assert host.record.mute == ""
    assert "seal" not in read_json(host.plan_dir / "ownership.json")


def test_what_a_kernel_does_not_tell_decides_nothing(witness: SiteHost) -> None:
    path = witness.plan_dir / "ownership.json"
    document = read_json(path)
    with path.open("r+") as stream:  # the very file: its number and birth stay
        stream.truncate()
        json.dump({**document, "seal": {"inode": document["seal"]["inode"]}}, stream)
    assert witness.record.mute == ""


def test_each_write_of_the_witness_counts(witness: SiteHost) -> None:
    first = witness.record.serial
    assert records.save(witness.state_dir, replace(witness.record, epoch=2)).serial == first + 1 == witness.record.serial
