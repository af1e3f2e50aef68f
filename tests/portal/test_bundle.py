# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""No secret leaves in a bundle: canaries are put wherever one may be, and every byte is searched."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal import hosts
from portal.actions import asked
from portal.store import Store, accounts, events, observations, runs
from portal.support import contents
from portal.support.bundle import packed, write
from portal.support.redaction import Redaction
from tests.support.portal import INVENTORY, Portal, seen

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nCANARYkeyCANARY\nsecondCANARYline\n-----END OPENSSH PRIVATE KEY-----"
PLACES = {
    "inventory": "CANARYinventory/with+signs",
    "vars": 'CANARYquoted"inside',
    "ini": "CANARYini",
    "environment": "CANARYenvironment",
    "url": "CANARYurl",
    "option": "CANARYoption",
    "tsig": "CANARYtsigAAAA0123456789==",
}


@pytest.fixture
def told(tmp_path: Path, portal: Portal, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Path]:
    """An environment and a store full of secrets."""
    monkeypatch.setattr(contents, "hosts", hosts)
    inventory = tmp_path / "env"
    shutil.copytree(INVENTORY, inventory)
    monkeypatch.setenv("XDR_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("MY_DB_PASSWORD", PLACES["environment"])
    (tmp_path / "var").mkdir()
    variables = inventory / "group_vars" / "all" / "main.yml"
    quoted = PLACES["vars"].replace('"', '\\"')
    variables.write_text(f'{variables.read_text()}\nhaproxy_password: "{PLACES["inventory"]}"\ndns: {{tsig: {{secret: "{quoted}"}}}}\n')
    (inventory / "more.ini").write_text(f"[x]\nhost1 ansible_become_pass={PLACES['ini']}\n")
    plan = inventory / "plans" / "webshop.yml"
    args = f"['postgresql://orders:{PLACES['url']}@db/orders', --password, {PLACES['option']}]"
    hook = f"{{name: freeze, script: psql.sh, args: {args}}}"
    plan.write_text(f"{plan.read_text()}hooks: {{pre_failback: [{hook}]}}\n")
    addresses = "{fra-hv1: 127.0.0.1, ams-hv1: 127.0.0.2, edge1: 127.0.0.3}"
    (inventory / "group_vars" / "all" / "lab.yml").write_text(f"lab: {{root: /nowhere, user: xdr, ssh_port: 22, addresses: {addresses}}}\n")
    _tell(portal.store, tmp_path / "var")
    return portal.store, inventory


def _tell(store: Store, var: Path) -> None:
    """Events, results, observations and logs that all of it has slipped into."""
    wraps = [
        f"haproxy_password={PLACES['inventory']}",
        f"GET /x?q={quote(PLACES['inventory'], safe='')}",
        "Authorization: Basic " + base64.b64encode(PLACES["environment"].encode()).decode(),
        f"https://user:{PLACES['url']}@example.net/",
        f"nsupdate -y hmac-sha256:key:{PLACES['tsig']}",
        f'key "k" {{ algorithm hmac-sha256; secret "{PLACES["tsig"]}"; }};',
        f"curl --password {PLACES['option']} x",
        KEY,
    ]
    run = runs.request(store, asked("failback", "webshop", by="otto", origin="portal", reason="haproxy_password=CANARYreason"))
    invocation = {"module_args": {"argv": ["x", "--token", PLACES["option"]], "api_key": "CANARYargument"}}
    told = {
        "kind": "result",
        "at": 1.0,
        "host": "fra-hv1",
        "module": "ansible.builtin.command",
        "status": "failed",
        "invocation": invocation,
    }
    events.append(store, run.id, [{**told, "msg": text} for text in [*wraps, f"known: {PLACES['ini']} {PLACES['vars']}"]])
    results = [{"item": wraps, "password": "CANARYp"}]
    runs.finish(store, run.id, {"exit_code": 2, "code": "", "error": " ".join(wraps), "results": results})
    observations.put(store, observations.of_plan("webshop"), {**seen(), "error": " ".join(wraps)})
    accounts.add(store, "canary", accounts.Role.viewer, "CANARYpassword")
    (var / "worker.log").write_text("\n".join([*wraps, f"TRACE secret_token: {PLACES['environment']}"]))


def unpacked(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        return {member.name: stream.read() for member in tar if (stream := tar.extractfile(member))}


def test_no_canary_leaves(told: tuple[Store, Path]) -> None:
    name, content = packed(*told, "webshop")
    files = unpacked(content)
    forms = [form for value in PLACES.values() for form in (value, quote(value, safe=""), base64.b64encode(value.encode()).decode())]
    for path, text in files.items():
        assert b"CANARY" not in text, f"{path}: {text[max(0, text.index(b'CANARY') - 80) :][:160]!r}"
        assert not [form for form in forms if form.encode() in text], path
        assert b"$argon2" not in text, path
    whole = b"".join(files.values())
    assert whole.count(b"********") > 20, "they had been there"
    assert b"fra-hv1" in whole
    folder = name.removesuffix(".tar.gz")
    assert {f"{folder}/{one}" for one in ("plans/webshop.json", "inventory.json", "logs/worker.log", "findings.json")} <= files.keys()
    assert b"psql" in files[f"{folder}/plans/webshop.json"], "the plan with the secrets is in it"
    assert b"127.0.0.2" in files[f"{folder}/inventory.json"]
    assert files[f"{folder}/errors.txt"] == b""
    _held_against_its_manifest({path.removeprefix(f"{folder}/"): text for path, text in files.items()})


def _held_against_its_manifest(files: dict[str, bytes]) -> None:
    listed = {line.split("  ", 1)[1]: line.split("  ", 1)[0] for line in files.pop("MANIFEST").decode().splitlines()}
    assert listed == {path: hashlib.sha256(text).hexdigest() for path, text in files.items()}


def test_a_broken_environment_is_told_in_the_bundle(told: tuple[Store, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    store, inventory = told
    monkeypatch.setattr(contents, "hosts", SimpleNamespace(load_hosts=lambda *_, **__: {}))
    (inventory / "plans" / "webshop.yml").write_text("plan: [")
    files = {path.split("/", 1)[1]: text for path, text in unpacked(packed(store, inventory)[1]).items()}
    assert b"plans: " in files["errors.txt"]
    assert b"CANARY" not in b"".join(files.values())


def test_the_file_is_its_owners_and_no_other_is_overwritten(portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.support.bundle.members", lambda *_: iter([("README.txt", "hello")]))
    file = tmp_path / "b.tar.gz"
    assert write(portal.store, INVENTORY, "webshop", file, force=False) == file
    assert file.stat().st_mode & 0o777 == 0o600
    for place, why in ((file, "is there already"), (tmp_path / "no" / "b", "cannot be written")):
        with pytest.raises(XdrError, match=why):
            write(portal.store, INVENTORY, "webshop", place, force=False)
    write(portal.store, INVENTORY, "", file, force=True)
    assert len(unpacked(file.read_bytes())) == 2


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("replication_lag: 4096 bytes", "replication_lag: 4096 bytes"),
        ("the key /etc/xdr/controller_key does not exist", "the key /etc/xdr/controller_key does not exist"),
        ("ssh://fra-hv1:22/x", "ssh://fra-hv1:22/x"),
        ("https://u:p%40ss@h/", "https://********@h/"),
        ('{"db_password": "a b c", "port": 1}', '{"db_password": ********, "port": 1}'),
        ("token='x y' next", "token=******** next"),
        ("Bearer abcdef.ghi", "Bearer ********"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc", "********"),
        ("hash $6$salt$abcdef", "hash ********"),
    ],
)
def test_what_looks_like_a_secret_and_what_does_not(text: str, left: str) -> None:
    assert Redaction({}).text(text) == left


def test_the_word_after_an_option_is_one() -> None:
    words = ["curl", "-u", "otto:geheim", "--api-key", "x", "--user", "plain", "--verbose"]
    assert Redaction({}).data(words) == ["curl", "-u", "********", "--api-key", "********", "--user", "plain", "--verbose"]
