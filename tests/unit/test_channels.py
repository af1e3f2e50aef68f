# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Channels: a real mail server and a real webhook; the file that holds their secrets, and that these are told to nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from portal import secrets
from portal.channels import Channels, file_of, load, masked
from tests.support.processes import free_port
from tests.support.windows import mail_server, text_of, webhook

SECRET = "s3kr3t-w0rd"  # noqa: S105 - a test's
ICS = b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "lab.channels.yml"
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return folder / "lab"


def test_a_mail_arrives_with_its_calendar_file() -> None:
    with mail_server() as (mails, port):
        url = f"mailto://127.0.0.1:{port}?from=xdr@example.com&to=anna@example.com"
        Channels(Path("x"), urls={"anna": url}).send("anna", "Wartung für webshop", "Am Sonntag\num 2", ICS)
        [mail] = mails.to("anna@example.com")
    assert (mail["Subject"], mail["From"]) == ("Wartung für webshop", "xdr@example.com")
    assert text_of(mail).splitlines()[:2] == ["Am Sonntag", "um 2"]
    [attached] = mail.iter_attachments()
    assert (attached.get_content_type(), attached.get_filename()) == ("text/calendar", "window.ics")
    assert attached.get_payload(decode=True) == ICS


def test_a_webhook_is_called() -> None:
    with webhook() as (posted, port):
        Channels(Path("x"), urls={"ops": f"json://127.0.0.1:{port}/hook"}).send("ops", "It opens", "now", ICS)
    [document] = posted
    assert (document["title"], document["message"]) == ("It opens", "now")


@pytest.mark.parametrize(
    "kind", ["mailto://user:{secret}@127.0.0.1:{port}?from=x@example.com&to=a@example.com", "json://127.0.0.1:{port}/{secret}"]
)
def test_what_does_not_go_out_is_told_without_its_secret(
    kind: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    url = kind.format(secret=SECRET, port=free_port())
    with pytest.raises(XdrError, match="channel ops did not take it") as refusal:
        Channels(Path("x"), urls={"ops": url}).send("ops", "t", "b")
    told = capfd.readouterr()
    assert SECRET not in refusal.value.sentence() + told.out + told.err + caplog.text
    assert SECRET not in repr(Channels(Path("x"), urls={"ops": url}))


def test_no_part_of_an_url_is_left_in_what_a_library_tells() -> None:
    url = f"mailto://otto:{SECRET}%21@mail.example.com/t0ken?to=anna@example.com&key=abcd"
    told = masked(f"535 otto/{SECRET}! failed at mail.example.com with t0ken, abcd, {SECRET}%21", url)
    assert told == "535 ********/******** failed at ******** with ********, ********, ********"


def test_a_server_that_refuses_is_an_error() -> None:
    with mail_server() as (mails, port):
        mails.refuses = True
        url = f"mailto://127.0.0.1:{port}?from=xdr@example.com&to=anna@example.com"
        with pytest.raises(XdrError, match="did not take it"):
            Channels(Path("x"), urls={"anna": url}).send("anna", "t", "b")


def test_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDR_CHANNEL_ANNA", f"json://127.0.0.1/{SECRET}")
    text = "portal: https://xdr.example.com/\nchannels:\n  ops: slack://a/b/c\n  anna: {environment: XDR_CHANNEL_ANNA}\n"
    inventory = written(tmp_path, text)
    found = load(inventory)
    assert (found.portal, found.urls["ops"], SECRET in found.urls["anna"]) == ("https://xdr.example.com", "slack://a/b/c", True)
    with pytest.raises(XdrError, match="there is no channel 'sales'; it has: anna, ops"):
        found.send("sales", "t", "b")
    assert "XDR_CHANNEL_ANNA" not in secrets.environment()  # no playbook gets it
    monkeypatch.setenv("XDR_CHANNELS", str(tmp_path / "elsewhere"))
    assert file_of(inventory) == tmp_path / "elsewhere"
    assert load(inventory).urls == {}


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        ("channels: {}\n", 0o640, "others may read it (its mode is 0640). It holds passwords: chmod 600"),
        ("channels: [a]\n", 0o600, ":1: channels: expected a mapping (name: URL), found a list"),
        ("channels:\n  ops: " + SECRET + "\n", 0o600, ":2: channels.ops: expected an URL as Apprise knows it"),
        (
            "channels:\n  ops: {environment: HOME}\n",
            0o600,
            ":2: channels.ops: expected environment: the name of a variable that begins with",
        ),
        ("channels:\n  ops: {environment: XDR_CHANNEL_X}\n", 0o600, ":2: channels.ops.environment: the variable XDR_CHANNEL_X is not set"),
        ("portal: example.com\n", 0o600, ":1: portal: expected the portal's address"),
        ("channel: {}\n", 0o600, ":1: channel: unknown field; accepted here: channels, portal"),
    ],
)
def test_what_is_wrong_with_the_file(tmp_path: Path, text: str, mode: int, told: str) -> None:
    with pytest.raises(XdrError) as refusal:
        load(written(tmp_path, text, mode))
    assert told in refusal.value.sentence()
    assert SECRET not in refusal.value.sentence()
