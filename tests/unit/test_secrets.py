# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Which values of an inventory's files are kept out of events."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.censor import MASK, Censor
from portal.secrets import of_inventory


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("hosts.ini", "[db]\nhv1 ansible_host=1.2.3.4 ansible_password=hunter22\n"),
        ("hosts.ini", "[all:vars]\napi_token = 'hunter22'\n"),
        ("group_vars/all/main.yml", "db:\n  users:\n    - {name: ann, password: hunter22}\n"),
        ("host_vars/hv1", "smtp_password: hunter22\n"),
        ("group_vars/all.yml", "a: &x hunter22\nsecret: *x\n"),
        ("group_vars/all.yml", "db_password: hunter22\nother: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n"),
        ("group_vars/all.yml", "broken: [\ndb_password: hunter22\n"),
        ("hosts.ini", "hv1 ansible_password=hunter22\nhv2 ansible_password=another-one\n"),
    ],
)
def test_the_value_is_hidden_wherever_it_turns_up(tmp_path: Path, file: str, text: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for inventory in (tmp_path, path):
        assert Censor(of_inventory(inventory))("login with hunter22 from 1.2.3.4 by ann") == "login with ******** from 1.2.3.4 by ann"


@pytest.mark.parametrize(
    ("file", "text", "secret"),
    [
        ("group_vars/all.yml", "db_password: 20251126\n", "20251126"),
        ("group_vars/all.yml", "db_password: 12.50\n", "12.5"),
        ("group_vars/all.yml", "db: {secrets: [-4711, 1]}\n", "-4711"),
        ("hosts.ini", "[all:vars]\ndb_password=20251126\n", "20251126"),
        ("hosts.ini", "[all:vars]\ndb_password = 0x12345 \n", "74565"),
        ("hosts.ini", "[all:vars]\ndb_password=12.50\n", "12.5"),
        ("hosts.ini", "[all:vars]\ndb_password=two words of it\n", "two words of it"),
        ("hosts.ini", '[all:vars]\ndb_password="two\\nlines \\"of\\" it"\n', 'two\nlines "of" it'),
        ("hosts.ini", 'hv1 db_password="hun\\"ter 22" site=one\n', 'hun"ter 22'),
        ("hosts.ini", "hv1 db_password=hun'ter '22 site=one\n", "hunter 22"),
        ("group_vars/all.yml", "db_secret: |\n  a first line\n  and a second\n", "a first line\nand a second"),
    ],
)
def test_the_value_is_known_as_ansible_reads_it(tmp_path: Path, file: str, text: str, secret: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert Censor(of_inventory(tmp_path))(f"login with {secret}.") == f"login with {MASK}."


def test_what_is_no_secret_is_shown(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all: {vars: {site: frankfurt, private_key_file: /etc/key}}\n")
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "p.yml").write_text("password: hunter22\n")  # a plan holds no secrets, and is large
    (tmp_path / "image.bin").write_bytes(bytes(range(256)))
    assert Censor(of_inventory(tmp_path))("frankfurt /etc/key hunter22") == "frankfurt /etc/key hunter22"
    assert of_inventory(tmp_path / "none") == {"0": {}}
